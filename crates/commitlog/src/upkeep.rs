//! What goes on in the background: the write-back trickle, checkpoints in time, slots in number,
//! files that are not needed, free space, buffers of a log that fell idle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use world::{File, Instant, Next, OpenMode, Worker};

use crate::ids::PartitionId;
use crate::lock;
use crate::segment::segment_path;
use crate::slot::Making;
use crate::store::Shared;

/// The trickle leaves a tail shorter than this alone until it is a second old.
const TRICKLE_BYTES_MIN: u64 = 64 << 10;
const TRICKLE_AGE_MIN: Duration = Duration::from_secs(1);
/// Bytes that the trickle has in the disk's queue at a time.
const TRICKLE_BYTES_MAX: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// Time from the start to the first look: the first requests have the disk for themselves.
const FIRST_LOOK_AFTER: Duration = Duration::from_millis(250);
/// Time between two looks at space, slots and buffers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause between two pieces of a slot that nobody waits for yet: the disk is for requests.
const PIECE_EVERY: Duration = Duration::from_millis(15);
/// Bytes that vanish from a file at once: discarding mounts stall on one big unlink.
const UNLINK_STEP: u64 = 64 << 20;
/// A file that takes space until the disk is full: giving it up makes room for checkpoints.
pub(crate) const BALLAST: &str = "ballast";

/// A range of a segment written since the last sync.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub from: u64,
    pub to: u64,
}

/// A segment with bytes that no checkpoint has synced yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsynced {
    /// Where the trickle goes on.
    pub from: u64,
    pub to: u64,
    /// When the trickle last went over it.
    pub since: Instant,
}

/// Segments not synced yet.
pub(crate) type UnsyncedFiles = BTreeMap<(PartitionId, i64), Unsynced>;

impl Shared {
    /// A segment got bytes.
    pub fn note_written(&self, id: PartitionId, base: i64, written: Written) {
        let mut unsynced = lock(&self.unsynced);
        let is_first = unsynced.is_empty();
        let since = Instant(0);
        let entry = unsynced.entry((id, base)).or_insert(Unsynced {
            from: written.from,
            to: written.to,
            since,
        });
        entry.from = entry.from.min(written.from);
        entry.to = entry.to.max(written.to);
        drop(unsynced);
        if is_first {
            self.trickle_signal.raise();
        }
    }

    /// A segment's file is gone.
    pub fn forget_written(&self, id: PartitionId, base: i64) {
        lock(&self.unsynced).remove(&(id, base));
    }

    /// One round of the trickle: starts write-back of what was appended since the last, whole pages
    /// only, since a page under write-back blocks the append that shares it.
    fn trickle(&self) {
        let now = self.world.clock.now();
        let mut due = Vec::new();
        for (key, file) in lock(&self.unsynced).iter_mut() {
            let (from, to) = (file.from / PAGE * PAGE, file.to / PAGE * PAGE);
            let young = to - from < TRICKLE_BYTES_MIN && now.since(file.since) < TRICKLE_AGE_MIN;
            if to > from && !young {
                due.push((*key, from, to - from));
                file.from = to;
                file.since = now;
            }
        }
        let mut started = Vec::new();
        let mut free = TRICKLE_BYTES_MAX;
        for ((id, base), mut from, mut length) in due {
            // Only files that are open: the trickle must not cost descriptors.
            let Some(file) = self.descriptors.cached_any((id.0, base)) else {
                continue;
            };
            while length > 0 {
                let count = length.min(free);
                started.push((id, Arc::clone(&file), from, count));
                (from, length, free) = (from + count, length - count, free - count);
                if free == 0 {
                    self.write_back(&mut started);
                    free = TRICKLE_BYTES_MAX;
                }
            }
        }
        self.write_back(&mut started);
    }

    /// Writes ranges back and waits for them: the log's next group must not find more in the disk's
    /// queue.
    fn write_back(&self, ranges: &mut Vec<(PartitionId, Arc<dyn File>, u64, u64)>) {
        let trickling = lock(&self.trickling);
        for (_, file, from, length) in &*ranges {
            // An error of the start is one of the end.
            drop(file.start_writeback(*from, *length));
        }
        for (id, file, from, length) in ranges.drain(..) {
            if let Err(error) = file.await_writeback(from, length) {
                tracing::error!(%error, "segment write-back failed: rebuilding from the log");
                self.distrust(std::iter::once(id));
                self.request_checkpoint();
            }
        }
        drop(trickling);
    }

    /// Unlinks files whose trim or deletion is durable.
    pub fn unlink_due(&self) {
        self.unlink_replaced();
        loop {
            let next = lock(&self.unlinks).pop();
            let Some((id, base, revision)) = next else {
                return;
            };
            if let Err(error) = self.unlink_slowly(id, base, revision) {
                tracing::warn!(%error, "a segment that is not needed stays");
            }
        }
    }

    fn unlink_slowly(
        &self,
        id: PartitionId,
        base: i64,
        revision: u32,
    ) -> world::disk::DiskResult<()> {
        let current = crate::read_lock(&self.by_id)
            .get(&id)
            .and_then(|partition| partition.state().known_revision(base));
        if current == Some(revision) {
            // A cut took the segment away, and a new one that begins at the same offset has the name.
            return Ok(());
        }
        if current.is_some() {
            // Another file of this segment took its place and is in use.
            let path = segment_path(id, base, revision);
            return match self.world.disk.unlink(&path) {
                Ok(()) | Err(world::DiskError::NotFound { .. }) => Ok(()),
                Err(error) => Err(error),
            };
        }
        // A reader may hold the file open and must find its bytes: then only the name goes.
        let file = match self.descriptors.forget((id.0, base), revision) {
            Some(file) => Some(file),
            None => self
                .world
                .disk
                .open(&segment_path(id, base, revision), OpenMode::ReadWrite)
                .ok(),
        };
        if let Some(file) = file {
            let mut length = file.len()?;
            while length > UNLINK_STEP && Arc::strong_count(&file) == 1 {
                length -= UNLINK_STEP;
                file.truncate(length)?;
            }
        }
        self.unlink_segment(id, base, revision)
    }

    /// Makes slots until there are as many as configured, a piece per call. How long the next piece
    /// has time; `None` when there is none.
    pub fn make_slot(&self) -> Option<Duration> {
        let disk = &*self.world.disk;
        let mut making = lock(&self.making);
        let number = match &*making {
            Some(making) => making.number,
            None => {
                let mut core = lock(&self.writer);
                if core.slots.count_to_come() >= self.config.slots as usize {
                    return None;
                }
                core.slots.begin_making()
            }
        };
        let mut piece = || {
            let mut current = match making.take() {
                Some(current) => current,
                None => Making::begin(disk, number, self.config.slot_bytes)?,
            };
            if current.step()? {
                return current.finish(disk).map(Some);
            }
            *making = Some(current);
            Ok(None)
        };
        let made = piece();
        drop(making);
        match made {
            Ok(Some(file)) => {
                let mut core = lock(&self.writer);
                core.slots.add(number, file, None);
                self.unstall(&mut core);
                drop(core);
                self.writer_signal.raise();
                Some(Duration::ZERO)
            }
            Ok(None) => {
                let core = lock(&self.writer);
                let waited_for = core.stalled || core.slots.is_short();
                Some(if waited_for {
                    Duration::ZERO
                } else {
                    PIECE_EVERY
                })
            }
            Err(error) => {
                lock(&self.writer).slots.give_up(number);
                tracing::warn!(%error, "a slot of the log cannot be made");
                None
            }
        }
    }

    /// Looks at free space: below one mark, clients' appends are refused until another is reached
    /// (storage.md section 8); whoever runs the node watches `LogStore::health` and tells people. On
    /// the way the ballast is given up, so that deletes can be recorded.
    pub fn look_at_space(&self) {
        let Ok(space) = self.world.disk.free_space() else {
            return;
        };
        self.free_bytes.store(space.free, Ordering::Relaxed);
        let marks = self.config.space_marks(space.total);
        self.free_bytes_min.store(marks.soft, Ordering::Relaxed);
        self.free_bytes_resume
            .store(marks.resume, Ordering::Relaxed);
        let ballast = self.ballast.load(Ordering::Relaxed);
        let was_full = self.full.load(Ordering::Relaxed);
        let enough = if was_full { marks.resume } else { marks.soft };
        let full = space.free < enough;
        self.full.store(full, Ordering::Relaxed);
        if full {
            // Files that retention gave up go with a checkpoint.
            self.request_checkpoint();
        }
        if space.free < marks.hard && ballast && self.world.disk.unlink(BALLAST).is_ok() {
            self.ballast.store(false, Ordering::Relaxed);
        }
    }

    /// Lays the ballast if there is none and room for it.
    fn lay_ballast(&self) {
        let bytes = self.config.ballast_bytes;
        let Ok(space) = self.world.disk.free_space() else {
            return;
        };
        let room = space.free > self.config.space_marks(space.total).soft + bytes;
        if bytes == 0 || self.ballast.load(Ordering::Relaxed) || !room {
            return;
        }
        let disk = &self.world.disk;
        let made = match disk.open(BALLAST, world::OpenMode::CreateNew) {
            Ok(file) => file.allocate(bytes).is_ok(),
            Err(world::DiskError::AlreadyExists { .. }) => true,
            Err(_) => false,
        };
        self.ballast.store(made, Ordering::Relaxed);
    }
}

/// The trickle's loop.
pub(crate) struct TrickleLoop(pub Arc<Shared>);

impl Worker for TrickleLoop {
    fn step(&mut self) -> Next {
        if self.0.is_closing() {
            return Next::Done;
        }
        self.0.trickle();
        if lock(&self.0.unsynced).is_empty() {
            return Next::Wait;
        }
        Next::WaitFor(self.0.config.trickle_interval)
    }
}

/// Slots, files, space and buffers.
pub(crate) struct UpkeepLoop {
    pub shared: Arc<Shared>,
    pub last_groups: u64,
    /// `None` before the first call.
    pub next_look: Option<Instant>,
}

impl Worker for UpkeepLoop {
    fn step(&mut self) -> Next {
        let shared = &self.shared;
        if shared.is_closing() {
            return Next::Done;
        }
        let now = shared.world.clock.now();
        let Some(next_look) = self.next_look else {
            self.next_look = Some(now);
            return Next::WaitFor(FIRST_LOOK_AFTER);
        };
        let piece = shared.make_slot();
        if now >= next_look {
            self.next_look = Some(now.after(LOOK_EVERY));
            shared.unlink_due();
            shared.look_at_space();
            if piece.is_none() {
                shared.lay_ballast();
            }
            let groups = shared.metrics.groups.value();
            if std::mem::replace(&mut self.last_groups, groups) == groups {
                shared.staging.release_spare();
            }
        }
        match piece {
            Some(Duration::ZERO) => Next::Again,
            Some(pause) => Next::WaitFor(pause),
            None => Next::WaitFor(LOOK_EVERY),
        }
    }
}

/// Checkpoints: in time, or when asked for.
pub(crate) struct CheckpointLoop(pub Arc<Shared>);

impl Worker for CheckpointLoop {
    fn step(&mut self) -> Next {
        let shared = &self.0;
        if shared.is_closing() {
            return Next::Done;
        }
        if shared.swap_posted() {
            return Next::Again;
        }
        if !shared.checkpoint_due() {
            return Next::WaitFor(shared.config.checkpoint_interval);
        }
        match shared.checkpoint() {
            Ok(()) => Next::WaitFor(shared.config.checkpoint_interval),
            Err(error) => {
                tracing::warn!(%error, "checkpoint failed; the log keeps everything until one succeeds");
                shared.request_checkpoint_later();
                Next::WaitFor(LOOK_EVERY)
            }
        }
    }
}

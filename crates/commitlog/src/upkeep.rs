//! What goes on in the background: checkpoints in time, slots in number, files that are not needed,
//! free space, buffers of a log that fell idle.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use world::{Instant, Next, OpenMode, Worker};

use crate::ids::PartitionId;
use crate::lock;
use crate::segment::segment_path;
use crate::slot::Making;
use crate::store::Shared;

/// Time from the start to the first look: the first requests have the disk for themselves.
const FIRST_LOOK_AFTER: Duration = Duration::from_millis(250);
/// Time between two looks at space, slots and buffers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause between two pieces of a slot, or of a file that goes, that nobody waits for yet: the disk is
/// for requests.
const PIECE_EVERY: Duration = Duration::from_millis(15);
/// Bytes that vanish from a file at once: on a mount that discards, the disk does nothing else
/// meanwhile.
const UNLINK_STEP: u64 = 1 << 20;
/// With more files than this to give up, they go without pauses.
const UNLINKS_BEHIND: usize = 4;
/// A file that takes space until the disk is full: giving it up makes room for checkpoints.
pub(crate) const BALLAST: &str = "ballast";

impl Shared {
    /// Unlinks every file whose trim or deletion is durable.
    pub fn unlink_due(&self) {
        while self.unlink_piece().is_some() {}
    }

    /// Gives up a piece of a file whose trim or deletion is durable, the name with the last. How long
    /// the next piece has time; `None` when there is none.
    fn unlink_piece(&self) -> Option<Duration> {
        self.unlink_replaced();
        // It stays on the list until it is gone: whoever closes must not find the list empty while
        // another thread is at the last file.
        let next = *lock(&self.unlinks).last()?;
        let (id, base, revision) = next;
        let rest = self.shorten_or_unlink(id, base, revision);
        let mut unlinks = lock(&self.unlinks);
        if !matches!(rest, Ok(true)) {
            unlinks.retain(|one| *one != next);
        }
        if let Err(error) = rest {
            tracing::warn!(%error, "a segment that is not needed stays");
        }
        let waited_for = unlinks.len() > UNLINKS_BEHIND || self.full.load(Ordering::Relaxed);
        Some(if waited_for {
            Duration::ZERO
        } else {
            PIECE_EVERY
        })
    }

    /// Says whether there is more of the file.
    fn shorten_or_unlink(
        &self,
        id: PartitionId,
        base: i64,
        revision: u32,
    ) -> world::disk::DiskResult<bool> {
        let current = crate::read_lock(&self.by_id)
            .get(&id)
            .and_then(|partition| partition.state().known_revision(base));
        if current == Some(revision) {
            // A cut took the segment away, and a new one that begins at the same offset has the name.
            return Ok(false);
        }
        let path = segment_path(id, base, revision);
        if current.is_some() {
            // Another file of this segment took its place and is in use.
            return match self.world.disk.unlink(&path) {
                Ok(()) | Err(world::DiskError::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            };
        }
        // A reader may hold the file open and must find its bytes: then only the name goes.
        let file = match self.descriptors.forget((id.0, base), revision) {
            Some(file) => Some(file),
            None => self.world.disk.open(&path, OpenMode::ReadWrite).ok(),
        };
        if let Some(file) = file
            && Arc::strong_count(&file) == 1
        {
            let length = file.len()?;
            if length > UNLINK_STEP {
                file.truncate(length - UNLINK_STEP)?;
                return Ok(true);
            }
        }
        self.unlink_segment(id, base, revision)?;
        Ok(false)
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
        let made = shared.make_slot();
        let gone = shared.unlink_piece();
        if now >= next_look {
            self.next_look = Some(now.after(LOOK_EVERY));
            shared.look_at_space();
            if made.is_none() {
                shared.lay_ballast();
            }
            let groups = shared.metrics.groups.value();
            if std::mem::replace(&mut self.last_groups, groups) == groups {
                shared.staging.release_spare();
            }
        }
        match made.into_iter().chain(gone).min() {
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

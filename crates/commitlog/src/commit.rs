//! From staged to durable: the log writer's turn, the gather, the completion.
//!
//! One group is written at a time. While the disk has it, whoever comes by (a reactor before it
//! sleeps, else the log writer afterwards) gathers its parts into the segments' page caches. When a
//! group is both flushed and gathered it completes: watermarks and the durable LSN move, listeners
//! are told once. Groups complete in order.
//!
//! A failed flush is never retried on the same pages (storage.md section 8): the group, which is
//! still in memory, becomes the first block of a fresh slot. A second failure ends the directory.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use world::disk::{DiskError, DiskResult};
use world::{File, Instant, Next, OpenMode, Worker};

use crate::block::{BlockHeader, CONTINUES_RETIRED, FIRST_OF_SLOT, seal_block};
use crate::errors::LogError;
use crate::ids::{Lsn, PartitionId};
use crate::lock;
use crate::partition::{Partition, wake};
use crate::segment::{segment_dir, segment_path};
use crate::slot::{Place, Slots, create_slot};
use crate::staging::{Group, GroupEntry, PartKind};
use crate::store::Shared;
use crate::trickle::Written;
use crate::writer::{GroupOutcome, LogWriter, SealedGroup};

/// How long the log must be idle before an empty block vouches for the last one (storage.md 6).
const VOUCH_AFTER: Duration = Duration::from_secs(1);

/// What the log writer owns.
pub(crate) struct WriterCore {
    pub slots: Slots,
    pub log: Box<dyn LogWriter>,
    pub previous_crc: u32,
    pub last_lsn: u64,
    /// The log is full: appends are refused until a checkpoint has freed slots.
    pub stalled: bool,
    /// The last block is empty, or none was written: nothing to vouch for.
    pub vouched: bool,
    pub last_write: Instant,
    outcomes: Vec<GroupOutcome>,
    /// A group that found no slot.
    waiting: Option<Group>,
}

impl WriterCore {
    pub fn new(slots: Slots, log: Box<dyn LogWriter>, last_lsn: u64, previous_crc: u32) -> Self {
        WriterCore {
            slots,
            log,
            previous_crc,
            last_lsn,
            stalled: false,
            vouched: true,
            last_write: Instant(0),
            outcomes: Vec::new(),
            waiting: None,
        }
    }
}

/// How far the gather has come.
#[derive(Default)]
pub(crate) struct Applied {
    pub lsn: u64,
}

/// What one turn of the log writer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A group became durable.
    Wrote,
    /// Nothing was staged.
    Idle,
    /// The log is full until a checkpoint.
    LogFull,
    /// The directory is dead.
    Dead,
}

/// The log writer's loop.
pub(crate) struct LogWriterLoop(pub Arc<Shared>);

impl Worker for LogWriterLoop {
    fn step(&mut self) -> Next {
        let shared = &self.0;
        let mut core = lock(&shared.writer);
        let turn = shared.write_next(&mut core);
        if let Turn::Idle = turn {
            shared.trickle_in_a_pause();
        }
        match turn {
            Turn::Wrote => Next::Again,
            _ if shared.is_closing() => Next::Done,
            Turn::Idle if core.vouched => Next::Wait,
            Turn::Idle => {
                let idle = shared.world.clock.now().since(core.last_write);
                if idle < VOUCH_AFTER {
                    return Next::WaitFor(VOUCH_AFTER - idle);
                }
                core.vouched = true;
                if shared.staging.lock().open_empty().is_ok() {
                    Next::Again
                } else {
                    Next::Wait
                }
            }
            Turn::LogFull => Next::WaitFor(Duration::from_millis(5)),
            Turn::Dead => Next::Wait,
        }
    }
}

impl Shared {
    /// Writes the next group, if there is one, and completes what is complete.
    pub fn write_next(&self, core: &mut WriterCore) -> Turn {
        if self.is_dead() {
            return Turn::Dead;
        }
        let Some(mut group) = core.waiting.take().or_else(|| self.staging.take()) else {
            return Turn::Idle;
        };
        let bytes = group.block_bytes() as u64;
        let Some(place) = core.slots.place(bytes, group.lsn, core.stalled) else {
            core.waiting = Some(group);
            if !core.stalled {
                core.stalled = true;
                self.staging.stall(true);
            }
            self.metrics.log_full.add(1);
            self.request_checkpoint();
            // At the very first start the other slots may not be made yet.
            self.upkeep_signal.raise();
            return Turn::LogFull;
        };
        let flags = if place.first { FIRST_OF_SLOT } else { 0 };
        let previous_crc = core.previous_crc;
        let empty = group.records() == 0;
        let header = self.header(&group, &place, flags, previous_crc, 0);
        core.previous_crc = seal_block(group.block_mut(), &header);
        core.last_lsn = group.lsn;
        let (lsn, group) = (group.lsn, Arc::new(group));
        lock(&self.queue).push_back(Arc::clone(&group));
        let sealed = SealedGroup {
            group,
            file: place.file,
            position: place.position,
        };
        if let Err((sealed, error)) = self.flush(core, sealed) {
            self.metrics.flush_failures.add(1);
            tracing::error!(%error, lsn, "log flush failed: moving the group to a fresh slot");
            let flags = FIRST_OF_SLOT | CONTINUES_RETIRED;
            if core.slots.free() == 0 {
                // Only the first slot of a new directory is made yet.
                let number = core.slots.begin_making();
                match create_slot(&*self.world.disk, number, self.config.slot_bytes) {
                    Ok(file) => core.slots.add(number, file, None),
                    Err(error) => {
                        core.slots.give_up(number);
                        tracing::error!(%error, "no slot can be made");
                    }
                }
            }
            let Some((place, retired)) = core.slots.place_after_failure(bytes, lsn) else {
                self.die(format!("log flush failed and no slot is free: {error}"));
                return Turn::Dead;
            };
            let original = &sealed.group;
            let (length, records) = (original.body_length(), original.records());
            let mut copy = Group::from_block(lsn, original.block(), length, records);
            let header = self.header(&copy, &place, flags, previous_crc, retired);
            core.previous_crc = seal_block(copy.block_mut(), &header);
            drop(sealed);
            let group = Arc::new(copy);
            let again = SealedGroup {
                group,
                file: place.file,
                position: place.position,
            };
            self.request_checkpoint();
            if let Err((_, second)) = self.flush(core, again) {
                self.metrics.flush_failures.add(1);
                self.die(format!("log flush failed twice: {error}; then {second}"));
                return Turn::Dead;
            }
        }
        core.vouched = empty;
        core.last_write = self.world.clock.now();
        self.metrics.groups.add(1);
        self.metrics.log_bytes.add(bytes);
        self.note_slots(core);
        // What was staged when the log filled up may have taken the slots that were freed since.
        if core.stalled || core.slots.half_used(self.config.slots) {
            self.request_checkpoint();
        }
        let mut applied = lock(&self.applying);
        self.gather_all(&mut applied);
        self.complete(&mut applied);
        Turn::Wrote
    }

    fn header(
        &self,
        group: &Group,
        place: &Place,
        flags: u16,
        previous_crc: u32,
        retired_generation: u64,
    ) -> BlockHeader {
        BlockHeader {
            flags,
            lsn: group.lsn,
            generation: place.generation,
            durable_lsn: self.durable.load(Ordering::Acquire),
            length: group.body_length() as u32,
            records: group.records(),
            previous_crc,
            retired_generation,
        }
    }

    fn flush(
        &self,
        core: &mut WriterCore,
        group: SealedGroup,
    ) -> Result<(), (SealedGroup, DiskError)> {
        if core.log.submit(group).is_err() {
            unreachable!("one group is in flight at a time");
        }
        core.log.completed(&mut core.outcomes);
        for outcome in core.outcomes.drain(..) {
            match outcome {
                GroupOutcome::Durable { lsn, flush_us } => {
                    self.metrics.flushed(flush_us);
                    self.flushed.store(lsn.0, Ordering::Release);
                }
                GroupOutcome::Failed { group, error } => return Err((group, error)),
            }
        }
        Ok(())
    }

    /// Gathers what is sealed, unless somebody else does.
    pub fn gather(&self) {
        if let Ok(mut applied) = self.applying.try_lock() {
            self.gather_all(&mut applied);
            self.complete(&mut applied);
        }
    }

    /// Gathers groups in log order up to the first that must be durable before.
    pub fn gather_all(&self, applied: &mut Applied) {
        loop {
            let next = lock(&self.queue)
                .iter()
                .find(|group| group.lsn > applied.lsn)
                .cloned();
            let Some(group) = next else {
                return;
            };
            if group.is_barrier() && group.lsn > self.flushed.load(Ordering::Acquire) {
                return;
            }
            for entry in &group.entries {
                self.gather_entry(&group, entry);
                entry.partition.note_gathered(group.parts_of(entry));
            }
            applied.lsn = group.lsn;
        }
    }

    /// A segment write that fails loses nothing, the log has the data: the partition is rebuilt from
    /// there later, and its watermark waits.
    pub fn gather_entry(&self, group: &Group, entry: &GroupEntry) {
        let partition = &entry.partition;
        if partition.state().broken {
            return;
        }
        if let Err(error) = self.write_parts(group, entry) {
            tracing::error!(partition = %partition.key(), %error, "segment write failed");
            self.metrics.segment_failures.add(1);
            partition.state().broken = true;
            lock(&self.broken).insert(partition.id(), Arc::clone(partition));
            self.request_checkpoint();
        }
    }

    fn write_parts(&self, group: &Group, entry: &GroupEntry) -> DiskResult<()> {
        const SLICES_MAX: usize = 64;
        let partition = &entry.partition;
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let (mut count, mut segment, mut start, mut end) = (0, 0, 0, 0);
        for part in group.parts_of(entry) {
            let PartKind::Bytes {
                from,
                length,
                position,
            } = part.kind
            else {
                if count > 0 && part.kind != PartKind::Nothing {
                    self.write_run(partition, segment, &slices[..count], start, end)?;
                    count = 0;
                }
                match part.kind {
                    PartKind::Truncate { position } => {
                        self.cut_files(partition, part.segment, position)?;
                    }
                    PartKind::Seal { base, position } => {
                        self.write_footer(partition, base, position)?;
                    }
                    PartKind::Bytes { .. } | PartKind::Nothing => {}
                }
                continue;
            };
            if count == SLICES_MAX || (count > 0 && (segment != part.segment || end != position)) {
                self.write_run(partition, segment, &slices[..count], start, end)?;
                count = 0;
            }
            if count == 0 {
                (segment, start) = (part.segment, position);
            }
            slices[count] = IoSlice::new(group.bytes(from, length));
            count += 1;
            end = position + u64::from(length);
        }
        if count > 0 {
            self.write_run(partition, segment, &slices[..count], start, end)?;
        }
        Ok(())
    }

    fn write_run(
        &self,
        partition: &Partition,
        base: i64,
        slices: &[IoSlice<'_>],
        start: u64,
        end: u64,
    ) -> DiskResult<()> {
        self.create_segment(partition, base)?
            .write_vectored_at(slices, start)?;
        self.note_written(
            partition.id(),
            base,
            Written {
                from: start,
                to: end,
            },
        );
        Ok(())
    }

    fn write_footer(&self, partition: &Partition, base: i64, position: u64) -> DiskResult<()> {
        let footer = partition.state().footer_of(base);
        if let Some(footer) = footer {
            let file = self.create_segment(partition, base)?;
            file.write_at(&footer, position)?;
            let to = position + footer.len() as u64;
            // A footer is found by the file's end. After a kill the one written before may still
            // lie here and be longer: the log knows append times less finely than it did.
            if file.len()? > to {
                file.truncate(to)?;
            }
            self.note_written(partition.id(), base, Written { from: position, to });
        }
        Ok(())
    }

    /// A truncation reached the files: the active segment is cut, those above it are removed.
    fn cut_files(&self, partition: &Partition, base: i64, position: u64) -> DiskResult<()> {
        let file = self.create_segment(partition, base)?;
        file.truncate(position)?;
        self.note_written(
            partition.id(),
            base,
            Written {
                from: position,
                to: position,
            },
        );
        let cut_away = partition.state().take_cut_away();
        for (base, revision) in cut_away {
            self.unlink_segment(partition.id(), base, revision)?;
        }
        Ok(())
    }

    /// Removes a segment's file; fine if it is not there.
    pub fn unlink_segment(&self, id: PartitionId, base: i64, revision: u32) -> DiskResult<()> {
        drop(self.descriptors.forget((id.0, base), revision));
        self.forget_written(id, base);
        match self.world.disk.unlink(&segment_path(id, base, revision)) {
            Ok(()) | Err(DiskError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        self.note_dir(id);
        Ok(())
    }

    /// Moves the durable LSN over all groups that are both flushed and gathered.
    pub fn complete(&self, applied: &mut Applied) {
        loop {
            let flushed = self.flushed.load(Ordering::Acquire);
            let mut queue = lock(&self.queue);
            let due = queue
                .front()
                .is_some_and(|front| front.lsn <= flushed && front.lsn <= applied.lsn);
            let Some(group) = due.then(|| queue.pop_front()).flatten() else {
                return;
            };
            drop(queue);
            let lsn = group.lsn;
            let mut woken = Vec::new();
            for entry in &group.entries {
                entry
                    .partition
                    .note_completed(group.parts_of(entry), &mut woken);
            }
            self.staging.recycle(group);
            self.durable.store(lsn, Ordering::Release);
            drop(lock(&self.durable_moved.0));
            self.durable_moved.1.notify_all();
            // Waiters first: a listener that wakes somebody for both does it once.
            wake(woken);
            for listener in &*crate::read_lock(&self.listeners) {
                listener.durable(Lsn(lsn));
            }
        }
    }

    /// Blocks until `lsn` is durable; does the log writer's work itself where it can, so that it
    /// also ends where nobody else runs.
    pub fn wait_durable(&self, lsn: u64) -> Result<(), LogError> {
        let mut full = 0;
        while self.durable.load(Ordering::Acquire) < lsn {
            if self.is_dead() {
                return Err(LogError::Dead(self.death()));
            }
            let turn = match self.writer.try_lock() {
                Ok(mut core) => Some(self.write_next(&mut core)),
                Err(_) => None,
            };
            match turn {
                Some(Turn::Wrote | Turn::Dead) => continue,
                Some(Turn::LogFull) => {
                    full += 1;
                    let mut made = false;
                    while self.make_slot().is_some() {
                        made = true;
                    }
                    if made {
                        continue;
                    }
                    let freed = match self.checkpointer.try_lock() {
                        Ok(mut checkpointer) => self.checkpoint_with(&mut checkpointer).is_ok(),
                        // A checkpoint is under way; if it is our own caller, the groups already
                        // staged have a slot of their own, which the next turn takes.
                        Err(_) => full < 3,
                    };
                    if !freed && full > 1000 {
                        return Err(LogError::Full);
                    }
                    if freed {
                        continue;
                    }
                }
                Some(Turn::Idle) | None => {}
            }
            let guard = lock(&self.durable_moved.0);
            if self.durable.load(Ordering::Acquire) < lsn {
                let limit = Duration::from_millis(1);
                drop(self.durable_moved.1.wait_timeout(guard, limit));
            }
        }
        Ok(())
    }

    /// A segment's file, which exists.
    pub fn open_segment(
        &self,
        id: PartitionId,
        base: i64,
        revision: u32,
    ) -> DiskResult<Arc<dyn File>> {
        self.descriptors.file((id.0, base), revision, || {
            self.world
                .disk
                .open(&segment_path(id, base, revision), OpenMode::ReadWrite)
        })
    }

    /// A segment's file, created at its first byte.
    pub fn create_segment(&self, partition: &Partition, base: i64) -> DiskResult<Arc<dyn File>> {
        let id = partition.id();
        let revision = partition.state().revision_of(base);
        let disk = &self.world.disk;
        self.descriptors.file((id.0, base), revision, || {
            let path = segment_path(id, base, revision);
            match self.create_new_segment(id, &path) {
                Err(DiskError::AlreadyExists { .. }) => disk.open(&path, OpenMode::ReadWrite),
                other => other,
            }
        })
    }

    /// A new file of a segment, and its directory if it is the first there.
    pub fn create_new_segment(&self, id: PartitionId, path: &str) -> DiskResult<Arc<dyn File>> {
        let disk = &self.world.disk;
        self.note_dir(id);
        match disk.open(path, OpenMode::CreateNew) {
            Err(DiskError::NotFound { .. }) => {
                disk.create_dir(&segment_dir(id))?;
                self.note_dir_of_shards();
                disk.open(path, OpenMode::CreateNew)
            }
            other => other,
        }
    }
}

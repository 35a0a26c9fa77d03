//! One data directory: its partitions, its shared log, its workers.
//!
//! Order of locks, outermost first: checkpoint, writer, applying, queue, partitions, a partition's
//! state, staging, descriptors. Listeners and waiters are called under none of the last four.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::Duration;

use world::disk::{DiskError, DiskLock, DiskResult};
use world::spawn::Priority;
use world::{File, Next, OpenMode, Signal, Worker, WorkerHandle, World};

use crate::block::{
    BlockHeader, CONTINUES_RETIRED, FIRST_OF_SLOT, RecordHeader, RecordKind, seal_block,
};
use crate::descriptors::Descriptors;
use crate::errors::{AppendError, LogError, OpenError};
use crate::ids::{Lsn, PartitionId, PartitionKey};
use crate::lock;
use crate::partition::{Partition, wake};
use crate::segment::{segment_dir, segment_path};
use crate::settings::{LogSettings, StoreConfig};
use crate::slot::{Place, SLOT_DIR, Slots, create_slot};
use crate::staging::{Group, GroupEntry, PartKind, Staging};
use crate::writer::{BlockingWriter, GroupOutcome, LogWriter, SealedGroup};

/// Told when the durable LSN moved: once per group, on the thread that completed it, which holds
/// the completion's lock: wake somebody, do not call the store.
pub trait DurableListener: Send + Sync {
    /// Everything up to `lsn` is durable, and readable.
    fn durable(&self, lsn: Lsn);
}

/// How a data directory fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreHealth {
    /// Everything is taken.
    Ok,
    /// Space is short: client appends are refused until some is free; reads go on.
    Full,
    /// Nothing is acknowledged any more; reads go on.
    Dead(String),
}

/// What `open` found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The directory was new.
    pub created: bool,
    /// The last run ended with a clean stop.
    pub clean: bool,
    /// Blocks replayed from the log.
    pub blocks: u64,
    /// Batches put back into segments.
    pub batches: u64,
    /// Partitions in all.
    pub partitions: usize,
    /// Partitions named in the log.
    pub replayed_partitions: usize,
    /// Bytes behind the last valid block that were cut as a torn tail.
    pub torn_tail: bool,
}

/// One data directory.
pub struct LogStore {
    shared: Arc<Shared>,
    workers: Mutex<Vec<Box<dyn WorkerHandle>>>,
    _lock: Box<dyn DiskLock>,
}

pub(crate) struct Shared {
    pub world: World,
    pub config: StoreConfig,
    pub staging: Staging,
    pub descriptors: Descriptors,
    partitions: RwLock<BTreeMap<PartitionKey, Arc<Partition>>>,
    next_partition: AtomicU64,
    writer: Mutex<WriterCore>,
    /// Sealed groups in LSN order: written, being written, or gathered and not yet durable.
    queue: Mutex<VecDeque<Arc<Group>>>,
    applying: Mutex<Applied>,
    flushed: AtomicU64,
    durable: AtomicU64,
    durable_moved: (Mutex<()>, Condvar),
    listeners: RwLock<Vec<Arc<dyn DurableListener>>>,
    writer_signal: Signal,
    closing: AtomicBool,
    full: AtomicBool,
    dead: RwLock<Option<String>>,
    is_dead: AtomicBool,
}

/// How far the gather has come.
#[derive(Default)]
struct Applied {
    lsn: u64,
}

/// What the log writer owns.
struct WriterCore {
    slots: Slots,
    log: Box<dyn LogWriter>,
    previous_crc: u32,
    stalled: bool,
    outcomes: Vec<GroupOutcome>,
    /// A sealed group that found no slot.
    waiting: Option<Group>,
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

impl LogStore {
    /// Opens a data directory, creating what is missing; recovers what the last run left.
    pub fn open(
        world: &World,
        config: StoreConfig,
    ) -> Result<(Arc<LogStore>, RecoveryReport), OpenError> {
        let disk = &world.disk;
        for dir in [SLOT_DIR, "meta", "seg"] {
            disk.create_dir(dir)?;
        }
        match disk.open("lock", OpenMode::CreateNew) {
            Ok(_) | Err(DiskError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let lock_file = disk.lock("lock").map_err(|error| match error {
            DiskError::Locked { .. } => OpenError::InUse { root: disk.root() },
            error => error.into(),
        })?;
        let mut slots = Slots::new(config.slot_bytes, Arc::clone(&world.random));
        for number in 0..config.slots {
            slots.add(
                number,
                create_slot(&**disk, number, config.slot_bytes)?,
                None,
            );
        }
        let shared = Arc::new(Shared {
            staging: Staging::new(config.staging_bytes, config.staging_buffers, 1),
            descriptors: Descriptors::new(config.descriptors),
            partitions: RwLock::default(),
            next_partition: AtomicU64::new(1),
            writer: Mutex::new(WriterCore {
                slots,
                log: Box::new(BlockingWriter::new(Arc::clone(&world.clock))),
                previous_crc: 0,
                stalled: false,
                outcomes: Vec::new(),
                waiting: None,
            }),
            queue: Mutex::default(),
            applying: Mutex::default(),
            flushed: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            durable_moved: Default::default(),
            listeners: RwLock::default(),
            writer_signal: Signal::new(),
            closing: AtomicBool::new(false),
            full: AtomicBool::new(false),
            dead: RwLock::default(),
            is_dead: AtomicBool::new(false),
            world: world.clone(),
            config,
        });
        let worker = world.spawn.worker(
            "log-writer",
            Priority::Urgent,
            shared.writer_signal.clone(),
            Box::new(LogWriterLoop(Arc::clone(&shared))),
        );
        let store = LogStore {
            shared,
            workers: Mutex::new(vec![worker]),
            _lock: lock_file,
        };
        Ok((
            Arc::new(store),
            RecoveryReport {
                created: true,
                ..RecoveryReport::default()
            },
        ))
    }

    /// Creates a partition. It may be used at once; it is sure to exist after a crash when the
    /// first append to it, or [`LogStore::wait_durable`] of its creation, is durable.
    pub fn create_partition(
        &self,
        key: PartitionKey,
        settings: LogSettings,
    ) -> Result<Arc<Partition>, LogError> {
        let shared = &self.shared;
        let mut partitions = crate::write_lock(&shared.partitions);
        if partitions.contains_key(&key) {
            return Err(LogError::Exists);
        }
        let id = PartitionId(shared.next_partition.fetch_add(1, Ordering::Relaxed));
        let partition = Partition::new(key, id, Arc::clone(shared), settings, 0);
        let mut body = [0; 20];
        body[..16].copy_from_slice(&key.topic.0);
        body[16..].copy_from_slice(&key.partition.to_le_bytes());
        let header = RecordHeader {
            kind: RecordKind::Create,
            leader_epoch: -1,
            partition: id.0,
            base_offset: 0,
            position: 0,
            length: body.len() as u32,
            append_time: 0,
        };
        partition
            .state()
            .log_control(&partition, &header, &body, PartKind::Nothing)?;
        partitions.insert(key, Arc::clone(&partition));
        drop(partitions);
        shared.wake_writer();
        Ok(partition)
    }

    /// A partition, if it exists here.
    pub fn partition(&self, key: &PartitionKey) -> Option<Arc<Partition>> {
        crate::read_lock(&self.shared.partitions).get(key).cloned()
    }

    /// All partitions, sorted.
    pub fn partitions(&self) -> Vec<PartitionKey> {
        crate::read_lock(&self.shared.partitions)
            .keys()
            .copied()
            .collect()
    }

    /// Everything up to this LSN is durable and readable.
    pub fn durable_lsn(&self) -> Lsn {
        Lsn(self.shared.durable.load(Ordering::Acquire))
    }

    /// Registers a listener, for the life of the store.
    pub fn listen_durable(&self, listener: Arc<dyn DurableListener>) {
        crate::write_lock(&self.shared.listeners).push(listener);
    }

    /// Copies sealed groups into their segments' page caches, if nobody else is at it: what a
    /// reactor does before it sleeps, while the disk is busy with the same groups.
    pub fn gather(&self) {
        self.shared.gather();
    }

    /// Blocks until `lsn` is durable. For tests, start-up, shutdown.
    pub fn wait_durable(&self, lsn: Lsn) -> Result<(), LogError> {
        self.shared.wait_durable(lsn.0)
    }

    /// How the directory fares.
    pub fn health(&self) -> StoreHealth {
        if let Some(reason) = &*crate::read_lock(&self.shared.dead) {
            return StoreHealth::Dead(reason.clone());
        }
        if self.shared.full.load(Ordering::Relaxed) {
            StoreHealth::Full
        } else {
            StoreHealth::Ok
        }
    }

    /// Writes everything out and stops the workers. Appends fail from here on.
    pub fn close(&self) -> Result<(), LogError> {
        let shared = &self.shared;
        let last = shared.staging.lock().last_lsn();
        let flushed = shared.wait_durable(last);
        shared.closing.store(true, Ordering::Release);
        shared.writer_signal.raise();
        for worker in lock(&self.workers).drain(..) {
            worker.join();
        }
        crate::write_lock(&shared.partitions).clear();
        flushed
    }
}

struct LogWriterLoop(Arc<Shared>);

impl Worker for LogWriterLoop {
    fn step(&mut self) -> Next {
        let turn = self.0.write_next(&mut lock(&self.0.writer));
        match turn {
            Turn::Wrote => Next::Again,
            _ if self.0.closing.load(Ordering::Acquire) => Next::Done,
            Turn::Idle => Next::Wait,
            Turn::LogFull => Next::WaitFor(Duration::from_millis(5)),
            Turn::Dead => Next::Wait,
        }
    }
}

impl Shared {
    /// Whether an append may be tried at all.
    pub fn admit(&self, client: bool) -> Result<(), AppendError> {
        if self.is_dead.load(Ordering::Relaxed) || self.closing.load(Ordering::Relaxed) {
            return Err(AppendError::Dead);
        }
        if client && self.full.load(Ordering::Relaxed) {
            return Err(AppendError::Full);
        }
        Ok(())
    }

    /// Bytes of a batch at most: half a slot.
    pub fn batch_bytes_max(&self) -> u64 {
        self.config.slot_bytes / 2
    }

    /// Something was staged.
    pub fn wake_writer(&self) {
        self.writer_signal.raise();
    }

    /// Writes the next group, if there is one, and completes what is complete.
    fn write_next(&self, core: &mut WriterCore) -> Turn {
        if self.is_dead.load(Ordering::Relaxed) {
            return Turn::Dead;
        }
        let Some(mut group) = core.waiting.take().or_else(|| self.staging.take()) else {
            return Turn::Idle;
        };
        let Some(place) = core
            .slots
            .place(group.block_bytes() as u64, group.lsn, core.stalled)
        else {
            core.waiting = Some(group);
            if !core.stalled {
                core.stalled = true;
                self.staging.stall(true);
            }
            return Turn::LogFull;
        };
        let flags = if place.first { FIRST_OF_SLOT } else { 0 };
        let previous_crc = core.previous_crc;
        core.previous_crc = self.seal(&mut group, &place, flags, previous_crc, 0);
        let group = Arc::new(group);
        lock(&self.queue).push_back(Arc::clone(&group));
        let sealed = SealedGroup {
            group,
            file: place.file,
            position: place.position,
        };
        let failed = match self.flush(core, sealed) {
            Ok(()) => return Turn::Wrote,
            Err(failed) => failed,
        };
        self.die(format!("log write failed: {failed}"));
        Turn::Dead
    }

    fn seal(
        &self,
        group: &mut Group,
        place: &Place,
        flags: u16,
        previous_crc: u32,
        retired_generation: u64,
    ) -> u32 {
        debug_assert_eq!(retired_generation != 0, flags & CONTINUES_RETIRED != 0);
        let header = BlockHeader {
            flags,
            lsn: group.lsn,
            generation: place.generation,
            durable_lsn: self.durable.load(Ordering::Acquire),
            length: group.body_length() as u32,
            records: group.records(),
            previous_crc,
            retired_generation,
        };
        seal_block(group.block_mut(), &header)
    }

    fn flush(&self, core: &mut WriterCore, group: SealedGroup) -> Result<(), DiskError> {
        if core.log.submit(group).is_err() {
            unreachable!("one group is in flight at a time");
        }
        core.log.completed(&mut core.outcomes);
        for outcome in core.outcomes.drain(..) {
            match outcome {
                GroupOutcome::Durable { lsn, .. } => self.flushed.store(lsn.0, Ordering::Release),
                GroupOutcome::Failed { error, .. } => return Err(error),
            }
        }
        let mut applied = lock(&self.applying);
        self.gather_all(&mut applied);
        self.complete(&mut applied);
        Ok(())
    }

    /// Gathers what is sealed, unless somebody else does.
    pub fn gather(&self) {
        if let Ok(mut applied) = self.applying.try_lock() {
            self.gather_all(&mut applied);
            self.complete(&mut applied);
        }
    }

    fn gather_all(&self, applied: &mut Applied) {
        loop {
            let next = lock(&self.queue)
                .iter()
                .find(|group| group.lsn > applied.lsn)
                .cloned();
            let Some(group) = next else {
                return;
            };
            for entry in &group.entries {
                if let Err(error) = self.gather_entry(&group, entry) {
                    self.die(format!("segment write failed: {error}"));
                }
                entry.partition.note_gathered(group.parts_of(entry));
            }
            applied.lsn = group.lsn;
        }
    }

    fn gather_entry(&self, group: &Group, entry: &GroupEntry) -> DiskResult<()> {
        const SLICES_MAX: usize = 64;
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let (mut count, mut segment, mut start, mut end) = (0, 0, 0, 0);
        let id = entry.partition.id();
        for part in group.parts_of(entry) {
            let PartKind::Bytes {
                from,
                length,
                position,
            } = part.kind
            else {
                continue;
            };
            if count == SLICES_MAX || (count > 0 && (segment != part.segment || end != position)) {
                self.create_segment(id, segment)?
                    .write_vectored_at(&slices[..count], start)?;
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
            self.create_segment(id, segment)?
                .write_vectored_at(&slices[..count], start)?;
        }
        Ok(())
    }

    /// Moves the durable LSN over all groups that are both flushed and gathered.
    fn complete(&self, applied: &mut Applied) {
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
            let mut woken = Vec::new();
            for entry in &group.entries {
                entry
                    .partition
                    .note_completed(group.parts_of(entry), &mut woken);
            }
            let lsn = group.lsn;
            self.staging.recycle(group);
            self.durable.store(lsn, Ordering::Release);
            drop(lock(&self.durable_moved.0));
            self.durable_moved.1.notify_all();
            for listener in &*crate::read_lock(&self.listeners) {
                listener.durable(Lsn(lsn));
            }
            wake(woken);
        }
    }

    /// Blocks until `lsn` is durable; does the log writer's work itself where it can, so that it
    /// also ends where nobody else runs.
    pub fn wait_durable(&self, lsn: u64) -> Result<(), LogError> {
        while self.durable.load(Ordering::Acquire) < lsn {
            if self.is_dead.load(Ordering::Relaxed) {
                let reason = crate::read_lock(&self.dead).clone().unwrap_or_default();
                return Err(LogError::Dead(reason));
            }
            if let Ok(mut core) = self.writer.try_lock() {
                self.write_next(&mut core);
                continue;
            }
            let guard = lock(&self.durable_moved.0);
            if self.durable.load(Ordering::Acquire) < lsn {
                let limit = Duration::from_millis(1);
                drop(self.durable_moved.1.wait_timeout(guard, limit));
            }
        }
        Ok(())
    }

    fn die(&self, reason: String) {
        tracing::error!(%reason, "data directory dead: nothing is acknowledged from here on");
        let mut dead = crate::write_lock(&self.dead);
        dead.get_or_insert(reason);
        self.is_dead.store(true, Ordering::Release);
        drop(dead);
        self.durable_moved.1.notify_all();
    }

    /// A segment's file, which exists.
    pub fn open_segment(&self, id: PartitionId, base: i64) -> DiskResult<Arc<dyn File>> {
        self.descriptors.file((id.0, base), || {
            self.world
                .disk
                .open(&segment_path(id, base), OpenMode::ReadWrite)
        })
    }

    /// A segment's file, created at its first byte.
    fn create_segment(&self, id: PartitionId, base: i64) -> DiskResult<Arc<dyn File>> {
        let disk = &self.world.disk;
        self.descriptors.file((id.0, base), || {
            let path = segment_path(id, base);
            match disk.open(&path, OpenMode::CreateNew) {
                Err(DiskError::AlreadyExists { .. }) => disk.open(&path, OpenMode::ReadWrite),
                Err(DiskError::NotFound { .. }) => {
                    disk.create_dir(&segment_dir(id))?;
                    disk.open(&path, OpenMode::CreateNew)
                }
                other => other,
            }
        })
    }
}

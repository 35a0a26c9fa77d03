//! One data directory: its partitions, its shared log, its workers.
//!
//! Order of locks, outermost first: checkpointer, writer, applying, broken, partitions, a
//! partition's state, meta, staging; queue, descriptors and the small sets are leaves. Listeners
//! and waiters are called under none of a partition's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};

use wire::ids::TopicId;
use world::disk::{DiskLock, DiskResult};
use world::spawn::Priority;
use world::{Signal, Worker, WorkerHandle, World};

use crate::block::{RecordHeader, RecordKind};
use crate::checkpoint::Checkpointer;
use crate::commit::{Applied, LogWriterLoop, WriterCore};
use crate::compact::{CompactLoop, Swap};
use crate::descriptors::Descriptors;
use crate::errors::{AppendError, LogError, OpenError};
use crate::identity::{DirectoryIdentity, write_clean_stop};
use crate::ids::{Lsn, PartitionId, PartitionKey};
use crate::lock;
use crate::meta::Meta;
use crate::metrics::{Metrics, StoreMetrics};
use crate::partition::{Partition, State};
use crate::retain::RetentionLoop;
use crate::scrub::ScrubLoop;
use crate::segment::segment_dir;
use crate::settings::{LogSettings, StoreConfig};
use crate::slot::Making;
use crate::staging::{Group, PartKind, Staging};
use crate::trickle::{TrickleLoop, UnsyncedFiles};
use crate::upkeep::{CheckpointLoop, UpkeepLoop};

/// Told when the durable LSN moved: once per group, on the thread that completed it, which holds
/// the completion's lock: wake somebody, do not call the store. Told once more when the directory
/// died and it will not move again.
pub trait DurableListener: Send + Sync {
    /// Everything up to `lsn` is durable, and readable.
    fn durable(&self, lsn: Lsn);
}

/// How a data directory fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreHealth {
    /// Everything is taken.
    #[default]
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
    /// Partitions whose segments the log named.
    pub replayed_partitions: usize,
    /// Behind the last valid block lay a group that was never acknowledged; it was cut.
    pub torn_tail: bool,
    /// An acknowledged block was lost, and an operator said to go on
    /// ([`StoreConfig::accept_lost_blocks`]).
    pub lost: Option<String>,
    /// Partitions that recovery could not vouch for: they take no appends.
    pub suspect: Vec<PartitionKey>,
}

/// One data directory.
pub struct LogStore {
    pub(crate) shared: Arc<Shared>,
    workers: Mutex<Vec<Box<dyn WorkerHandle>>>,
    identity: DirectoryIdentity,
    directory: Mutex<Option<Box<dyn DiskLock>>>,
}

pub(crate) struct Shared {
    pub world: World,
    pub config: StoreConfig,
    pub metrics: Metrics,
    pub staging: Staging,
    pub descriptors: Descriptors,
    pub partitions: RwLock<BTreeMap<PartitionKey, Arc<Partition>>>,
    pub by_id: RwLock<BTreeMap<PartitionId, Arc<Partition>>>,
    pub next_partition: AtomicU64,
    /// Partitions that are not dormant, about.
    pub in_use: AtomicUsize,
    pub meta: RwLock<Meta>,
    pub checkpointer: Mutex<Checkpointer>,
    pub checkpoint_requested: AtomicBool,
    pub writer: Mutex<WriterCore>,
    /// Sealed groups in LSN order: written, being written, or gathered and not yet durable.
    pub queue: Mutex<VecDeque<Arc<Group>>>,
    pub applying: Mutex<Applied>,
    /// Partitions whose segments must be rebuilt from the log.
    pub broken: Mutex<BTreeMap<PartitionId, Arc<Partition>>>,
    pub unsynced: Mutex<UnsyncedFiles>,
    pub unsynced_dirs: Mutex<BTreeSet<String>>,
    /// The slot that is being made, by whoever has time or needs it.
    pub making: Mutex<Option<Making>>,
    /// Held from the end of a write-back until its failure is known to everybody.
    pub trickling: Mutex<()>,
    /// Files whose trim or deletion is durable.
    pub unlinks: Mutex<Vec<(PartitionId, i64, u32)>>,
    /// Files that compaction put others in place of.
    pub replaced: Mutex<Vec<(PartitionId, i64, u32)>>,
    /// Files of a compaction whose manifest record failed: it may name them all the same.
    pub doubtful: Mutex<Vec<(PartitionId, i64, u32)>>,
    /// What compaction asks the checkpointer to do, and how that ended.
    pub posted: Mutex<Option<Swap>>,
    pub swapped: Mutex<Option<Result<bool, LogError>>>,
    pub flushed: AtomicU64,
    pub durable: AtomicU64,
    pub durable_moved: (Mutex<()>, Condvar),
    pub listeners: RwLock<Vec<Arc<dyn DurableListener>>>,
    pub writer_signal: Signal,
    pub checkpoint_signal: Signal,
    pub upkeep_signal: Signal,
    pub trickle_signal: Signal,
    pub retention_signal: Signal,
    pub scrub_signal: Signal,
    pub compact_signal: Signal,
    closing: AtomicBool,
    pub full: AtomicBool,
    pub free_bytes: AtomicU64,
    /// The marks as of the last look: the filesystem may have grown.
    pub free_bytes_min: AtomicU64,
    pub free_bytes_resume: AtomicU64,
    pub ballast: AtomicBool,
    settings: Mutex<Vec<Arc<LogSettings>>>,
    dead: RwLock<Option<String>>,
    is_dead: AtomicBool,
}

/// What opening has put together.
pub(crate) struct Parts {
    pub world: World,
    pub config: StoreConfig,
    pub meta: Meta,
    pub writer: WriterCore,
    pub ballast: bool,
}

impl Shared {
    pub fn new(parts: Parts) -> Shared {
        let config = parts.config;
        let next = parts.meta.manifest.next_id();
        Shared {
            staging: Staging::new(config.staging_bytes, config.staging_buffers, 1),
            descriptors: Descriptors::new(config.descriptors),
            metrics: Metrics::default(),
            partitions: RwLock::default(),
            by_id: RwLock::default(),
            next_partition: AtomicU64::new(next.0),
            in_use: AtomicUsize::new(0),
            meta: RwLock::new(parts.meta),
            checkpointer: Mutex::default(),
            checkpoint_requested: AtomicBool::new(false),
            writer: Mutex::new(parts.writer),
            queue: Mutex::default(),
            applying: Mutex::default(),
            broken: Mutex::default(),
            unsynced: Mutex::default(),
            unsynced_dirs: Mutex::default(),
            making: Mutex::default(),
            trickling: Mutex::default(),
            unlinks: Mutex::default(),
            replaced: Mutex::default(),
            doubtful: Mutex::default(),
            posted: Mutex::default(),
            swapped: Mutex::default(),
            flushed: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            durable_moved: Default::default(),
            listeners: RwLock::default(),
            writer_signal: Signal::new(),
            checkpoint_signal: Signal::new(),
            upkeep_signal: Signal::new(),
            trickle_signal: Signal::new(),
            retention_signal: Signal::new(),
            scrub_signal: Signal::new(),
            compact_signal: Signal::new(),
            closing: AtomicBool::new(false),
            full: AtomicBool::new(false),
            free_bytes: AtomicU64::new(u64::MAX),
            free_bytes_min: AtomicU64::new(0),
            free_bytes_resume: AtomicU64::new(0),
            ballast: AtomicBool::new(parts.ballast),
            settings: Mutex::default(),
            dead: RwLock::default(),
            is_dead: AtomicBool::new(false),
            world: parts.world,
            config,
        }
    }

    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Why the directory is dead.
    pub fn death(&self) -> String {
        crate::read_lock(&self.dead).clone().unwrap_or_default()
    }

    pub fn die(&self, reason: String) {
        tracing::error!(%reason, "data directory dead: nothing is acknowledged from here on");
        crate::write_lock(&self.dead).get_or_insert(reason);
        self.is_dead.store(true, Ordering::Release);
        self.durable_moved.1.notify_all();
        // Whoever waits for the durable LSN learns that it will not move.
        let durable = self.durable.load(Ordering::Acquire);
        for listener in &*crate::read_lock(&self.listeners) {
            listener.durable(Lsn(durable));
        }
    }

    /// Whether an append may be tried at all.
    pub fn admit(&self, client: bool) -> Result<(), AppendError> {
        if self.is_dead() || self.is_closing() {
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

    /// The log's slots changed.
    pub fn note_slots(&self, core: &WriterCore) {
        self.metrics
            .note_slots(core.slots.count(), core.slots.free());
    }

    /// Something was staged.
    pub fn wake_writer(&self) {
        self.writer_signal.raise();
    }

    /// Equal settings are one allocation, for the sake of many partitions.
    pub fn share_settings(&self, settings: LogSettings) -> Arc<LogSettings> {
        const REMEMBERED: usize = 64;
        let mut known = lock(&self.settings);
        if let Some(same) = known.iter().find(|known| ***known == settings) {
            return Arc::clone(same);
        }
        let fresh = Arc::new(settings);
        known.truncate(REMEMBERED - 1);
        known.insert(0, Arc::clone(&fresh));
        fresh
    }

    /// A name changed in the directory of a partition's segments.
    pub fn note_dir(&self, id: PartitionId) {
        lock(&self.unsynced_dirs).insert(segment_dir(id));
    }

    /// A shard directory was made.
    pub fn note_dir_of_shards(&self) {
        lock(&self.unsynced_dirs).insert("seg".to_owned());
    }

    /// A partition's tail state as the last checkpoint wrote it.
    pub fn read_tail(&self, id: PartitionId) -> DiskResult<Option<(Vec<u8>, u32)>> {
        crate::read_lock(&self.meta).tail(id)
    }
}

impl LogStore {
    /// Opens a data directory, creating it if it is new; recovers what the last run left.
    ///
    /// # Errors
    /// Foreign, newer, half-made and damaged directories are refused and left as they are.
    pub fn open(
        world: &World,
        config: StoreConfig,
    ) -> Result<(Arc<LogStore>, RecoveryReport), OpenError> {
        let opened = crate::open::open(world, config)?;
        let shared = opened.shared;
        let start = |name, priority, signal: &Signal, worker: Box<dyn Worker>| {
            shared
                .world
                .spawn
                .worker(name, priority, signal.clone(), worker)
        };
        let s = || Arc::clone(&shared);
        let (normal, idle) = (Priority::Normal, Priority::Idle);
        let upkeep = UpkeepLoop {
            shared: s(),
            last_groups: 0,
            next_look: None,
        };
        let workers = vec![
            start(
                "log-writer",
                Priority::Urgent,
                &shared.writer_signal,
                Box::new(LogWriterLoop(s())),
            ),
            start(
                "write-back",
                normal,
                &shared.trickle_signal,
                Box::new(TrickleLoop(s())),
            ),
            start(
                "checkpoint",
                normal,
                &shared.checkpoint_signal,
                Box::new(CheckpointLoop(s())),
            ),
            start("upkeep", normal, &shared.upkeep_signal, Box::new(upkeep)),
            start(
                "retention",
                idle,
                &shared.retention_signal,
                Box::new(RetentionLoop::new(s())),
            ),
            start(
                "scrub",
                idle,
                &shared.scrub_signal,
                Box::new(ScrubLoop::new(s())),
            ),
            start(
                "compact",
                idle,
                &shared.compact_signal,
                Box::new(CompactLoop::new(s())),
            ),
        ];
        let store = LogStore {
            workers: Mutex::new(workers),
            identity: opened.identity,
            directory: Mutex::new(Some(opened.lock)),
            shared,
        };
        Ok((Arc::new(store), opened.report))
    }

    /// The directory's own id, made with it (replication.md R16).
    pub fn directory_id(&self) -> TopicId {
        self.identity.directory_id
    }

    /// Creates a partition. It may be used at once; it is sure to exist after a crash when the
    /// first append to it is durable.
    pub fn create_partition(
        &self,
        key: PartitionKey,
        settings: LogSettings,
    ) -> Result<Arc<Partition>, LogError> {
        let shared = &self.shared;
        if shared.is_dead() || shared.is_closing() {
            return Err(LogError::Closed);
        }
        let mut partitions = crate::write_lock(&shared.partitions);
        if partitions.contains_key(&key) {
            return Err(LogError::Exists);
        }
        let id = PartitionId(shared.next_partition.fetch_add(1, Ordering::Relaxed));
        let state = State::new(shared.share_settings(settings), 0);
        let partition = Partition::new(key, id, Arc::clone(shared), state);
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
            .log_control(&partition, &header, &body, |_| {}, PartKind::Nothing)?;
        partitions.insert(key, Arc::clone(&partition));
        drop(partitions);
        crate::write_lock(&shared.by_id).insert(id, Arc::clone(&partition));
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

    /// Deletes a partition: it takes no more appends and serves no more reads at once; its files go
    /// when the returned LSN is durable. The key may be used again at once.
    pub fn delete_partition(&self, key: &PartitionKey) -> Result<Lsn, LogError> {
        let mut partitions = crate::write_lock(&self.shared.partitions);
        let partition = partitions.get(key).ok_or(LogError::Closed)?;
        let lsn = partition.delete()?;
        let id = partition.id();
        partitions.remove(key);
        drop(partitions);
        crate::write_lock(&self.shared.by_id).remove(&id);
        Ok(lsn)
    }

    /// Everything up to this LSN is durable and readable.
    pub fn durable_lsn(&self) -> Lsn {
        Lsn(self.shared.durable.load(Ordering::Acquire))
    }

    /// The LSN of the newest append: what to wait for to have everything durable.
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.shared.staging.lock().last_lsn())
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

    /// Moves everything appended so far from the log into segments and manifest. Happens by itself;
    /// for tests and tools.
    pub fn checkpoint(&self) -> Result<(), LogError> {
        self.shared.checkpoint()
    }

    /// Writes a new snapshot of the manifest. Happens by itself; for tests and tools.
    pub fn fold_manifest(&self) -> Result<(), OpenError> {
        let _alone = lock(&self.shared.checkpointer);
        Meta::fold(&self.shared.meta)
    }

    /// One round of retention over all partitions, as of `now_ms`. Happens by itself; for tests and
    /// tools.
    pub fn retain(&self, now_ms: i64) {
        self.shared.retain_all(now_ms);
    }

    /// Compacts every partition that wants it, as of `now_ms`. Happens by itself, slowly; for tests
    /// and tools.
    pub fn compact(&self, now_ms: i64) {
        self.shared.compact_all(now_ms);
    }

    /// Reads all sealed segments against their checksums; how many ranges are damaged. Happens by
    /// itself, slowly; for tests and tools.
    pub fn scrub(&self) -> u64 {
        self.shared.scrub_all()
    }

    /// How the directory fares.
    pub fn health(&self) -> StoreHealth {
        if self.shared.is_dead() {
            return StoreHealth::Dead(self.shared.death());
        }
        if self.shared.full.load(Ordering::Relaxed) {
            StoreHealth::Full
        } else {
            StoreHealth::Ok
        }
    }

    /// The counters, as of now.
    pub fn metrics(&self) -> StoreMetrics {
        let shared = &self.shared;
        StoreMetrics {
            descriptors: shared.descriptors.open() as u64,
            free_bytes: shared.free_bytes.load(Ordering::Relaxed),
            free_bytes_min: shared.free_bytes_min.load(Ordering::Relaxed),
            free_bytes_resume: shared.free_bytes_resume.load(Ordering::Relaxed),
            partitions: crate::read_lock(&shared.partitions).len() as u64,
            partitions_in_use: shared.in_use.load(Ordering::Relaxed) as u64,
            ..shared.metrics.snapshot()
        }
    }

    /// Writes everything out, notes the clean stop, stops the workers. Appends fail from here on.
    pub fn close(&self) -> Result<(), LogError> {
        let shared = &self.shared;
        if shared.closing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let done = self.shut();
        self.stop();
        done
    }

    fn stop(&self) {
        let shared = &self.shared;
        for signal in [
            &shared.writer_signal,
            &shared.checkpoint_signal,
            &shared.upkeep_signal,
            &shared.trickle_signal,
            &shared.retention_signal,
            &shared.scrub_signal,
            &shared.compact_signal,
        ] {
            signal.raise();
        }
        for worker in lock(&self.workers).drain(..) {
            worker.join();
        }
        // Partitions and store hold each other.
        crate::write_lock(&shared.partitions).clear();
        crate::write_lock(&shared.by_id).clear();
        drop(lock(&self.directory).take());
    }

    /// Stops the workers without writing anything out, as a crash of the process would: what is
    /// durable is in the log. For tests.
    pub fn abandon(&self) {
        let shared = &self.shared;
        if shared.closing.swap(true, Ordering::AcqRel) {
            return;
        }
        self.stop();
    }

    fn shut(&self) -> Result<(), LogError> {
        let shared = &self.shared;
        shared.wait_durable(self.last_lsn().0)?;
        shared.checkpoint()?;
        // Only an unclean start looks for leftovers.
        shared.unlink_due();
        let core = lock(&shared.writer);
        let empty = shared.staging.is_empty();
        let replay_from = crate::read_lock(&shared.meta).manifest.replay_from.0;
        if empty && replay_from == core.last_lsn + 1 {
            write_clean_stop(&*shared.world.disk, core.last_lsn, core.previous_crc)?;
        }
        Ok(())
    }
}

//! Opening a data directory: lock, identity, manifest, and the log's tail put back into segments.
//!
//! There is no format step: a new directory is made, one that is half-made is finished, and one
//! that belongs to somebody else, or has lost its identity, is refused and left as it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wire::ids::TopicId;
use world::disk::{DiskError, DiskLock};
use world::{AlignedBuf, Disk, File, OpenMode, World};

use crate::block::{BLOCK_ALIGN, BLOCK_HEADER_BYTES, BlockHeader, Record, RecordKind, Records};
use crate::commit::WriterCore;
use crate::errors::{OpenError, ReadError};
use crate::identity::{
    DirectoryIdentity, IdentityError, LOCK, create_identity, read_identity, take_clean_stop,
};
use crate::ids::{PartitionId, PartitionKey};
use crate::lock;
use crate::meta::{META_DIR, Meta};
use crate::partition::{Partition, State};
use crate::recover::{LogEnd, SlotFile, walk_log};
use crate::segment::{segment_of, segment_path};
use crate::settings::{LogSettings, StoreConfig};
use crate::slot::{
    SLOT_DIR, Slots, create_first_slot, create_slot, slot_number, slot_path, unfinished_number,
    unfinished_path,
};
use crate::staging::{Effect, Group};
use crate::store::{Parts, RecoveryReport, Shared};
use crate::upkeep::BALLAST;
use crate::writer::BlockingWriter;

/// A store without its workers.
pub(crate) struct Opened {
    pub shared: Arc<Shared>,
    pub identity: DirectoryIdentity,
    pub lock: Box<dyn DiskLock>,
    pub report: RecoveryReport,
}

pub(crate) fn open(world: &World, config: StoreConfig) -> Result<Opened, OpenError> {
    check_config(&config)?;
    let disk = &world.disk;
    let lock = disk.lock(LOCK).map_err(|error| match error {
        DiskError::Locked { .. } => OpenError::InUse { root: disk.root() },
        error => error.into(),
    })?;
    let known = check_identity(&**disk, &config)?;
    for dir in [SLOT_DIR, META_DIR, "seg"] {
        disk.create_dir(dir)?;
    }
    disk.sync_dir("")?;
    let created = known.is_none();
    let mut meta = match Meta::load(disk)? {
        Some(meta) => meta,
        None if created => Meta::create(disk)?,
        None => {
            return Err(foreign(
                &**disk,
                "its manifest is gone; restore it from a backup or replica",
            ));
        }
    };
    let clean = take_clean_stop(&**disk)?;
    let replay_from = meta.manifest.replay_from.0;
    let clean = clean.filter(|(lsn, _)| lsn + 1 == replay_from);
    let needed = !created && clean.is_none();
    if needed {
        // The process before may have died of a sync that failed: the page cache shows deltas that
        // the disk need not have.
        meta.write_anew();
    }
    let slots = open_slots(&**disk, &config, needed)?;

    let core = WriterCore::new(
        Slots::new(config.slot_bytes, Arc::clone(&world.random)),
        Box::new(BlockingWriter::new(Arc::clone(&world.clock))),
        0,
        0,
    );
    let ballast = disk.open(BALLAST, OpenMode::Read).is_ok();
    let parts = Parts {
        world: world.clone(),
        config,
        meta,
        writer: core,
        ballast,
    };
    let shared = Arc::new(Shared::new(parts));
    let mut recovery = Recovery::new(&shared);
    recovery.add_partitions();
    let end = match clean {
        Some((lsn, crc)) => LogEnd {
            last_lsn: lsn,
            last_crc: Some(crc),
            ..LogEnd::default()
        },
        None => recovery.replay(&slots, replay_from)?,
    };
    let mut report = recovery.finish(clean.is_some())?;
    report.created = created;
    report.clean = clean.is_some();
    report.torn_tail = end.torn;
    report.blocks = end.blocks;
    report.lost = end
        .lost
        .as_ref()
        .map(|(lsn, found)| format!("block {lsn}: {found}"));
    // A block whose write failed may be read back all the same, from a cache of the machine or of the
    // disk: before anything follows it, it is made sure.
    for slot in &slots {
        if end.slots.iter().any(|(number, _)| *number == slot.number) {
            slot.file.sync_data()?;
        }
    }
    resume(&shared, slots, &end);
    let identity = match known {
        Some(identity) => identity,
        None => create_identity(&**disk, &*world.random, shared.config.identity.as_ref())?,
    };
    shared.look_at_space();
    // Where writes are not direct, what was read back may be in the page cache alone: nothing is
    // told to be durable before it is in segments and manifest (storage.md section 6).
    let direct = end.blocks == 0 || disk.probe()?.direct;
    // A crash may have come when the log was full to its last slot. Nothing is staged yet: now a
    // checkpoint needs no room in it.
    let full = !crate::lock(&shared.writer).slots.can_drain();
    if !direct || end.lost.is_some() || (full && end.blocks > 0) {
        shared.checkpoint().map_err(|error| {
            OpenError::Config(format!(
                "the recovered log could not be written out: {error}"
            ))
        })?;
    } else if end.blocks > 0 {
        shared.request_checkpoint();
    }
    Ok(Opened {
        shared,
        identity,
        lock,
        report,
    })
}

fn check_config(config: &StoreConfig) -> Result<(), OpenError> {
    let staged = (config.staging_bytes as u64 + 8192) * config.staging_buffers as u64;
    let wrong = if config.slots < 4 {
        "the log needs at least 4 slots"
    } else if config.staging_buffers < 2 {
        "at least 2 staging buffers are needed"
    } else if !config.slot_bytes.is_multiple_of(4096) {
        "a slot is a multiple of 4096 bytes"
    } else if staged + config.slot_bytes / 2 > config.slot_bytes {
        "the staging buffers together must fit into half a slot"
    } else {
        return Ok(());
    };
    Err(OpenError::Config(wrong.to_owned()))
}

fn foreign(disk: &dyn Disk, reason: &str) -> OpenError {
    OpenError::Foreign {
        root: disk.root(),
        reason: reason.to_owned(),
    }
}

/// The directory's identity, if it may be used; `None` if it is new or half-made.
fn check_identity(
    disk: &dyn Disk,
    config: &StoreConfig,
) -> Result<Option<DirectoryIdentity>, OpenError> {
    let known = match read_identity(disk) {
        Ok(known) => known,
        Err(IdentityError::Disk(error)) => return Err(error.into()),
        Err(IdentityError::Damaged(what)) => {
            return Err(foreign(
                disk,
                &format!("the identity file is damaged ({what})"),
            ));
        }
        Err(IdentityError::Newer(version)) => {
            let reason = format!("made by a later release (identity format {version})");
            return Err(foreign(disk, &reason));
        }
    };
    let Some(known) = known else {
        // The identity is written last: segments without it are somebody's who lost it.
        let used = match disk.list("seg") {
            Ok(entries) => !entries.is_empty(),
            Err(DiskError::NotFound { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if used {
            let reason = "it holds data and its identity file is gone; restore the file or use \
                          another directory";
            return Err(foreign(disk, reason));
        }
        return Ok(None);
    };
    let mine = config.identity.as_ref();
    if let Some(mine) = mine.filter(|mine| **mine != known.owner) {
        let reason = format!(
            "it belongs to broker {} of cluster {:?}, this is broker {} of cluster {:?}",
            known.owner.broker_id, known.owner.cluster_id, mine.broker_id, mine.cluster_id
        );
        return Err(foreign(disk, &reason));
    }
    Ok(Some(known))
}

/// Opens the slots that exist, making the first one if there is none.
///
/// `needed`: the log has to be read back from them. Then a slot is as it was made or the start is
/// refused: a name stands for a whole file from its first day on, so a first slot that is gone, or
/// one that was emptied, has cost acknowledged records. One in use whose size is not the configured
/// one was cut or the configuration was changed, and nothing here can tell which. One that never
/// held a block (a change of the configuration again) is made anew.
fn open_slots(
    disk: &dyn Disk,
    config: &StoreConfig,
    needed: bool,
) -> Result<Vec<SlotFile>, OpenError> {
    let mut slots = Vec::new();
    for entry in disk.list(SLOT_DIR)? {
        if let Some(number) = unfinished_number(&entry.name) {
            disk.unlink(&unfinished_path(number))?;
        }
        let Some(number) = slot_number(&entry.name) else {
            continue;
        };
        let path = slot_path(number);
        let mut file = disk.open(&path, OpenMode::Durable)?;
        let bytes = file.len()?;
        if bytes != config.slot_bytes {
            if needed && bytes < BLOCK_ALIGN as u64 {
                return Err(foreign(disk, &lost_slot(&path, "was emptied")));
            }
            if needed && !is_blank(&*file)? {
                return Err(OpenError::Config(format!(
                    "{path} is in use and has {bytes} bytes, wal.slot.bytes says {}",
                    config.slot_bytes
                )));
            }
            file = create_slot(disk, number, config.slot_bytes)?;
        }
        slots.push(SlotFile { number, file });
    }
    if slots.first().is_none_or(|first| first.number != 0) {
        if needed {
            return Err(foreign(disk, &lost_slot(&slot_path(0), "is gone")));
        }
        let file = create_first_slot(disk, config.slot_bytes)?;
        slots.insert(0, SlotFile { number: 0, file });
    }
    Ok(slots)
}

fn lost_slot(path: &str, how: &str) -> String {
    format!("{path} {how}; restore it from a backup or the directory from a replica")
}

/// Whether a slot never held a block: it begins with zeros, as it was made.
fn is_blank(file: &dyn File) -> Result<bool, OpenError> {
    let mut head = AlignedBuf::zeroed(BLOCK_ALIGN);
    let read = file.read_at(&mut head, 0)?;
    Ok(head[..read].iter().all(|byte| *byte == 0))
}

/// Goes on behind the recovered log: in a fresh slot, with the next LSN.
fn resume(shared: &Shared, slots: Vec<SlotFile>, end: &LogEnd) {
    let mut core = lock(&shared.writer);
    for slot in slots {
        let last = end.slots.iter().find(|(number, _)| *number == slot.number);
        core.slots
            .add(slot.number, slot.file, last.map(|(_, lsn)| *lsn));
    }
    shared.note_slots(&core);
    core.last_lsn = end.last_lsn;
    core.previous_crc = end.last_crc.unwrap_or(0);
    drop(core);
    shared.staging.lock().resume_at(end.last_lsn + 1);
    shared.flushed.store(end.last_lsn, Ordering::Release);
    shared.durable.store(end.last_lsn, Ordering::Release);
    lock(&shared.applying).lsn = end.last_lsn;
}

/// A partition whose segments the log has named.
struct Named {
    /// Whether it can still be vouched for.
    vouched: bool,
    /// The active segment as of the checkpoint: its base and bytes.
    base: i64,
    bytes: u64,
    /// The length its file had before anything was replayed onto it.
    length: u64,
}

/// A replay under way.
struct Recovery<'a> {
    shared: &'a Arc<Shared>,
    settings: Arc<LogSettings>,
    partitions: BTreeMap<PartitionId, Arc<Partition>>,
    /// Partitions whose segments the log has named.
    named: BTreeMap<PartitionId, Named>,
    /// Partitions that the log deletes.
    gone: Vec<Arc<Partition>>,
    report: RecoveryReport,
}

impl<'a> Recovery<'a> {
    fn new(shared: &'a Arc<Shared>) -> Recovery<'a> {
        Recovery {
            shared,
            settings: shared.share_settings(LogSettings::default()),
            partitions: BTreeMap::new(),
            named: BTreeMap::new(),
            gone: Vec::new(),
            report: RecoveryReport::default(),
        }
    }

    /// All partitions of the manifest, dormant.
    fn add_partitions(&mut self) {
        let meta = crate::read_lock(&self.shared.meta);
        for entry in meta.manifest.iter() {
            let state = State::from_manifest(entry, Arc::clone(&self.settings));
            let record = &entry.record;
            let partition = Partition::new(record.key, record.id, Arc::clone(self.shared), state);
            self.partitions.insert(record.id, partition);
        }
    }

    fn replay(&mut self, slots: &[SlotFile], from: u64) -> Result<LogEnd, OpenError> {
        let slot_bytes = self.shared.config.slot_bytes;
        let mut group = Group::from_block(0, &[0; BLOCK_HEADER_BYTES], 0, 0);
        let end = walk_log(slots, slot_bytes, from, u64::MAX, |header, block| {
            self.block(&mut group, header, block)
        })?;
        match &end.lost {
            Some((lsn, found)) if !self.shared.config.accept_lost_blocks => {
                Err(OpenError::AcknowledgedBlockLost {
                    lsn: *lsn,
                    found: found.clone(),
                })
            }
            _ => Ok(end),
        }
    }

    fn block(
        &mut self,
        group: &mut Group,
        header: &BlockHeader,
        block: &[u8],
    ) -> Result<(), OpenError> {
        let length = header.length as usize;
        group.reload(header.lsn, block, length, header.records);
        let mut entries: BTreeMap<PartitionId, u32> = BTreeMap::new();
        let mut at = BLOCK_HEADER_BYTES;
        for record in Records::new(&block[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + length]) {
            let record = record.map_err(|bad| OpenError::AcknowledgedBlockLost {
                lsn: header.lsn,
                found: format!(
                    "a record at byte {} that this release does not know",
                    bad.at
                ),
            })?;
            at += crate::block::RECORD_HEADER_BYTES;
            if record.header.kind == RecordKind::Truncate {
                // What lies below the cut is read back: it must be in the file.
                self.gather(group);
                group.clear_parts();
                entries.clear();
            }
            if let Some((partition, effect)) = self.record(&record, header.lsn)? {
                let known = entries.get(&partition.id()).copied();
                let body = record.body.len();
                let entry = group.add_part(&partition, known, at, body, effect);
                entries.insert(partition.id(), entry);
                self.report.batches += u64::from(record.header.kind == RecordKind::Batch);
            }
            at += record.body.len();
        }
        self.gather(group);
        group.clear_parts();
        Ok(())
    }

    fn gather(&self, group: &Group) {
        for entry in &group.entries {
            self.shared.gather_entry(group, entry);
        }
    }

    /// Applies one record; what is to be gathered for it.
    fn record(
        &mut self,
        record: &Record<'_>,
        lsn: u64,
    ) -> Result<Option<(Arc<Partition>, Effect)>, OpenError> {
        let id = PartitionId(record.header.partition);
        if record.header.kind == RecordKind::Create {
            self.create(id, record);
        }
        let Some(partition) = self.partitions.get(&id).cloned() else {
            // Deleted before the checkpoint, or earlier in the log.
            return Ok(None);
        };
        // A partition that is only created or deleted keeps its files shut.
        match self.named.get(&id) {
            Some(named) if named.vouched => {}
            // Whatever became of it, it was deleted.
            Some(_) if record.header.kind == RecordKind::Delete => {}
            Some(_) => return Ok(None),
            None if record.header.kind.needs_segments() => {
                self.named.insert(id, self.name(&partition)?);
            }
            None => {}
        }
        let mut state = partition.state();
        if !state.dirty {
            state.enter(&partition, &mut self.shared.staging.lock());
        }
        let replayed = state.replay(&partition, record, lsn);
        let gone = state.gone;
        drop(state);
        if gone {
            self.gone.push(Arc::clone(&partition));
            self.partitions.remove(&id);
        }
        match replayed {
            Ok(effect) => Ok(Some((partition, effect))),
            Err(ReadError::Disk(error)) => Err(error.into()),
            Err(error) => {
                tracing::error!(partition = %partition.key(), %error, "recovery cannot vouch for this partition: it takes no appends");
                partition.state().suspect = true;
                if let Some(named) = self.named.get_mut(&id) {
                    named.vouched = false;
                }
                Ok(None)
            }
        }
    }

    fn create(&mut self, id: PartitionId, record: &Record<'_>) {
        let next = &self.shared.next_partition;
        next.fetch_max(id.0.saturating_add(1), Ordering::Relaxed);
        let (Some(topic), Some(number)) = (
            record.body.first_chunk::<16>(),
            record.body.get(16..).and_then(<[u8]>::first_chunk),
        ) else {
            return;
        };
        let key = PartitionKey {
            topic: TopicId(*topic),
            partition: i32::from_le_bytes(*number),
        };
        if self.partitions.contains_key(&id) {
            return;
        }
        let state = State::new(Arc::clone(&self.settings), record.header.base_offset);
        self.partitions
            .insert(id, Partition::new(key, id, Arc::clone(self.shared), state));
    }

    /// Opens the active segment, onto which the log is replayed. What lies behind the checkpoint's
    /// end is written over, or cut when the replay has ended: most files are as long as they will
    /// be, and cutting each to let it grow again would take as long as all the rest.
    fn name(&self, partition: &Arc<Partition>) -> Result<Named, OpenError> {
        let (base, revision, bytes) = {
            let state = partition.state();
            (state.active.base, state.active.revision, state.end.position)
        };
        let path = segment_path(partition.id(), base, revision);
        let length = match self.shared.world.disk.open(&path, OpenMode::ReadWrite) {
            Ok(file) => {
                // It may be there only because the machine lived when the process died: no
                // checkpoint need have made its name durable.
                self.shared.note_dir(partition.id());
                self.shared.note_dir_of_shards();
                let length = file.len()?;
                self.shared
                    .descriptors
                    .insert((partition.id().0, base), revision, file);
                length
            }
            Err(DiskError::NotFound { .. }) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(Named {
            vouched: true,
            base,
            bytes,
            length,
        })
    }

    /// Removes files that no partition knows: a crash came between a checkpoint and their removal.
    fn sweep(&self) -> Result<(), OpenError> {
        let disk = &self.shared.world.disk;
        let gone: BTreeMap<PartitionId, &Arc<Partition>> =
            self.gone.iter().map(|gone| (gone.id(), gone)).collect();
        for dir in disk.list("seg")?.into_iter().filter(|entry| entry.is_dir) {
            for file in disk.list(&format!("seg/{}", dir.name))? {
                let path = format!("seg/{}/{}", dir.name, file.name);
                let known = segment_of(&file.name).is_some_and(|(id, base, revision)| {
                    let owner = self.partitions.get(&id).or(gone.get(&id).copied());
                    path == segment_path(id, base, revision)
                        && owner.is_some_and(|owner| owner.state().has_file(base, revision))
                });
                if file.name.ends_with(".seg") && !known {
                    disk.unlink(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Everything replayed is on the disk and in the page cache: marks and maps.
    fn finish(mut self, clean: bool) -> Result<RecoveryReport, OpenError> {
        self.report.partitions = self.partitions.len();
        self.report.replayed_partitions = self.named.len();
        for (id, named) in &self.named {
            let Some(partition) = self.partitions.get(id) else {
                continue;
            };
            let mut state = partition.state();
            state.last_lsn = 0;
            if !state.broken {
                let end = state.end;
                state.gathered = end;
                state.completed = end;
                state.high_watermark = end.offset;
            }
            let (base, revision, bytes) =
                (state.active.base, state.active.revision, state.end.position);
            drop(state);
            // Of one that nobody can vouch for, the files stay as they are for whoever looks into it.
            if !named.vouched || partition.state().broken {
                continue;
            }
            let longer = named.base == base && named.length > bytes;
            // Shorter than the checkpoint saw it is possible: the log may hold a truncation that
            // had reached the file. Else what was gathered since made it long enough.
            let short = named.length < named.bytes && bytes > 0;
            if !longer && !short {
                continue;
            }
            // The file size is never the log's end, but it must hold all of it.
            let file = self.shared.open_segment(*id, base, revision)?;
            let length = file.len()?;
            if length > bytes {
                file.truncate(bytes)?;
            } else if length < bytes {
                tracing::error!(partition = %partition.key(), "the active segment is shorter than the log says");
                partition.state().suspect = true;
            }
        }
        if !clean {
            self.sweep()?;
        }
        let partitions: Vec<_> = self.partitions.values().cloned().collect();
        for partition in &partitions {
            if partition.state().suspect {
                self.report.suspect.push(partition.key());
            }
        }
        let mut by_key = crate::write_lock(&self.shared.partitions);
        *by_key = partitions
            .iter()
            .map(|partition| (partition.key(), partition.clone()))
            .collect();
        drop(by_key);
        *crate::write_lock(&self.shared.by_id) = self.partitions;
        Ok(self.report)
    }
}

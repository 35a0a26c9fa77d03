//! Checkpoints: what the log holds becomes durable in segments and manifest, and its slots are
//! free again.
//!
//! A checkpoint is of one LSN, exactly: it ends a period, waits until that period's groups are
//! complete, and takes each changed partition as it was at the period's end ([`State::enter`] keeps
//! that aside where appends went on). It never waits for room in the log beyond what was staged
//! already, for which a slot is kept.
//!
//! When a segment's sync fails, the kernel may have dropped the pages and marked them clean. The
//! file is not trusted past the last checkpoint: it is written anew from the log (storage.md 8).
//!
//! [`State::enter`]: crate::partition::State::enter

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use stdx::Writer;
use wire::ids::Offset;
use world::disk::{DiskError, DiskResult};
use world::{File, Instant, OpenMode};

use crate::block::{BLOCK_HEADER_BYTES, RecordKind, Records};
use crate::commit::WriterCore;
use crate::errors::{LogError, OpenError, ReadError};
use crate::ids::{Lsn, PartitionId};
use crate::lock;
use crate::manifest::{Change, PartitionEntry, TailChange};
use crate::meta::Meta;
use crate::partition::{Capture, Mark, Partition, State, wake};
use crate::recover::walk_log;
use crate::segment::segment_path;
use crate::store::Shared;
use crate::trickle::UnsyncedFiles;
use crate::truncate::as_log_error;

/// Bytes copied at once when a segment is rebuilt.
const COPY_BYTES: usize = 256 << 10;

/// One checkpoint at a time.
#[derive(Default)]
pub(crate) struct Checkpointer {
    last: Instant,
}

impl Shared {
    /// Makes everything appended so far durable in segments and manifest.
    pub fn checkpoint(&self) -> Result<(), LogError> {
        self.checkpoint_with(&mut lock(&self.checkpointer))
    }

    /// Asks for a checkpoint now.
    pub fn request_checkpoint(&self) {
        self.checkpoint_requested.store(true, Ordering::Release);
        self.checkpoint_signal.raise();
    }

    /// Asks for a checkpoint at the next look.
    pub fn request_checkpoint_later(&self) {
        self.checkpoint_requested.store(true, Ordering::Release);
    }

    /// Whether a checkpoint was asked for, or it is time.
    pub fn checkpoint_due(&self) -> bool {
        let last = lock(&self.checkpointer).last;
        self.checkpoint_requested.load(Ordering::Acquire)
            || self.world.clock.now().since(last) >= self.config.checkpoint_interval
    }

    pub fn checkpoint_with(&self, checkpointer: &mut Checkpointer) -> Result<(), LogError> {
        if self.is_dead() {
            // It may have died because what a manifest would name is not on the disk.
            return Err(LogError::Dead(self.death()));
        }
        self.checkpoint_requested.store(false, Ordering::Release);
        checkpointer.last = self.world.clock.now();
        let (boundary, dirty) = self.staging.lock().end_period();
        let known = crate::read_lock(&self.meta).manifest.replay_from.0;
        if dirty.is_empty() && boundary < known && lock(&self.broken).is_empty() {
            self.free_slots(boundary);
            return Ok(());
        }
        let done = self.checkpoint_at(boundary, &dirty);
        match &done {
            Ok(()) => self.metrics.checkpoints.add(1),
            Err(_) => {
                self.metrics.checkpoint_failures.add(1);
                for partition in &dirty {
                    let mut state = partition.state();
                    state.keep_dirty(partition, &mut self.staging.lock());
                }
            }
        }
        done
    }

    fn checkpoint_at(&self, boundary: u64, dirty: &[Arc<Partition>]) -> Result<(), LogError> {
        self.wait_durable(boundary)?;
        self.repair_broken()?;
        self.sync_segments()?;
        let captures: Vec<(PartitionId, Option<Capture>)> = dirty
            .iter()
            .map(|partition| (partition.id(), partition.state().fetch_capture(partition)))
            .collect();
        let mut obsolete = self.write_manifest(boundary, captures)?;
        self.settle_doubtful();
        for partition in dirty {
            let trimmed = partition.state().take_trimmed(boundary);
            let id = partition.id();
            obsolete.extend(
                trimmed
                    .into_iter()
                    .map(|(base, revision)| (id, base, revision)),
            );
            let meta = crate::read_lock(&self.meta);
            let names = meta
                .manifest
                .partition(partition.id())
                .map(|entry| entry.segments.clone());
            drop(meta);
            partition.state().drop_footers(&names.unwrap_or_default());
        }
        if !obsolete.is_empty() {
            lock(&self.unlinks).extend(obsolete);
            self.upkeep_signal.raise();
        }
        self.free_slots(boundary);
        Ok(())
    }

    /// Syncs every segment written since the last time, rebuilding those whose sync failed.
    fn sync_segments(&self) -> Result<(), LogError> {
        let files = std::mem::take(&mut *lock(&self.unsynced));
        if let Err(error) = self.sync_files(&files) {
            tracing::error!(%error, "segment sync failed: rebuilding from the log");
            // Which file it was is not known for certain: none is trusted.
            self.distrust(files.keys().map(|(id, _)| *id));
        }
        // The trickle may have been told of a failure that the sync was then not told of.
        drop(lock(&self.trickling));
        self.repair_broken()?;
        let dirs = std::mem::take(&mut *lock(&self.unsynced_dirs));
        for dir in &dirs {
            match self.world.disk.sync_dir(dir) {
                // A partition that was deleted before its first byte never had one.
                Ok(()) | Err(DiskError::NotFound { .. }) => {}
                Err(error) => {
                    // A second sync could say yes without the names. The log still holds
                    // everything, and another process reads from the disk which are there.
                    let reason = format!("the names in {dir} could not be made durable: {error}");
                    self.die(reason.clone());
                    return Err(LogError::Dead(reason));
                }
            }
        }
        Ok(())
    }

    /// A sync failed: what these partitions' files got since the last checkpoint is lost until it is
    /// written anew from the log.
    pub fn distrust(&self, ids: impl Iterator<Item = PartitionId>) {
        self.metrics.segment_failures.add(1);
        let by_id = crate::read_lock(&self.by_id);
        let mut broken = lock(&self.broken);
        for id in ids {
            let Some(partition) = by_id.get(&id) else {
                continue;
            };
            let known = crate::read_lock(&self.meta).manifest.partition(id).cloned();
            let mut state = partition.state();
            state.broken = true;
            // Nor read: the cache may show what the disk has, or nothing.
            let whole = untouched(known.as_ref(), &state);
            state.gathered = state.gathered.min(whole);
            drop(state);
            broken.insert(id, Arc::clone(partition));
        }
    }

    fn sync_files(&self, files: &UnsyncedFiles) -> DiskResult<()> {
        if files.len() > self.config.sync_each_max {
            return self.world.disk.sync_fs();
        }
        for (id, base) in files.keys() {
            let revision = match crate::read_lock(&self.by_id).get(id) {
                Some(partition) => partition.state().revision_of(*base),
                None => continue,
            };
            match self.open_segment(*id, *base, revision) {
                Ok(file) => file.sync_data()?,
                // Cut away or trimmed meanwhile.
                Err(DiskError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Appends what changed to the manifest; the files it does not name any more because another
    /// one took their place.
    fn write_manifest(
        &self,
        boundary: u64,
        captures: Vec<(PartitionId, Option<Capture>)>,
    ) -> Result<Vec<(PartitionId, i64, u32)>, LogError> {
        let mut changes = Vec::new();
        let mut tails = Writer::new();
        let mut obsolete = Vec::new();
        let meta = crate::read_lock(&self.meta);
        // A deleted partition goes before another one takes its key.
        for (id, _) in captures.iter().filter(|(_, capture)| capture.is_none()) {
            if meta.manifest.partition(*id).is_some() {
                changes.push(Change::RemovePartition(*id));
            }
        }
        for (id, capture) in captures {
            let Some(capture) = capture else {
                continue;
            };
            let known = meta.manifest.partition(id);
            changes_of(known, capture, &mut changes, &mut tails, &mut obsolete);
        }
        drop(meta);
        Meta::append(&self.meta, Lsn(boundary + 1), &changes, tails.as_slice())
            .map_err(|error| self.meta_error(error))?;
        let outgrown = crate::read_lock(&self.meta).wants_fold();
        if outgrown {
            // The delta is durable: a fold that fails loses nothing, and the next append tries again.
            if let Err(error) = Meta::fold(&self.meta) {
                tracing::warn!(%error, "manifest snapshot not written");
            }
        }
        Ok(obsolete)
    }

    pub fn meta_error(&self, error: OpenError) -> LogError {
        match error {
            OpenError::Disk(error) => LogError::Disk(error),
            // Our own state contradicts the manifest: nothing more may be promised.
            other => {
                self.die(format!("manifest: {other}"));
                LogError::Corrupt(other.to_string())
            }
        }
    }

    fn free_slots(&self, boundary: u64) {
        let mut core = lock(&self.writer);
        let retired = core.slots.free_through(boundary);
        self.unstall(&mut core);
        drop(core);
        if retired {
            // The upkeep makes new ones in their places.
            self.upkeep_signal.raise();
        }
        self.writer_signal.raise();
    }

    /// Takes appends again if there is room.
    pub fn unstall(&self, core: &mut WriterCore) {
        self.note_slots(core);
        if core.stalled && core.slots.has_room() {
            core.stalled = false;
            self.staging.stall(false);
        }
    }

    /// Rebuilds the segments of partitions whose segment writes failed.
    fn repair_broken(&self) -> Result<(), LogError> {
        loop {
            let next = lock(&self.broken)
                .first_key_value()
                .map(|(_, partition)| partition.clone());
            let Some(partition) = next else {
                return Ok(());
            };
            if !partition.state().gone {
                self.rebuild(&partition)?;
                self.metrics.rebuilds.add(1);
            }
            lock(&self.broken).remove(&partition.id());
        }
    }

    /// Writes the partition's segments anew, as far as they changed since the last checkpoint: what
    /// was durable then from the old file, the rest from the log.
    fn rebuild(&self, partition: &Arc<Partition>) -> Result<(), LogError> {
        let slots = lock(&self.writer).slots.files();
        let mut applied = lock(&self.applying);
        let durable = self.durable.load(Ordering::Acquire);
        // A cut that failed half-way is made here. There is one at most since the last checkpoint.
        let cut_away = {
            let mut state = partition.state();
            let durably_cut = state.truncated_lsn <= durable;
            durably_cut.then(|| state.take_cut_away())
        };
        for (base, revision) in cut_away.unwrap_or_default() {
            // One that stays is written over, or swept at the next start.
            drop(self.unlink_segment(partition.id(), base, revision));
        }
        let (from, known) = {
            let meta = crate::read_lock(&self.meta);
            (
                meta.manifest.replay_from.0,
                meta.manifest.partition(partition.id()).cloned(),
            )
        };
        let mut rebuilt = Rebuilt {
            shared: self,
            partition,
            known: known.as_ref(),
            files: BTreeMap::new(),
            made: Vec::new(),
            short: BTreeMap::new(),
            at: start_mark(known.as_ref()),
        };
        let walked = walk_log(
            &slots,
            self.config.slot_bytes,
            from,
            durable,
            |header, block| {
                let body = &block[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + header.length as usize];
                for record in Records::new(body) {
                    let record = record.map_err(|bad| ReadError::Corrupt {
                        offset: Offset::NONE,
                        reason: format!("block {}, byte {}", header.lsn, bad.at),
                    })?;
                    if record.header.partition == partition.id().0 {
                        rebuilt.apply(&record)?;
                    }
                }
                Ok::<(), ReadError>(())
            },
        );
        let synced = walked.map_err(as_log_error).and_then(|_| rebuilt.sync());
        if synced.is_err() {
            rebuilt.files.clear();
        }
        let unneeded = rebuilt.unneeded();
        let (at, files) = (rebuilt.at, rebuilt.files);
        lock(&self.unlinks).extend(unneeded);
        synced?;
        self.note_dir(partition.id());
        let mut state = partition.state();
        for (base, (file, revision)) in files {
            let unused = match state.known_revision(base) {
                Some(old) => {
                    state.set_revision(base, revision);
                    self.descriptors
                        .insert((partition.id().0, base), revision, file);
                    self.forget_written(partition.id(), base);
                    // A checkpoint gives up those that the manifest names.
                    Some(old).filter(|old| !names(known.as_ref(), base, *old))
                }
                // It was trimmed meanwhile.
                None => Some(revision),
            };
            let unused = unused.map(|revision| (partition.id(), base, revision));
            lock(&self.unlinks).extend(unused);
        }
        let mark = at.min(state.end);
        state.broken = false;
        state.gathered = mark;
        state.completed = mark;
        let waiters = state.raise_watermark(mark.offset);
        drop(state);
        wake(waiters);
        // Groups that are gathered and not durable yet are gathered again, into the new files.
        applied.lsn = applied.lsn.min(durable);
        self.gather_all(&mut applied);
        Ok(())
    }
}

fn start_mark(known: Option<&PartitionEntry>) -> Mark {
    known.map_or_else(Mark::default, |entry| Mark {
        offset: entry.record.end.0,
        segment: entry.record.active_base.0,
        position: u64::from(entry.record.active_bytes),
    })
}

/// The end of the sealed segments that are as the last checkpoint saw them.
fn untouched(known: Option<&PartitionEntry>, state: &State) -> Mark {
    let checkpointed = known.map_or(&[][..], |known| &known.segments);
    let end = state
        .sealed
        .iter()
        .take_while(|sealed| checkpointed.contains(&sealed.record))
        .last()
        .map_or(0, |sealed| sealed.end());
    Mark {
        offset: end,
        segment: end,
        position: 0,
    }
}

/// Whether the manifest names this file.
fn names(known: Option<&PartitionEntry>, base: i64, revision: u32) -> bool {
    known.is_some_and(|known| {
        let active = (known.record.active_base.0, known.record.active_revision);
        let sealed = known.segments.iter();
        let mut sealed = sealed.map(|segment| (segment.base.0, segment.revision));
        active == (base, revision) || sealed.any(|sealed| sealed == (base, revision))
    })
}

/// Segments that are being written anew.
///
/// Recovery reads what the manifest names until the next one is written, so those files stay as they
/// are, also of segments that were trimmed since; and each new file takes a name that none has.
struct Rebuilt<'a> {
    shared: &'a Shared,
    partition: &'a Partition,
    known: Option<&'a PartitionEntry>,
    files: BTreeMap<i64, (Arc<dyn File>, u32)>,
    /// All files made, also of segments that were cut away again: base and revision.
    made: Vec<(i64, u32)>,
    /// Old files that end before what the checkpoint saw, and where: the log must hold the cut.
    short: BTreeMap<i64, u64>,
    at: Mark,
}

impl Rebuilt<'_> {
    fn apply(&mut self, record: &crate::block::Record<'_>) -> Result<(), ReadError> {
        let header = &record.header;
        match header.kind {
            RecordKind::Batch => {
                if let Some(file) = self.file(self.at.segment, header.position)? {
                    file.write_at(record.body, header.position)?;
                }
                let head = crate::batch_head::BatchHead::parse(record.body);
                self.at.offset = head.map_or(self.at.offset, |head| head.end());
                self.at.position = header.position + u64::from(header.length);
            }
            RecordKind::Roll => {
                let footer = self.partition.state().footer_of(self.at.segment);
                if let Some(footer) = footer
                    && let Some(file) = self.file(self.at.segment, header.position)?
                {
                    file.write_at(&footer, header.position)?;
                }
                let offset = header.base_offset;
                self.at = Mark {
                    offset,
                    segment: offset,
                    position: 0,
                };
            }
            RecordKind::Truncate => {
                let base = record
                    .body
                    .first_chunk()
                    .map_or(0, |base| i64::from_le_bytes(*base));
                let position = header.position;
                self.files.retain(|known, _| *known <= base);
                if let Some(file) = self.file(base, position)? {
                    file.truncate(position)?;
                }
                self.short
                    .retain(|known, at| *known < base || (*known == base && *at < position));
                self.at = Mark {
                    offset: header.base_offset,
                    segment: base,
                    position,
                };
            }
            RecordKind::Create => {
                let offset = header.base_offset;
                self.at = Mark {
                    offset,
                    segment: offset,
                    position: 0,
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// What was read back is whole, and durable.
    fn sync(&self) -> Result<(), LogError> {
        if let Some((base, at)) = self.short.first_key_value() {
            return Err(LogError::Corrupt(format!(
                "segment {base} ends at {at}, a checkpoint saw more"
            )));
        }
        for (file, _) in self.files.values() {
            file.sync_data()?;
        }
        Ok(())
    }

    /// The files it made and has no use for.
    fn unneeded(&self) -> Vec<(PartitionId, i64, u32)> {
        let used = |base: &i64, revision: u32| {
            let file = self.files.get(base);
            file.is_some_and(|(_, used)| *used == revision)
        };
        self.made
            .iter()
            .filter(|(base, revision)| !used(base, *revision))
            .map(|(base, revision)| (self.partition.id(), *base, *revision))
            .collect()
    }

    /// The new file of a segment, with `copy` bytes of the old one if it is begun now; `None` if the
    /// segment is gone.
    fn file(&mut self, base: i64, copy: u64) -> Result<Option<Arc<dyn File>>, ReadError> {
        if let Some((file, _)) = self.files.get(&base) {
            return Ok(Some(Arc::clone(file)));
        }
        let Some(old) = self.partition.state().known_revision(base) else {
            return Ok(None);
        };
        let disk = &self.shared.world.disk;
        let id = self.partition.id();
        let (file, revision) = self.create(base, old)?;
        let source = match disk.open(&segment_path(id, base, old), OpenMode::Read) {
            Ok(source) => Some(source),
            Err(DiskError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let mut at = 0;
        if let Some(source) = source {
            let mut buffer = vec![0; COPY_BYTES];
            while at < copy {
                let wanted = buffer.len().min((copy - at) as usize);
                let read = source.read_at(&mut buffer[..wanted], at)?;
                if read == 0 {
                    break;
                }
                file.write_at(&buffer[..read], at)?;
                at += read as u64;
            }
        }
        if at < copy {
            // A truncation behind the checkpoint had reached the file.
            self.short.insert(base, at);
        }
        self.files.insert(base, (Arc::clone(&file), revision));
        Ok(Some(file))
    }

    /// A file that no name in the directory, the manifest or the partition's state means.
    fn create(&mut self, base: i64, old: u32) -> Result<(Arc<dyn File>, u32), ReadError> {
        let id = self.partition.id();
        let mut revision = old + 1;
        loop {
            if !names(self.known, base, revision) {
                let path = segment_path(id, base, revision);
                match self.shared.create_new_segment(id, &path) {
                    Err(DiskError::AlreadyExists { .. }) => {}
                    made => {
                        let file = made?;
                        self.made.push((base, revision));
                        return Ok((file, revision));
                    }
                }
            }
            revision += 1;
        }
    }
}

/// What a capture changes in the manifest.
fn changes_of(
    known: Option<&PartitionEntry>,
    capture: Capture,
    changes: &mut Vec<Change>,
    tails: &mut Writer,
    obsolete: &mut Vec<(PartitionId, i64, u32)>,
) {
    let id = capture.record.id;
    let none = Box::default();
    let before = known.map_or(&none, |known| &known.segments);
    for segment in before {
        if !capture.sealed.iter().any(|kept| kept.base == segment.base) {
            changes.push(Change::RemoveSegment(id, segment.base));
        }
    }
    let tail = if capture.tail_kept {
        TailChange::Kept
    } else if capture.tail.is_empty() {
        TailChange::None
    } else {
        let at = tails.len() as u64;
        tails.raw(&capture.tail);
        TailChange::Here {
            at,
            length: capture.tail.len() as u32,
            crc: capture.tail_crc,
        }
    };
    changes.push(Change::PutPartition {
        record: capture.record,
        tail,
    });
    for segment in &capture.sealed {
        if before
            .binary_search_by_key(&segment.base, |known| known.base)
            .is_ok_and(|at| before[at] == *segment)
        {
            continue;
        }
        changes.push(Change::PutSegment(id, *segment));
    }
    // Another file of the same segment took its place, perhaps before the segment went.
    let Some(known) = known else {
        return;
    };
    let revisions = before
        .iter()
        .map(|segment| (segment.base, segment.revision))
        .chain([(known.record.active_base, known.record.active_revision)]);
    for (base, revision) in revisions {
        let now = capture
            .sealed
            .iter()
            .map(|segment| (segment.base, segment.revision))
            .chain([(capture.record.active_base, capture.record.active_revision)])
            .find(|(kept, _)| *kept == base);
        if now.is_none_or(|(_, now)| now != revision) {
            obsolete.push((id, base.0, revision));
        }
    }
}

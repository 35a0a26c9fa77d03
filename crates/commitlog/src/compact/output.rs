//! A segment that a pass writes: data, then footer, all of it durable before anything names it.
//!
//! Its file has the base offset of the segments it replaces and a revision that no file has, so
//! that both exist side by side until the manifest names the new one.

use std::sync::Arc;

use world::File;
use world::disk::{Advice, DiskError, DiskResult};

use crate::batch_head::BatchHead;
use crate::compact::job::Stop;
use crate::epochs::Epochs;
use crate::lock;
use crate::manifest::SegmentRecord;
use crate::partition::Partition;
use crate::producers::{EndedTransaction, Producers};
use crate::segment::{
    ActiveHead, ActiveParts, SealedSegment, index_batch, segment_dir, segment_path,
};
use crate::store::Shared;

/// Bytes written at once.
const WRITE_BYTES: usize = 256 << 10;
const PAGE: u64 = 4096;

pub(crate) struct Output {
    file: Arc<dyn File>,
    head: ActiveHead,
    parts: ActiveParts,
    since_ms: i64,
    last_epoch: i32,
    buffer: Vec<u8>,
    written: u64,
    /// Write-back was begun up to here.
    trickled: u64,
    record: Option<SegmentRecord>,
}

impl Output {
    /// Begins a segment at `base`; `source` is the one whose data comes first.
    pub fn create(
        shared: &Shared,
        partition: &Partition,
        base: i64,
        source: ActiveHead,
    ) -> Result<Output, Stop> {
        let id = partition.id();
        // A segment that is rebuilt from the log gets a new revision too: not meanwhile.
        let _alone = lock(&shared.checkpointer);
        let known = partition.state().revision_of(base);
        let mut revision = known.wrapping_add(1);
        let file = loop {
            match shared.create_new_segment(id, &segment_path(id, base, revision)) {
                // Of an earlier pass: in use, or about to be removed.
                Err(DiskError::AlreadyExists { .. }) => revision = revision.wrapping_add(1),
                other => break other?,
            }
        };
        let mut head = ActiveHead::new(base);
        head.revision = revision;
        Ok(Output {
            file,
            head,
            parts: ActiveParts::new(base),
            since_ms: source.since_ms,
            last_epoch: source.last_epoch,
            buffer: Vec::with_capacity(WRITE_BYTES),
            written: 0,
            trickled: 0,
            record: None,
        })
    }

    pub fn base(&self) -> i64 {
        self.head.base
    }

    /// Whether a batch fits: positions and offset deltas are 32 bits, and a batch may have grown.
    pub fn has_room(&self, head: &BatchHead, bytes: usize) -> bool {
        let after = u64::from(self.parts.index.end_position()) + bytes as u64;
        after <= i32::MAX as u64 && head.end() - self.head.base <= i64::from(u32::MAX)
    }

    /// Takes the next batch, appended at `time_ms` once.
    pub fn add(&mut self, bytes: &[u8], time_ms: i64) -> Result<(), Stop> {
        let position = u64::from(self.parts.index.end_position());
        let head = BatchHead::parse(bytes)
            .ok_or_else(|| Stop::Damaged(format!("no batch for position {position}")))?;
        if !index_batch(
            &mut self.head,
            &mut self.parts,
            &head,
            position,
            bytes,
            time_ms,
        ) {
            return Err(Stop::Damaged(format!(
                "the batch at {} does not follow the one before it",
                head.base_offset
            )));
        }
        self.last_epoch = head.leader_epoch;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// A source segment ended, in this epoch.
    pub fn pass(&mut self, epoch: i32) {
        self.last_epoch = self.last_epoch.max(epoch);
    }

    /// The marker added last ends an aborted transaction.
    pub fn aborted(&mut self, transaction: &EndedTransaction) {
        self.parts.aborted.add(transaction);
    }

    fn flush(&mut self) -> DiskResult<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        // In small portions, or the sync at the end holds up every acknowledgement (storage.md 4).
        let to = self.written / PAGE * PAGE;
        if to > self.trickled {
            drop(self.file.start_writeback(self.trickled, to - self.trickled));
            self.trickled = to;
        }
        Ok(())
    }

    /// Ends the segment at `end`: everything of it, its name included, is durable then.
    pub fn finish(
        &mut self,
        shared: &Shared,
        partition: &Partition,
        end: i64,
        producers: &Producers,
        epochs: &Epochs,
        cleaned: bool,
    ) -> Result<(), Stop> {
        self.flush()?;
        self.head.since_ms = self.since_ms;
        self.head.last_epoch = self.last_epoch;
        let parts = std::mem::replace(&mut self.parts, ActiveParts::new(self.head.base));
        let facts = self
            .head
            .facts(partition.key(), partition.id(), end, self.written);
        let sealed = SealedSegment::seal(&facts, parts, producers, epochs);
        if let Some(footer) = &sealed.footer {
            self.file.write_at(footer, self.written)?;
        }
        self.file.sync_data()?;
        let dir = segment_dir(partition.id());
        if let Err(error) = shared.world.disk.sync_dir(&dir) {
            // Names that a checkpoint is to vouch for may lie there: its own sync could say yes.
            shared.die(format!(
                "the names in {dir} could not be made durable: {error}"
            ));
            return Err(error.into());
        }
        drop(self.file.advise(0, self.written, Advice::DontNeed));
        let mut record = sealed.record;
        record.cleaned = cleaned;
        self.record = Some(record);
        Ok(())
    }

    /// The finished segment.
    pub fn record(&self) -> SegmentRecord {
        match self.record {
            Some(record) => record,
            None => unreachable!("only finished segments are swapped in"),
        }
    }

    /// Removes the file, unless its name means another one by now.
    pub fn discard(&self, shared: &Shared, partition: &Partition) {
        let (base, revision) = (self.head.base, self.head.revision);
        let _alone = lock(&shared.checkpointer);
        if partition.state().uses(base, revision) {
            return;
        }
        let path = segment_path(partition.id(), base, revision);
        if let Err(error) = shared.world.disk.unlink(&path) {
            tracing::debug!(%error, "what an unfinished pass wrote stays");
        }
    }
}

//! Segments of one partition: what is known of the active one and of those before it, and how their
//! files are read back when that knowledge is gone.

use std::sync::Arc;

use wire::ids::{LeaderEpoch, Offset};
use world::File;
use world::disk::DiskResult;

use crate::batch_head::{BATCH_HEADER_BYTES, BatchHead};
use crate::epochs::Epochs;
use crate::errors::ReadError;
use crate::footer::{Footer, FooterParts, TRAILER_BYTES, encode_footer};
use crate::ids::{Lsn, PartitionId, PartitionKey};
use crate::index::{AppendTimes, IndexedBatch, SparseIndex};
use crate::manifest::{Location, SegmentRecord};
use crate::producers::{AppendedAt, ProducerBatch, Producers, sequence_after};
use crate::sections::Facts;
use crate::transactions::AbortedTransactions;

/// Directory of a partition's segments: 256 shards, so that none grows long.
pub(crate) fn segment_dir(id: PartitionId) -> String {
    format!("seg/{:02x}", id.0 % 256)
}

/// Path of a segment's file.
pub(crate) fn segment_path(id: PartitionId, base: i64, revision: u32) -> String {
    let dir = segment_dir(id);
    match revision {
        0 => format!("{dir}/{}-{base:020}.seg", id.0),
        _ => format!("{dir}/{}-{base:020}-{revision}.seg", id.0),
    }
}

/// Partition, base offset and revision of the segment with this file name, in its partition's
/// directory.
pub(crate) fn segment_of(name: &str) -> Option<(PartitionId, i64, u32)> {
    let mut numbers = name.strip_suffix(".seg")?.split('-');
    let id = numbers.next()?.parse().ok()?;
    let base = numbers.next()?.parse().ok()?;
    let revision = match numbers.next() {
        Some(revision) => revision.parse().ok()?,
        None => 0,
    };
    numbers
        .next()
        .is_none()
        .then_some((PartitionId(id), base, revision))
}

/// What is always known of the segment that appends go to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActiveHead {
    pub base: i64,
    pub revision: u32,
    /// Wall clock of its first batch, or −1.
    pub since_ms: i64,
    pub max_timestamp: i64,
    pub last_epoch: i32,
}

impl ActiveHead {
    pub fn new(base: i64) -> ActiveHead {
        ActiveHead {
            base,
            revision: 0,
            since_ms: -1,
            max_timestamp: -1,
            last_epoch: -1,
        }
    }

    pub fn facts(&self, key: PartitionKey, id: PartitionId, end: i64, bytes: u64) -> Facts {
        Facts {
            key,
            id,
            base: Offset(self.base),
            end: Offset(end),
            data_bytes: bytes,
            max_timestamp_ms: self.max_timestamp,
            since_ms: self.since_ms,
            last_epoch: LeaderEpoch(self.last_epoch),
            revision: self.revision,
        }
    }
}

/// What is known of the active segment while the partition is in use.
#[derive(Clone)]
pub(crate) struct ActiveParts {
    pub index: SparseIndex,
    pub times: AppendTimes,
    pub aborted: AbortedTransactions,
}

impl ActiveParts {
    pub fn new(base: i64) -> ActiveParts {
        ActiveParts {
            index: SparseIndex::new(Offset(base)),
            times: AppendTimes::new(Offset(base)),
            aborted: AbortedTransactions::new(),
        }
    }
}

/// A segment that ended.
#[derive(Clone)]
pub(crate) struct SealedSegment {
    pub record: SegmentRecord,
    /// Its index, if somebody needed it lately.
    pub index: Option<Arc<SparseIndex>>,
    /// Its footer, until a checkpoint has it.
    pub footer: Option<Arc<Vec<u8>>>,
    /// Damaged ranges the scrub found: from and to, bytes.
    pub bad: Vec<(u32, u32)>,
}

impl SealedSegment {
    pub fn new(record: SegmentRecord) -> SealedSegment {
        SealedSegment {
            record,
            index: None,
            footer: None,
            bad: Vec::new(),
        }
    }

    /// Ends an active segment.
    pub fn seal(
        facts: &Facts,
        parts: ActiveParts,
        producers: &Producers,
        epochs: &Epochs,
    ) -> SealedSegment {
        let epochs = epochs.within(facts.base, facts.end);
        let (footer, footer_crc) = encode_footer(&FooterParts {
            facts,
            index: &parts.index,
            append_times: &parts.times,
            aborted: &parts.aborted,
            producers,
            epochs: &epochs,
        });
        SealedSegment {
            record: SegmentRecord {
                base: facts.base,
                end: facts.end,
                data_bytes: facts.data_bytes,
                max_timestamp_ms: facts.max_timestamp_ms,
                last_epoch: facts.last_epoch,
                location: Location::Local,
                footer_crc,
                revision: facts.revision,
                cleaned: false,
            },
            index: Some(Arc::new(parts.index)),
            footer: Some(Arc::new(footer)),
            bad: Vec::new(),
        }
    }

    pub fn base(&self) -> i64 {
        self.record.base.0
    }

    pub fn end(&self) -> i64 {
        self.record.end.0
    }
}

/// What a footer holds, decoded.
pub(crate) struct SealedParts {
    pub parts: ActiveParts,
    pub producers: Producers,
    pub head: ActiveHead,
}

/// Reads a sealed segment's footer; `None` if it is not the one the manifest means.
pub(crate) fn read_footer(
    file: &dyn File,
    record: &SegmentRecord,
) -> DiskResult<Option<SealedParts>> {
    let length = file.len()?;
    let footer_bytes = length.saturating_sub(record.data_bytes);
    if footer_bytes < TRAILER_BYTES as u64 || footer_bytes > 1 << 30 {
        return Ok(None);
    }
    let mut bytes = vec![0; footer_bytes as usize];
    if file.read_at(&mut bytes, record.data_bytes)? != bytes.len() {
        return Ok(None);
    }
    let decode = || {
        let footer = Footer::decode(&bytes, length).ok()?;
        if footer.crc() != record.footer_crc || footer.facts().base != record.base {
            return None;
        }
        let facts = footer.facts();
        Some(SealedParts {
            parts: ActiveParts {
                index: footer.index().ok()?,
                times: footer.append_times().ok()?,
                aborted: footer.aborted().ok()?,
            },
            producers: footer.producers(Lsn::ZERO).ok()?,
            head: ActiveHead {
                base: facts.base.0,
                revision: record.revision,
                since_ms: facts.since_ms,
                max_timestamp: facts.max_timestamp_ms,
                last_epoch: facts.last_epoch.0,
            },
        })
    };
    Ok(decode())
}

/// Bookkeeping of a segment as its batches go by: the same for appends, replay and scans.
pub(crate) struct Tally<'a> {
    pub head: &'a mut ActiveHead,
    pub parts: &'a mut ActiveParts,
    pub producers: &'a mut Producers,
    pub epochs: &'a mut Epochs,
}

impl Tally<'_> {
    /// Takes the next batch; `bytes` are those in the file.
    ///
    /// # Errors
    /// As [`Tally::index`].
    pub fn add(
        &mut self,
        batch: &BatchHead,
        position: u64,
        bytes: &[u8],
        lsn: Lsn,
        now_ms: i64,
    ) -> Result<(), ReadError> {
        self.index(batch, position, bytes, now_ms)?;
        self.account(batch, lsn, now_ms);
        Ok(())
    }

    /// The segment's part of it.
    ///
    /// # Errors
    /// A batch that cannot stand there is damage: it came from a disk, and the CRC that clients
    /// compute covers neither its base offset nor its length. Nothing has changed then.
    pub fn index(
        &mut self,
        batch: &BatchHead,
        position: u64,
        bytes: &[u8],
        now_ms: i64,
    ) -> Result<(), ReadError> {
        if index_batch(self.head, self.parts, batch, position, bytes, now_ms) {
            return Ok(());
        }
        Err(corrupt(
            position,
            &format!("a batch that says it begins at {}", batch.base_offset),
        ))
    }

    /// The partition's part of it: epochs and producers.
    pub fn account(&mut self, batch: &BatchHead, lsn: Lsn, now_ms: i64) {
        if batch.leader_epoch >= 0 {
            self.epochs
                .assign(LeaderEpoch(batch.leader_epoch), Offset(batch.base_offset));
        }
        match producer_batch(batch) {
            Some(producer) if !batch.is_control() => self.producers.apply_batch(
                &producer,
                &AppendedAt {
                    first_offset: Offset(batch.base_offset),
                    last_offset: batch.last_offset(),
                    timestamp_ms: batch.max_timestamp,
                    lsn,
                    now_ms,
                },
            ),
            _ => self.producers.advance(Offset(batch.end())),
        }
    }
}

/// Adds a batch to what is known of its segment; `false`, and nothing changed, if it does not follow
/// or does not fit.
pub(crate) fn index_batch(
    head: &mut ActiveHead,
    parts: &mut ActiveParts,
    batch: &BatchHead,
    position: u64,
    bytes: &[u8],
    now_ms: i64,
) -> bool {
    // A batch that compaction emptied has the time of records that are gone.
    let max_timestamp_ms = if batch.records > 0 {
        batch.max_timestamp
    } else {
        -1
    };
    let indexed = IndexedBatch {
        base_offset: Offset(batch.base_offset),
        last_offset: batch.last_offset(),
        position: position as u32,
        length: batch.bytes,
        max_timestamp_ms,
    };
    if !parts.index.follows(&indexed) || parts.index.add(&indexed, bytes).is_err() {
        return false;
    }
    if position == 0 {
        head.since_ms = now_ms;
    }
    head.max_timestamp = head.max_timestamp.max(max_timestamp_ms);
    head.last_epoch = batch.leader_epoch;
    parts.times.note(indexed.base_offset, now_ms);
    true
}

/// What a batch says of its producer; `None` without one.
pub(crate) fn producer_batch(batch: &BatchHead) -> Option<ProducerBatch> {
    if batch.producer_id < 0 {
        return None;
    }
    let first = batch.base_sequence.max(-1);
    Some(ProducerBatch {
        producer_id: batch.producer_id.into(),
        producer_epoch: batch.producer_epoch.into(),
        first_sequence: first,
        last_sequence: if first < 0 {
            -1
        } else {
            sequence_after(first, batch.last_offset_delta)
        },
        transactional: batch.is_transactional(),
    })
}

/// Walks over the batches of `[from, to)` of a file and calls `each` with header, position and all
/// bytes, until it says `false`. No batch there reaches beyond the offset `end`: one that says so is
/// damaged, and what is appended behind it would not follow.
pub(crate) fn scan_batches(
    file: &dyn File,
    from: u64,
    to: u64,
    end: Offset,
    mut each: impl FnMut(&BatchHead, u64, &[u8]) -> Result<bool, ReadError>,
) -> Result<u64, ReadError> {
    const CHUNK: usize = 256 * 1024;
    let mut buffer = vec![0; CHUNK];
    let (mut start, mut length, mut at) = (from, 0_usize, from);
    while at < to {
        let inside = (at - start) as usize;
        let head = buffer[..length].get(inside..).and_then(BatchHead::parse);
        let whole = head.is_some_and(|head| inside + head.bytes as usize <= length);
        if let Some(head) = head.filter(|_| whole) {
            let bytes = &buffer[inside..inside + head.bytes as usize];
            if head.end() > end.0 {
                return Err(corrupt(at, "a batch that leads beyond the log's end"));
            }
            if !each(&head, at, bytes)? {
                return Ok(at);
            }
            at += u64::from(head.bytes);
            continue;
        }
        let wanted = head.map_or(BATCH_HEADER_BYTES, |head| head.bytes as usize);
        let left = to - at;
        if wanted as u64 > left || (inside == 0 && length >= wanted) {
            return Err(corrupt(at, "no batch"));
        }
        let size = wanted
            .max(CHUNK)
            .min(usize::try_from(left).unwrap_or(CHUNK));
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        length = file.read_at(&mut buffer[..size], at)?;
        start = at;
        if length < wanted {
            return Err(corrupt(at, "the file ends"));
        }
    }
    Ok(at)
}

fn corrupt(at: u64, reason: &str) -> ReadError {
    ReadError::Corrupt {
        offset: Offset::NONE,
        reason: format!("{reason} at position {at}"),
    }
}

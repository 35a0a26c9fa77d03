//! The manifest: every partition and sealed segment of a data directory, and the LSN from which
//! the log must be replayed. This file owns the format on `docs/formats/manifest.md`.
//!
//! A *snapshot* holds everything; *deltas*, appended to a second file between snapshots, hold what
//! a checkpoint changed. Both are *frames*: header, records, a table of CRCs (one per 64 KiB of
//! header and records), then the tail states the records point at. Start-up reads header, records
//! and table; a tail state is read on first touch and has its CRC in its partition's record.
//!
//! Invariants of [`Manifest`]: internal ids are below `next_id` and never reused; a partition's
//! segments lie in offset order without overlap, below the base of its active segment.
//!
//! Knows bytes and bookkeeping; who writes which file, and when, is the engine's business.

use crate::format_error::{FormatError, Reason, check_sum, check_version};
use crate::ids::{Lsn, PartitionId, PartitionKey};
use std::collections::BTreeSet;
use stdx::{Reader, Writer, crc32c};
use wire::ids::{LeaderEpoch, Offset, TopicId};

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a partition record.
pub const PARTITION_BYTES: usize = 112;
/// Bytes of a sealed-segment record.
pub const SEGMENT_BYTES: usize = 48;
/// Bytes of the file that names the current generation.
pub const CURRENT_BYTES: usize = 32;
/// Header and records are checked in pieces of this many bytes.
pub const BLOCK_BYTES: usize = 64 << 10;
/// Longest header and records of one frame: 1 GiB, some nine million partitions. A header that
/// says more is refused before anything is read for it.
pub const RECORDS_BYTES_MAX: u64 = 1 << 30;

const FORMAT: &str = "manifest";
const VERSION: u16 = 1;
const MAGIC: u64 = u64::from_le_bytes(*b"DMANIFST");
const CURRENT_MAGIC: u64 = u64::from_le_bytes(*b"DCURRENT");
const FLAG_DELTA: u16 = 1;
/// In a segment's location.
const FLAG_CLEANED: u32 = 1 << 8;

const OP_PUT_PARTITION: u32 = 1;
const OP_REMOVE_PARTITION: u32 = 2;
const OP_PUT_SEGMENT: u32 = 3;
const OP_REMOVE_SEGMENT: u32 = 4;
const OP_BYTES_MIN: usize = 16;

const TAIL_BITS: u32 = 3;
const TAIL_NONE: u32 = 0;
const TAIL_HERE: u32 = 1;
const TAIL_KEPT: u32 = 2;

/// Where a tail state lies (storage.md 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailPlace {
    /// In the snapshot file of this generation, or in its delta file.
    pub in_delta: bool,
    /// Bytes from the start of that file.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// CRC-32C of them.
    pub crc: u32,
}

/// What a checkpoint knows of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRecord {
    /// Whose log it is.
    pub key: PartitionKey,
    /// Its number in this data directory.
    pub id: PartitionId,
    /// [`PartitionRecord::SUSPECT`] and bits of later releases, which are kept.
    pub flags: u32,
    /// First offset that can be read.
    pub log_start: Offset,
    /// Log end at the checkpoint: everything below is durable in segments.
    pub end: Offset,
    /// High watermark at the checkpoint; may be stale (replication.md R5).
    pub high_watermark: Offset,
    /// Base offset of the active segment.
    pub active_base: Offset,
    /// Bytes of the active segment at the checkpoint; 0 if it has no file yet.
    pub active_bytes: u32,
    /// Which file the active segment is in: 0 unless it was rebuilt.
    pub active_revision: u32,
    /// Latest leader epoch, or −1.
    pub last_epoch: LeaderEpoch,
    /// Highest timestamp in the active segment, or −1: retention by time.
    pub active_max_timestamp_ms: i64,
    /// Wall clock when the active segment got its first batch, or −1: roll by segment.ms.
    pub active_since_ms: i64,
    /// Its tail state.
    pub tail: Option<TailPlace>,
}

impl PartitionRecord {
    /// Recovery could not vouch for this log: it does not lead until repaired (storage.md 6).
    pub const SUSPECT: u32 = 1 << 8;
}

/// Where a sealed segment's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// In this data directory.
    Local,
    /// In the remote tier only.
    Remote,
    /// In both.
    Both,
}

/// A sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRecord {
    /// Base offset: its name.
    pub base: Offset,
    /// First offset behind it; compaction may have left a hole below.
    pub end: Offset,
    /// Bytes of data: where its footer begins, and where a read must stop.
    pub data_bytes: u64,
    /// Highest timestamp, milliseconds.
    pub max_timestamp_ms: i64,
    /// Leader epoch of its last batch.
    pub last_epoch: LeaderEpoch,
    /// Where it is.
    pub location: Location,
    /// CRC-32C of its footer.
    pub footer_crc: u32,
    /// Which file of this base offset: raised when compaction or repair writes another one.
    pub revision: u32,
    /// A compaction pass knew all keys of it: no two records of it have one key.
    pub cleaned: bool,
}

/// A partition and its sealed segments, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionEntry {
    /// The partition.
    pub record: PartitionRecord,
    /// Its sealed segments. A boxed slice: most partitions of a large node never change it.
    pub segments: Box<[SegmentRecord]>,
}

/// One change of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A new partition, or new values of a known one; its segments are not touched. A new id with
    /// a known key is refused: remove the old one first.
    PutPartition {
        /// The values; its `tail` is ignored.
        record: PartitionRecord,
        /// What becomes of the tail state.
        tail: TailChange,
    },
    /// The partition and all its segments are gone.
    RemovePartition(PartitionId),
    /// A segment was sealed, or the one of this base offset was replaced or moved.
    PutSegment(PartitionId, SegmentRecord),
    /// The segment of this base offset is gone: deleted, or unsealed by a truncation.
    RemoveSegment(PartitionId, Offset),
}

impl Change {
    fn partition(&self) -> PartitionId {
        match self {
            Change::PutPartition { record, .. } => record.id,
            Change::RemovePartition(id)
            | Change::PutSegment(id, _)
            | Change::RemoveSegment(id, _) => *id,
        }
    }
}

/// A put partition's tail state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailChange {
    /// None any more: scan the active segment on first touch.
    None,
    /// As it was.
    Kept,
    /// In the tail area of the same frame.
    Here {
        /// Bytes from the start of the tail area.
        at: u64,
        /// Bytes.
        length: u32,
        /// CRC-32C of them.
        crc: u32,
    },
}

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// A delta, else a snapshot.
    pub is_delta: bool,
    /// Partitions of a snapshot, changes of a delta.
    pub count: u32,
    /// Number of the snapshot; its deltas carry it too.
    pub generation: u64,
    /// 0 for a snapshot, then 1, 2, ... for its deltas.
    pub sequence: u32,
    /// Everything below this LSN is in the segments; replay begins here.
    pub replay_from: Lsn,
    /// The next internal partition id.
    pub next_id: u64,
    /// Bytes of records behind the header.
    pub records_bytes: u64,
    /// Bytes of tail states behind the CRC table.
    pub tail_bytes: u64,
}

impl FrameHeader {
    /// Reads and checks a header. Lengths are those of bytes not read yet: compare
    /// [`FrameHeader::head_bytes`] with the file before reading on.
    pub fn decode(bytes: &[u8]) -> Result<FrameHeader, FormatError> {
        let Some(bytes) = bytes.get(..HEADER_BYTES) else {
            return Err(Reason::Broken("shorter than a header").of(FORMAT));
        };
        let mut reader = Reader::new(bytes);
        let read = |reader: &mut Reader<'_>| -> Result<(u64, u16), Reason> {
            Ok((reader.u64_le()?, reader.u16_le()?))
        };
        let (magic, version) = read(&mut reader).map_err(|reason| reason.of(FORMAT))?;
        if magic != MAGIC {
            return Err(Reason::Magic.of(FORMAT));
        }
        // The CRC comes before the version: a damaged version must not read as "newer".
        let stored = Reader::new(&bytes[HEADER_BYTES - 4..]).u32_le();
        let stored = stored.map_err(|error| Reason::from(error).of(FORMAT))?;
        check_sum(stored, crc32c(&bytes[..HEADER_BYTES - 4])).map_err(|r| r.of(FORMAT))?;
        check_version(FORMAT, version, VERSION)?;
        FrameHeader::decode_body(&mut reader).map_err(|reason| reason.of(FORMAT))
    }

    fn decode_body(reader: &mut Reader<'_>) -> Result<FrameHeader, Reason> {
        let flags = reader.u16_le()?;
        let count = reader.u32_le()?;
        let header = FrameHeader {
            is_delta: flags & FLAG_DELTA != 0,
            count,
            generation: reader.u64_le()?,
            replay_from: Lsn(reader.u64_le()?),
            next_id: reader.u64_le()?,
            records_bytes: reader.u64_le()?,
            tail_bytes: reader.u64_le()?,
            sequence: reader.u32_le()?,
        };
        if header.records_bytes > RECORDS_BYTES_MAX || header.tail_bytes > i64::MAX as u64 / 2 {
            return Err(Reason::Broken("longer than a frame may be"));
        }
        let item = if header.is_delta {
            OP_BYTES_MIN
        } else {
            PARTITION_BYTES
        } as u64;
        if u64::from(count) * item > header.records_bytes {
            return Err(Reason::Broken("count does not agree with the length"));
        }
        if header.is_delta == (header.sequence == 0) {
            return Err(Reason::Broken(
                "a snapshot has sequence 0, a delta has another",
            ));
        }
        Ok(header)
    }

    fn encode(&self, out: &mut Writer) {
        let start = out.len();
        out.u64_le(MAGIC)
            .u16_le(VERSION)
            .u16_le(if self.is_delta { FLAG_DELTA } else { 0 });
        out.u32_le(self.count)
            .u64_le(self.generation)
            .u64_le(self.replay_from.0);
        out.u64_le(self.next_id)
            .u64_le(self.records_bytes)
            .u64_le(self.tail_bytes);
        out.u32_le(self.sequence);
        let crc = crc32c(&out.as_slice()[start..]);
        out.u32_le(crc);
    }

    /// Bytes of header, records and CRC table: what start-up must read.
    pub fn head_bytes(&self) -> u64 {
        let checked = HEADER_BYTES as u64 + self.records_bytes;
        checked + checked.div_ceil(BLOCK_BYTES as u64) * 4
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        self.head_bytes() + self.tail_bytes
    }
}

/// Everything the manifest says, in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Number of the snapshot this began with.
    pub generation: u64,
    /// Number of the last delta applied, 0 if none.
    pub sequence: u32,
    /// Replay begins at this LSN.
    pub replay_from: Lsn,
    next_id: u64,
    /// By id. A list: ids only grow, and half-full tree nodes would double what a large node
    /// holds.
    partitions: Vec<PartitionEntry>,
}

impl Manifest {
    /// Of an empty data directory.
    pub fn new() -> Manifest {
        Manifest {
            next_id: 1,
            ..Manifest::default()
        }
    }

    /// Number of partitions.
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Whether there is no partition.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// The id the next created partition gets.
    pub fn next_id(&self) -> PartitionId {
        PartitionId(self.next_id)
    }

    /// A partition by id.
    pub fn partition(&self, id: PartitionId) -> Option<&PartitionEntry> {
        self.place(id).ok().map(|at| &self.partitions[at])
    }

    fn entry(&mut self, id: PartitionId) -> Option<&mut PartitionEntry> {
        let at = self.place(id).ok()?;
        Some(&mut self.partitions[at])
    }

    fn place(&self, id: PartitionId) -> Result<usize, usize> {
        match self.partitions.last() {
            Some(last) if last.record.id < id => Err(self.partitions.len()),
            _ => self
                .partitions
                .binary_search_by_key(&id, |entry| entry.record.id),
        }
    }

    /// All partitions by id.
    pub fn iter(&self) -> impl Iterator<Item = &PartitionEntry> + '_ {
        self.partitions.iter()
    }

    /// Applies what a delta frame holds; `tail_area` is where its tail area begins in the delta
    /// file. On an error the manifest is spoilt: load it again from the older generation.
    pub fn apply(&mut self, changes: &[Change], tail_area: u64) -> Result<(), FormatError> {
        self.apply_all(changes, tail_area)
            .map_err(|reason| reason.of(FORMAT))
    }

    fn apply_all(&mut self, changes: &[Change], tail_area: u64) -> Result<(), Reason> {
        let mut removed = BTreeSet::new();
        let mut made = BTreeSet::new();
        for change in changes {
            if removed.contains(&change.partition()) {
                return Err(Reason::Broken("a removed partition was changed"));
            }
            match change {
                Change::RemovePartition(id) => {
                    if self.place(*id).is_err() {
                        return Err(Reason::Broken("an unknown partition was removed"));
                    }
                    removed.insert(*id);
                }
                Change::PutPartition { record, .. } if self.place(record.id).is_err() => {
                    if !made.insert(record.key) {
                        return Err(Reason::Broken("two partitions have one key"));
                    }
                    self.apply_change(change, tail_area)?;
                }
                Change::PutPartition { .. }
                | Change::PutSegment(..)
                | Change::RemoveSegment(..) => self.apply_change(change, tail_area)?,
            }
        }
        // All at once: one by one, each would move half of the list.
        if !removed.is_empty() {
            self.partitions
                .retain(|entry| !removed.contains(&entry.record.id));
        }
        if !made.is_empty() {
            let keys = self.partitions.iter().map(|entry| &entry.record.key);
            let mut seen = BTreeSet::new();
            if !keys
                .filter(|key| made.contains(key))
                .all(|key| seen.insert(key))
            {
                return Err(Reason::Broken("two partitions have one key"));
            }
        }
        // Only now: within a delta a segment may be sealed before its partition is moved on.
        changes
            .iter()
            .try_for_each(|change| self.check_order(change))
    }

    fn check_order(&self, change: &Change) -> Result<(), Reason> {
        let id = match change {
            Change::PutPartition { record, .. } => record.id,
            Change::PutSegment(id, _) => *id,
            Change::RemovePartition(_) | Change::RemoveSegment(..) => return Ok(()),
        };
        let Some(entry) = self.partition(id) else {
            return Ok(());
        };
        match entry.segments.last() {
            Some(last) if last.end > entry.record.active_base => {
                Err(Reason::Broken("a segment reaches above the active one"))
            }
            _ => Ok(()),
        }
    }

    fn apply_change(&mut self, change: &Change, tail_area: u64) -> Result<(), Reason> {
        match *change {
            Change::PutPartition { mut record, tail } => {
                self.next_id = self.next_id.max(record.id.0.saturating_add(1));
                let place = self.place(record.id);
                record.tail = match tail {
                    TailChange::None => None,
                    TailChange::Kept => place.ok().and_then(|at| self.partitions[at].record.tail),
                    TailChange::Here { at, length, crc } => Some(TailPlace {
                        in_delta: true,
                        offset: tail_area + at,
                        length,
                        crc,
                    }),
                };
                match place {
                    Ok(at) if self.partitions[at].record.key != record.key => {
                        return Err(Reason::Broken("a partition's key changed"));
                    }
                    Ok(at) => self.partitions[at].record = record,
                    Err(at) => {
                        let segments = Box::default();
                        self.partitions
                            .insert(at, PartitionEntry { record, segments });
                    }
                }
            }
            // Removed together, when all else is done.
            Change::RemovePartition(_) => {}
            Change::PutSegment(id, segment) => {
                let entry = self.entry(id);
                let entry = entry.ok_or(Reason::Broken("a segment of an unknown partition"))?;
                let at = entry
                    .segments
                    .partition_point(|known| known.base < segment.base);
                let mut segments = std::mem::take(&mut entry.segments).into_vec();
                match segments.get_mut(at) {
                    Some(known) if known.base == segment.base => *known = segment,
                    _ => segments.insert(at, segment),
                }
                let fits = at
                    .checked_sub(1)
                    .is_none_or(|before| segments[before].end <= segment.base)
                    && segments
                        .get(at + 1)
                        .is_none_or(|after| segment.end <= after.base);
                entry.segments = segments.into();
                if !fits {
                    return Err(Reason::Broken("segments overlap"));
                }
            }
            Change::RemoveSegment(id, base) => {
                let entry = self.entry(id);
                let entry = entry.ok_or(Reason::Broken("a segment of an unknown partition"))?;
                let found = entry
                    .segments
                    .binary_search_by_key(&base, |known| known.base);
                let found = found.map_err(|_| Reason::Broken("an unknown segment was removed"))?;
                let mut segments = std::mem::take(&mut entry.segments).into_vec();
                segments.remove(found);
                entry.segments = segments.into();
            }
        }
        Ok(())
    }

    /// Encodes header, records and CRC table of a snapshot of generation `generation`. The tail
    /// states follow in the file; `tail_bytes` is their length together, and each partition's
    /// `tail` place, as given by `place`, counts from the start of the tail area.
    pub fn encode_snapshot(
        &self,
        generation: u64,
        replay_from: Lsn,
        tail_bytes: u64,
        mut place: impl FnMut(&PartitionEntry) -> TailChange,
    ) -> Vec<u8> {
        let segments: usize = self
            .partitions
            .iter()
            .map(|entry| entry.segments.len())
            .sum();
        let records_bytes = self.partitions.len() * PARTITION_BYTES + segments * SEGMENT_BYTES;
        let header = FrameHeader {
            is_delta: false,
            count: self.partitions.len() as u32,
            generation,
            sequence: 0,
            replay_from,
            next_id: self.next_id,
            records_bytes: records_bytes as u64,
            tail_bytes,
        };
        let mut out = Writer::with_capacity(header.head_bytes() as usize);
        header.encode(&mut out);
        for entry in &self.partitions {
            let count = entry.segments.len() as u32;
            encode_partition(&mut out, &entry.record, count, place(entry));
            for segment in &entry.segments {
                encode_segment(&mut out, segment);
            }
        }
        append_crc_table(&mut out);
        out.into_bytes()
    }

    /// Reads header, records and CRC table of a snapshot: the first
    /// [`FrameHeader::head_bytes`] bytes of its file, or more.
    pub fn decode_snapshot(bytes: &[u8]) -> Result<Manifest, FormatError> {
        let header = FrameHeader::decode(bytes)?;
        if header.is_delta {
            return Err(Reason::Broken("a delta where a snapshot should be").of(FORMAT));
        }
        Manifest::decode_records(&header, bytes).map_err(|reason| reason.of(FORMAT))
    }

    fn decode_records(header: &FrameHeader, bytes: &[u8]) -> Result<Manifest, Reason> {
        let mut reader = Reader::new(checked_records(header, bytes)?);
        let tail_area = header.head_bytes();
        let mut entries: Vec<PartitionEntry> = Vec::with_capacity(header.count as usize);
        let mut keys = Vec::with_capacity(header.count as usize);
        for _ in 0..header.count {
            let (mut record, segment_count, tail) = decode_partition(&mut reader)?;
            record.tail = match tail {
                TailChange::Here { at, length, crc } => {
                    check_tail(header, at, length)?;
                    Some(TailPlace {
                        in_delta: false,
                        offset: tail_area + at,
                        length,
                        crc,
                    })
                }
                TailChange::None => None,
                TailChange::Kept => {
                    return Err(Reason::Broken("a snapshot cannot keep a tail state"));
                }
            };
            let previous = entries.last().map(|entry| entry.record.id);
            if previous.is_some_and(|previous| previous >= record.id)
                || record.id.0 >= header.next_id
            {
                return Err(Reason::Broken(
                    "partition ids must rise and be below the next one",
                ));
            }
            let segments = decode_segments(&mut reader, segment_count, record.active_base)?;
            keys.push(record.key);
            entries.push(PartitionEntry { record, segments });
        }
        reader.finish()?;
        keys.sort_unstable();
        if keys.windows(2).any(|two| two[0] == two[1]) {
            return Err(Reason::Broken("two partitions have one key"));
        }
        Ok(Manifest {
            generation: header.generation,
            sequence: 0,
            replay_from: header.replay_from,
            next_id: header.next_id,
            partitions: entries,
        })
    }

    /// Takes the frames of a delta file in order, until it ends or a frame is not whole. Returns
    /// the bytes taken and, if the file went on, why the rest was not: a torn last append, or
    /// damage. Which of the two it is, the log tells: it holds what the rest said, or blocks are
    /// missing that the rest had freed (`docs/formats/manifest.md`).
    ///
    /// An error means that a whole frame contradicts what is known; the manifest is spoilt then.
    pub fn apply_deltas(&mut self, file: &[u8]) -> Result<(u64, Option<FormatError>), FormatError> {
        let mut at = 0;
        while at < file.len() {
            let delta = match decode_delta(&file[at..]) {
                Ok(delta) => delta,
                Err(error) => return Ok((at as u64, Some(error))),
            };
            if delta.header.generation != self.generation
                || delta.header.sequence != self.sequence + 1
            {
                let reason = Reason::Broken("a delta of another snapshot, or one is missing");
                return Ok((at as u64, Some(reason.of(FORMAT))));
            }
            let frame_bytes = delta.header.frame_bytes();
            if frame_bytes > (file.len() - at) as u64 {
                let reason = Reason::Broken("a delta's tail states are cut off");
                return Ok((at as u64, Some(reason.of(FORMAT))));
            }
            self.apply(&delta.changes, at as u64 + delta.header.head_bytes())?;
            self.adopt(&delta.header);
            at += frame_bytes as usize;
        }
        Ok((at as u64, None))
    }

    /// Notes that the delta of this header was applied.
    pub fn adopt(&mut self, header: &FrameHeader) {
        self.sequence = header.sequence;
        self.replay_from = header.replay_from;
        self.next_id = self.next_id.max(header.next_id);
    }
}

/// A delta frame's header and changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// Its header.
    pub header: FrameHeader,
    /// Its changes, in the order in which they apply.
    pub changes: Vec<Change>,
}

/// Encodes header, records and CRC table of the delta that follows `manifest`; `tail_bytes` of
/// tail states follow in the file.
pub fn encode_delta(
    manifest: &Manifest,
    replay_from: Lsn,
    tail_bytes: u64,
    changes: &[Change],
) -> Vec<u8> {
    let records_bytes: usize = changes.iter().map(change_bytes).sum();
    let header = FrameHeader {
        is_delta: true,
        count: changes.len() as u32,
        generation: manifest.generation,
        sequence: manifest.sequence + 1,
        replay_from,
        next_id: manifest.next_id,
        records_bytes: records_bytes as u64,
        tail_bytes,
    };
    let mut out = Writer::with_capacity(header.head_bytes() as usize);
    header.encode(&mut out);
    for change in changes {
        match change {
            Change::PutPartition { record, tail } => {
                out.u32_le(OP_PUT_PARTITION).u32_le(0);
                encode_partition(&mut out, record, 0, *tail);
            }
            Change::RemovePartition(id) => {
                out.u32_le(OP_REMOVE_PARTITION).u32_le(0).u64_le(id.0);
            }
            Change::PutSegment(id, segment) => {
                out.u32_le(OP_PUT_SEGMENT).u32_le(0).u64_le(id.0);
                encode_segment(&mut out, segment);
            }
            Change::RemoveSegment(id, base) => {
                out.u32_le(OP_REMOVE_SEGMENT)
                    .u32_le(0)
                    .u64_le(id.0)
                    .i64_le(base.0);
            }
        }
    }
    append_crc_table(&mut out);
    out.into_bytes()
}

/// Reads the delta at the front of `bytes`.
pub fn decode_delta(bytes: &[u8]) -> Result<Delta, FormatError> {
    let header = FrameHeader::decode(bytes)?;
    if !header.is_delta {
        return Err(Reason::Broken("a snapshot where a delta should be").of(FORMAT));
    }
    let changes = decode_changes(&header, bytes).map_err(|reason| reason.of(FORMAT))?;
    Ok(Delta { header, changes })
}

/// The file `meta/CURRENT`: which generation is in force.
pub fn encode_current(generation: u64) -> [u8; CURRENT_BYTES] {
    let mut out = [0; CURRENT_BYTES];
    out[..8].copy_from_slice(&CURRENT_MAGIC.to_le_bytes());
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out[16..24].copy_from_slice(&generation.to_le_bytes());
    let crc = crc32c(&out[..28]);
    out[28..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Reads `meta/CURRENT`.
pub fn decode_current(bytes: &[u8]) -> Result<u64, FormatError> {
    const FORMAT: &str = "manifest CURRENT";
    let decode = || -> Result<(u16, u64), Reason> {
        let mut reader = Reader::new(bytes);
        let (magic, version) = (reader.u64_le()?, reader.u16_le()?);
        reader.skip(6)?;
        let generation = reader.u64_le()?;
        reader.skip(4)?;
        let stored = reader.u32_le()?;
        reader.finish()?;
        if magic != CURRENT_MAGIC {
            return Err(Reason::Magic);
        }
        check_sum(stored, crc32c(&bytes[..28]))?;
        Ok((version, generation))
    };
    let (version, generation) = decode().map_err(|reason| reason.of(FORMAT))?;
    check_version(FORMAT, version, VERSION)?;
    Ok(generation)
}

fn append_crc_table(out: &mut Writer) {
    let crcs: Vec<u32> = out.as_slice().chunks(BLOCK_BYTES).map(crc32c).collect();
    for crc in crcs {
        out.u32_le(crc);
    }
}

/// The records, after their CRCs were checked.
fn checked_records<'a>(header: &FrameHeader, bytes: &'a [u8]) -> Result<&'a [u8], Reason> {
    if header.head_bytes() > bytes.len() as u64 {
        return Err(Reason::Broken("records or CRC table are cut off"));
    }
    let (checked, table) = bytes.split_at(HEADER_BYTES + header.records_bytes as usize);
    let mut table = Reader::new(table);
    for block in checked.chunks(BLOCK_BYTES) {
        check_sum(table.u32_le()?, crc32c(block))?;
    }
    Ok(&checked[HEADER_BYTES..])
}

fn check_tail(header: &FrameHeader, at: u64, length: u32) -> Result<(), Reason> {
    match at.checked_add(u64::from(length)) {
        Some(end) if end <= header.tail_bytes => Ok(()),
        _ => Err(Reason::Broken("a tail state lies outside the tail area")),
    }
}

fn change_bytes(change: &Change) -> usize {
    match change {
        Change::PutPartition { .. } => 8 + PARTITION_BYTES,
        Change::RemovePartition(_) => 16,
        Change::PutSegment(..) => 16 + SEGMENT_BYTES,
        Change::RemoveSegment(..) => 24,
    }
}

fn decode_changes(header: &FrameHeader, bytes: &[u8]) -> Result<Vec<Change>, Reason> {
    let mut reader = Reader::new(checked_records(header, bytes)?);
    // The header's count was checked against the records' length, and that against `bytes`.
    let mut changes = Vec::with_capacity(header.count as usize);
    for _ in 0..header.count {
        let kind = reader.u32_le()?;
        let _reserved = reader.u32_le()?;
        changes.push(match kind {
            OP_PUT_PARTITION => {
                let (record, segments, tail) = decode_partition(&mut reader)?;
                if segments != 0 {
                    return Err(Reason::Broken("a put partition carries no segments"));
                }
                if let TailChange::Here { at, length, .. } = tail {
                    check_tail(header, at, length)?;
                }
                Change::PutPartition { record, tail }
            }
            OP_REMOVE_PARTITION => Change::RemovePartition(PartitionId(reader.u64_le()?)),
            OP_PUT_SEGMENT => {
                let id = PartitionId(reader.u64_le()?);
                Change::PutSegment(id, decode_segment(&mut reader)?)
            }
            OP_REMOVE_SEGMENT => {
                Change::RemoveSegment(PartitionId(reader.u64_le()?), Offset(reader.i64_le()?))
            }
            _ => return Err(Reason::Broken("an unknown kind of change")),
        });
    }
    reader.finish()?;
    Ok(changes)
}

fn encode_partition(out: &mut Writer, record: &PartitionRecord, segments: u32, tail: TailChange) {
    let (tail_bits, at, length, crc) = match tail {
        TailChange::None => (TAIL_NONE, 0, 0, 0),
        TailChange::Kept => (TAIL_KEPT, 0, 0, 0),
        TailChange::Here { at, length, crc } => (TAIL_HERE, at, length, crc),
    };
    out.raw(&record.key.topic.0).i32_le(record.key.partition);
    out.u32_le(record.flags & !TAIL_BITS | tail_bits)
        .u64_le(record.id.0);
    out.i64_le(record.log_start.0)
        .i64_le(record.end.0)
        .i64_le(record.high_watermark.0);
    out.i64_le(record.active_base.0)
        .u32_le(record.active_bytes)
        .u32_le(record.active_revision);
    out.i32_le(record.last_epoch.0).u32_le(segments);
    out.u64_le(at).u32_le(length).u32_le(crc);
    out.i64_le(record.active_max_timestamp_ms)
        .i64_le(record.active_since_ms);
}

fn decode_partition(reader: &mut Reader<'_>) -> Result<(PartitionRecord, u32, TailChange), Reason> {
    let topic = TopicId(reader.array()?);
    let partition = reader.i32_le()?;
    let flags = reader.u32_le()?;
    let id = PartitionId(reader.u64_le()?);
    let log_start = Offset(reader.i64_le()?);
    let end = Offset(reader.i64_le()?);
    let high_watermark = Offset(reader.i64_le()?);
    let active_base = Offset(reader.i64_le()?);
    let active_bytes = reader.u32_le()?;
    let active_revision = reader.u32_le()?;
    let last_epoch = LeaderEpoch(reader.i32_le()?);
    let segments = reader.u32_le()?;
    let (at, length, crc) = (reader.u64_le()?, reader.u32_le()?, reader.u32_le()?);
    let tail = match flags & TAIL_BITS {
        TAIL_NONE => TailChange::None,
        TAIL_KEPT => TailChange::Kept,
        TAIL_HERE => TailChange::Here { at, length, crc },
        _ => return Err(Reason::Broken("an unknown place of a tail state")),
    };
    let record = PartitionRecord {
        key: PartitionKey { topic, partition },
        id,
        flags: flags & !TAIL_BITS,
        log_start,
        end,
        high_watermark,
        active_base,
        active_bytes,
        active_revision,
        last_epoch,
        active_max_timestamp_ms: reader.i64_le()?,
        active_since_ms: reader.i64_le()?,
        tail: None,
    };
    let ordered = log_start.0 >= 0 && log_start <= end && active_base.0 >= 0 && active_base <= end;
    if partition < 0 || !ordered || high_watermark.0 < -1 || id.0 == 0 || id.0 == u64::MAX {
        return Err(Reason::Broken("a partition's numbers are impossible"));
    }
    Ok((record, segments, tail))
}

fn encode_segment(out: &mut Writer, segment: &SegmentRecord) {
    let location = match segment.location {
        Location::Local => 0,
        Location::Remote => 1,
        Location::Both => 2,
    };
    let cleaned = if segment.cleaned { FLAG_CLEANED } else { 0 };
    out.i64_le(segment.base.0)
        .i64_le(segment.end.0)
        .u64_le(segment.data_bytes);
    out.i64_le(segment.max_timestamp_ms)
        .i32_le(segment.last_epoch.0)
        .u32_le(location | cleaned);
    out.u32_le(segment.footer_crc).u32_le(segment.revision);
}

fn decode_segment(reader: &mut Reader<'_>) -> Result<SegmentRecord, Reason> {
    let mut segment = SegmentRecord {
        base: Offset(reader.i64_le()?),
        end: Offset(reader.i64_le()?),
        data_bytes: reader.u64_le()?,
        max_timestamp_ms: reader.i64_le()?,
        last_epoch: LeaderEpoch(reader.i32_le()?),
        location: Location::Local,
        footer_crc: 0,
        revision: 0,
        cleaned: false,
    };
    let location = reader.u32_le()?;
    segment.cleaned = location & FLAG_CLEANED != 0;
    segment.location = match location & !FLAG_CLEANED {
        0 => Location::Local,
        1 => Location::Remote,
        2 => Location::Both,
        _ => return Err(Reason::Broken("an unknown location of a segment")),
    };
    segment.footer_crc = reader.u32_le()?;
    segment.revision = reader.u32_le()?;
    if segment.base.0 < 0 || segment.end < segment.base || segment.data_bytes > i32::MAX as u64 {
        return Err(Reason::Broken("a segment's numbers are impossible"));
    }
    Ok(segment)
}

fn decode_segments(
    reader: &mut Reader<'_>,
    count: u32,
    active_base: Offset,
) -> Result<Box<[SegmentRecord]>, Reason> {
    if u64::from(count) * SEGMENT_BYTES as u64 > reader.left() as u64 {
        return Err(Reason::Broken(
            "segment count does not agree with the length",
        ));
    }
    let mut segments: Vec<SegmentRecord> = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let segment = decode_segment(reader)?;
        let above = segments.last().map_or(Offset(0), |last| last.end);
        let same = segments
            .last()
            .is_some_and(|last| last.base == segment.base);
        if segment.base < above || same || segment.end > active_base {
            return Err(Reason::Broken(
                "segments must rise and lie below the active one",
            ));
        }
        segments.push(segment);
    }
    Ok(segments.into())
}

#[cfg(test)]
mod tests;

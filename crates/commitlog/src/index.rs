//! The sparse index of one segment, and its column of append times.
//!
//! The index cuts the segment into *ranges* of whole batches, at most [`RANGE_BYTES_MAX`] long
//! unless one batch alone is longer, and keeps 16 bytes for each: where it begins (offset and
//! position), the highest timestamp in it, and the CRC-32C of all its bytes. So finding an offset
//! costs one binary search and a scan of at most 64 KiB of batch headers, and a scrub can check
//! every byte, those before a batch's own CRC included (storage.md 2.4, 5).
//!
//! Invariants: offsets and positions rise strictly from range to range; ranges lie back to back
//! from the first one's position to [`SparseIndex::end_position`].
//!
//! Lookups answer with a range to scan, never with a record: the index has not seen the records.
//! Knows no files: it travels in segment footers and tail states (`docs/formats/segment.md`).

use crate::format_error::{FormatError, Reason, check_version};
use stdx::checksum::crc32c_extend;
use stdx::{Reader, Writer};
use wire::ids::Offset;

/// Longest range that holds more than one batch, in bytes: about 20 us of scanning headers.
pub const RANGE_BYTES_MAX: u32 = 64 << 10;

/// Append-time pairs kept per segment: 2 KiB of memory. When full, the pair that is missed least
/// goes, so the newest lie a second apart and older ones farther, in proportion to their age: lag
/// in seconds stays right to a few percent (`docs/design/0031-append-time-column.md`).
pub const APPEND_TIMES_MAX: usize = 256;

/// Milliseconds between two pairs, at least (experience.md 4.3).
pub const APPEND_TIME_STEP_MS: i64 = 1_000;

const INDEX_FORMAT: &str = "sparse index";
const INDEX_VERSION: u16 = 1;
const INDEX_HEADER_BYTES: usize = 40;
const ENTRY_BYTES: usize = 16;
const WIDE_BYTES: usize = 12;
/// Timestamp delta that says: the true value is in the table of wide ones.
const WIDE: i32 = i32::MIN;

const TIMES_FORMAT: &str = "append times";
const TIMES_VERSION: u16 = 1;
const PAIR_BYTES: usize = 8;
/// Unit of a stored time delta: 32 bits of it are 13 years, and a segment may stay open for long.
const TIME_UNIT_MS: i64 = 100;

/// A batch as the index sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexedBatch {
    /// Base offset.
    pub base_offset: Offset,
    /// Last offset; at or above the base.
    pub last_offset: Offset,
    /// Where it begins in the segment, in bytes: right behind the batch before it.
    pub position: u32,
    /// Bytes, header included.
    pub length: u32,
    /// Max timestamp, milliseconds.
    pub max_timestamp_ms: i64,
}

/// A stretch of whole batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Base offset of its first batch.
    pub first_offset: Offset,
    /// Where it begins in the segment, in bytes.
    pub position: u32,
    /// Where it ends.
    pub end_position: u32,
    /// Highest timestamp in it, milliseconds.
    pub max_timestamp_ms: i64,
    /// CRC-32C of its bytes.
    pub crc: u32,
}

/// The segment can take no more: roll it (storage.md 2.4, section 12 trap 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the segment is full: positions and offset deltas are 32 bits")]
pub struct IndexFull;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    offset_delta: u32,
    position: u32,
    timestamp_delta: i32,
    crc: u32,
}

/// The sparse index of one segment, active or sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseIndex {
    base_offset: Offset,
    /// Timestamp deltas count from here: the max timestamp of the first range's first batch.
    base_timestamp_ms: i64,
    last_offset: Offset,
    end_position: u32,
    /// Whether the last range may still take batches. Not after decoding: its CRC could go on, but
    /// a fresh range after a restart is cheaper than another field.
    last_is_open: bool,
    entries: Vec<Entry>,
    /// Max timestamps that do not fit a delta, by entry: a segment that spans more than 24 days.
    wide: Vec<(u32, i64)>,
}

impl SparseIndex {
    /// Empty, for a segment that begins at `base_offset`.
    pub fn new(base_offset: Offset) -> SparseIndex {
        SparseIndex {
            base_offset,
            base_timestamp_ms: 0,
            last_offset: Offset::NONE,
            end_position: 0,
            last_is_open: false,
            entries: Vec::new(),
            wide: Vec::new(),
        }
    }

    /// The segment's base offset.
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Last offset indexed.
    pub fn last_offset(&self) -> Option<Offset> {
        (!self.entries.is_empty()).then_some(self.last_offset)
    }

    /// Bytes indexed: the next batch's position.
    pub fn end_position(&self) -> u32 {
        self.end_position
    }

    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is indexed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether `batch` may come next: behind the last one, offsets rising. What is read back from
    /// a file is asked first, because a batch's own CRC does not cover its base offset.
    pub fn follows(&self, batch: &IndexedBatch) -> bool {
        batch.position == self.end_position
            && batch.length > 0
            && batch.base_offset >= self.base_offset
            && batch.base_offset > self.last_offset
            && batch.last_offset >= batch.base_offset
    }

    /// Takes the next batch of the segment; `bytes` are all of its bytes as they lie in the file.
    /// Refused if the segment cannot hold it; nothing has changed then.
    ///
    /// # Panics
    /// If the batch does not follow the one before it ([`SparseIndex::follows`]), or `bytes` are not
    /// all of it: our own bookkeeping.
    pub fn add(&mut self, batch: &IndexedBatch, bytes: &[u8]) -> Result<(), IndexFull> {
        assert!(
            self.follows(batch),
            "{batch:?} after offset {}",
            self.last_offset
        );
        assert_eq!(
            batch.length as usize,
            bytes.len(),
            "a batch is indexed whole"
        );
        let end_position = batch.position.checked_add(batch.length).ok_or(IndexFull)?;
        let delta_max = batch.last_offset.0 - self.base_offset.0;
        if u32::try_from(delta_max).is_err() || end_position > i32::MAX as u32 {
            return Err(IndexFull);
        }
        let fits = self.last_is_open
            && self
                .entries
                .last()
                .is_some_and(|last| end_position - last.position <= RANGE_BYTES_MAX);
        if fits {
            let at = self.entries.len() - 1;
            self.entries[at].crc = crc32c_extend(self.entries[at].crc, bytes);
            if batch.max_timestamp_ms > self.timestamp_of(at) {
                self.set_timestamp(at, batch.max_timestamp_ms);
            }
        } else {
            if self.entries.is_empty() {
                self.base_timestamp_ms = batch.max_timestamp_ms;
            }
            self.entries.push(Entry {
                offset_delta: (batch.base_offset.0 - self.base_offset.0) as u32,
                position: batch.position,
                timestamp_delta: 0,
                crc: crc32c_extend(0, bytes),
            });
            self.set_timestamp(self.entries.len() - 1, batch.max_timestamp_ms);
            self.last_is_open = true;
        }
        self.last_offset = batch.last_offset;
        self.end_position = end_position;
        Ok(())
    }

    /// The segment was cut to end at `position`. Ranges beyond go; so does the one the cut lies in,
    /// because its CRC is that of more bytes. Returns where indexing ends now: the batches from
    /// there to the cut must be added again. Until a batch is added, [`SparseIndex::last_offset`]
    /// is only a lower bound: the index does not know where its last range ends.
    pub fn truncate_to(&mut self, position: u32) -> u32 {
        if position >= self.end_position {
            return self.end_position;
        }
        // Ranges lie back to back: the first one that ends above the cut goes.
        let at_or_above = self
            .entries
            .partition_point(|entry| entry.position < position);
        let on_boundary = self
            .entries
            .get(at_or_above)
            .is_some_and(|entry| entry.position == position);
        let kept = if on_boundary {
            at_or_above
        } else {
            at_or_above.saturating_sub(1)
        };
        self.end_position = self.entries.get(kept).map_or(0, |entry| entry.position);
        self.entries.truncate(kept);
        self.wide.retain(|(at, _)| (*at as usize) < kept);
        self.last_is_open = false;
        self.last_offset = match self.entries.last() {
            None => Offset::NONE,
            Some(entry) => Offset(self.base_offset.0 + i64::from(entry.offset_delta)),
        };
        self.end_position
    }

    /// Where to look for `offset`: the last range that begins at or below it. The batch that holds
    /// it, or the next one if `offset` lies in a hole, is in this range or is the first of the next
    /// (F1). An offset below the first range gives the first; `None` if the index is empty.
    pub fn find_offset(&self, offset: Offset) -> Option<Range> {
        let delta = offset.0.saturating_sub(self.base_offset.0);
        let above = self
            .entries
            .partition_point(|entry| i64::from(entry.offset_delta) <= delta);
        self.range(above.saturating_sub(1))
    }

    /// Where to look for the first record at or after `from` with a timestamp at or above
    /// `target_ms` (M2). If that range has none there (its match lies below `from`), go on with the
    /// range that begins at its end.
    pub fn find_timestamp(&self, target_ms: i64, from: Offset) -> Option<Range> {
        let delta = from.0.saturating_sub(self.base_offset.0);
        let above = self
            .entries
            .partition_point(|entry| i64::from(entry.offset_delta) <= delta);
        (above.saturating_sub(1)..self.entries.len())
            .find(|at| self.timestamp_of(*at) >= target_ms)
            .and_then(|at| self.range(at))
    }

    /// The first range that holds the segment's highest timestamp (M1, −3).
    pub fn max_timestamp(&self) -> Option<Range> {
        let mut best: Option<(usize, i64)> = None;
        for at in 0..self.entries.len() {
            let timestamp = self.timestamp_of(at);
            if best.is_none_or(|(_, highest)| timestamp > highest) {
                best = Some((at, timestamp));
            }
        }
        best.and_then(|(at, _)| self.range(at))
    }

    /// The range that begins at or holds byte `position`: to walk on from one lookup, or to scrub
    /// from where the last run stopped.
    pub fn range_at(&self, position: u32) -> Option<Range> {
        if position >= self.end_position {
            return None;
        }
        let above = self
            .entries
            .partition_point(|entry| entry.position <= position);
        self.range(above.saturating_sub(1))
    }

    /// All ranges in order, for the scrub: the CRC-32C of a range's bytes must be its `crc`.
    pub fn ranges(&self) -> impl Iterator<Item = Range> + '_ {
        (0..self.entries.len()).filter_map(|at| self.range(at))
    }

    fn range(&self, at: usize) -> Option<Range> {
        let entry = self.entries.get(at)?;
        let end_position = self
            .entries
            .get(at + 1)
            .map_or(self.end_position, |next| next.position);
        Some(Range {
            first_offset: Offset(self.base_offset.0 + i64::from(entry.offset_delta)),
            position: entry.position,
            end_position,
            max_timestamp_ms: self.timestamp_of(at),
            crc: entry.crc,
        })
    }

    fn timestamp_of(&self, at: usize) -> i64 {
        match self.entries[at].timestamp_delta {
            WIDE => {
                let found = self
                    .wide
                    .binary_search_by_key(&(at as u32), |(entry, _)| *entry);
                found.map_or(i64::MAX, |found| self.wide[found].1)
            }
            // Cannot overflow: set_timestamp stored only what fits.
            delta => self.base_timestamp_ms.wrapping_add(i64::from(delta)),
        }
    }

    /// Timestamps of one entry only rise, so an entry that became wide stays so unless it comes
    /// back into reach.
    fn set_timestamp(&mut self, at: usize, timestamp_ms: i64) {
        let key = at as u32;
        let delta = timestamp_ms.checked_sub(self.base_timestamp_ms);
        let narrow = delta
            .and_then(|delta| i32::try_from(delta).ok())
            .filter(|d| *d != WIDE);
        let found = self.wide.binary_search_by_key(&key, |(entry, _)| *entry);
        match (narrow, found) {
            (Some(delta), found) => {
                self.entries[at].timestamp_delta = delta;
                if let Ok(found) = found {
                    self.wide.remove(found);
                }
            }
            (None, Ok(found)) => self.wide[found].1 = timestamp_ms,
            (None, Err(place)) => {
                self.entries[at].timestamp_delta = WIDE;
                self.wide.insert(place, (key, timestamp_ms));
            }
        }
    }

    /// Bytes of [`SparseIndex::encode`].
    pub fn encoded_bytes(&self) -> usize {
        INDEX_HEADER_BYTES + self.entries.len() * ENTRY_BYTES + self.wide.len() * WIDE_BYTES
    }

    /// Appends the index: `docs/formats/segment.md`, section `sparse index`.
    pub fn encode(&self, out: &mut Writer) {
        out.u16_le(INDEX_VERSION).u16_le(0);
        out.u32_le(self.entries.len() as u32)
            .u32_le(self.wide.len() as u32);
        out.u32_le(self.end_position);
        out.i64_le(self.base_offset.0)
            .i64_le(self.last_offset.0)
            .i64_le(self.base_timestamp_ms);
        for entry in &self.entries {
            out.u32_le(entry.offset_delta).u32_le(entry.position);
            out.i32_le(entry.timestamp_delta).u32_le(entry.crc);
        }
        for (entry, timestamp_ms) in &self.wide {
            out.u32_le(*entry).i64_le(*timestamp_ms);
        }
    }

    /// Reads what [`SparseIndex::encode`] wrote; all of `bytes` is the index.
    pub fn decode(bytes: &[u8]) -> Result<SparseIndex, FormatError> {
        let mut reader = Reader::new(bytes);
        let version = reader
            .u16_le()
            .map_err(|error| Reason::from(error).of(INDEX_FORMAT))?;
        check_version(INDEX_FORMAT, version, INDEX_VERSION)?;
        SparseIndex::decode_body(&mut reader).map_err(|reason| reason.of(INDEX_FORMAT))
    }

    fn decode_body(reader: &mut Reader<'_>) -> Result<SparseIndex, Reason> {
        let _flags = reader.u16_le()?;
        let count = reader.u32_le()? as usize;
        let wide_count = reader.u32_le()? as usize;
        let end_position = reader.u32_le()?;
        let base_offset = Offset(reader.i64_le()?);
        let last_offset = Offset(reader.i64_le()?);
        let base_timestamp_ms = reader.i64_le()?;
        let length = count.checked_mul(ENTRY_BYTES).and_then(|entries| {
            wide_count
                .checked_mul(WIDE_BYTES)
                .and_then(|wide| entries.checked_add(wide))
        });
        if length != Some(reader.left()) {
            return Err(Reason::Broken("counts do not agree with the length"));
        }
        let bounded = base_offset.0 >= 0
            && end_position <= i32::MAX as u32
            && match count {
                0 => last_offset == Offset::NONE && end_position == 0,
                _ => {
                    last_offset >= base_offset
                        && last_offset.0 - base_offset.0 <= i64::from(u32::MAX)
                }
            };
        if !bounded {
            return Err(Reason::Broken("base, last offset or end are impossible"));
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        let mut wide_entries = 0;
        for at in 0..count {
            let entry = Entry {
                offset_delta: reader.u32_le()?,
                position: reader.u32_le()?,
                timestamp_delta: reader.i32_le()?,
                crc: reader.u32_le()?,
            };
            let follows = match entries.last() {
                Some(last) => {
                    entry.offset_delta > last.offset_delta && entry.position > last.position
                }
                None => entry.position == 0,
            };
            let inside = entry.position < end_position
                && i64::from(entry.offset_delta) <= last_offset.0 - base_offset.0;
            if !follows || !inside {
                return Err(Reason::Broken("ranges must rise and lie in the segment"));
            }
            wide_entries += usize::from(entry.timestamp_delta == WIDE);
            debug_assert_eq!(at, entries.len());
            entries.push(entry);
        }
        let mut wide: Vec<(u32, i64)> = Vec::with_capacity(wide_count);
        for _ in 0..wide_count {
            let (entry, timestamp_ms) = (reader.u32_le()?, reader.i64_le()?);
            let rises = wide.last().is_none_or(|(last, _)| *last < entry);
            let named = entries
                .get(entry as usize)
                .is_some_and(|named| named.timestamp_delta == WIDE);
            if !rises || !named {
                return Err(Reason::Broken("a wide timestamp belongs to no range"));
            }
            wide.push((entry, timestamp_ms));
        }
        if wide.len() != wide_entries {
            return Err(Reason::Broken("a wide timestamp is missing"));
        }
        reader.finish()?;
        Ok(SparseIndex {
            base_offset,
            base_timestamp_ms,
            last_offset,
            end_position,
            last_is_open: false,
            entries,
            wide,
        })
    }
}

/// When offsets were appended here, by this broker's wall clock: what lag in seconds is computed
/// from (experience.md 4.3), since producers' timestamps may lie.
///
/// Invariant: offsets rise strictly, times never fall: a clock that steps back stands still here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppendTimes {
    base_offset: Offset,
    base_ms: i64,
    /// Offset delta; time delta in units of [`TIME_UNIT_MS`], rounded down.
    pairs: Vec<(u32, u32)>,
}

impl AppendTimes {
    /// Empty, for a segment that begins at `base_offset`.
    pub fn new(base_offset: Offset) -> AppendTimes {
        AppendTimes {
            base_offset,
            base_ms: 0,
            pairs: Vec::new(),
        }
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// A batch with this base offset was appended at `now_ms`. Noted unless the last pair is less
    /// than a second older.
    pub fn note(&mut self, base_offset: Offset, now_ms: i64) {
        let Ok(offset_delta) = u32::try_from(base_offset.0.saturating_sub(self.base_offset.0))
        else {
            return;
        };
        let Some(&(last_offset, last_time)) = self.pairs.last() else {
            self.base_ms = now_ms;
            self.pairs.push((offset_delta, 0));
            return;
        };
        let elapsed_ms = now_ms.saturating_sub(self.base_ms);
        let time = u32::try_from(elapsed_ms / TIME_UNIT_MS).unwrap_or(if elapsed_ms < 0 {
            0
        } else {
            u32::MAX
        });
        let step = (APPEND_TIME_STEP_MS / TIME_UNIT_MS) as u32;
        if offset_delta <= last_offset || time.saturating_sub(last_time) < step {
            return;
        }
        if self.pairs.len() == APPEND_TIMES_MAX {
            self.thin(time);
        }
        self.pairs.push((offset_delta, time));
    }

    /// Append time, milliseconds, of the record at `offset`: not later than the truth, and by at
    /// most a second earlier where pairs are dense. `None` if nothing is known that far back.
    pub fn append_time_ms(&self, offset: Offset) -> Option<i64> {
        let delta = offset.0.saturating_sub(self.base_offset.0);
        let above = self
            .pairs
            .partition_point(|(pair, _)| i64::from(*pair) <= delta);
        let (_, time) = self.pairs.get(above.checked_sub(1)?)?;
        Some(self.base_ms.saturating_add(i64::from(*time) * TIME_UNIT_MS))
    }

    /// The log was cut to end at `end`.
    pub fn truncate_to(&mut self, end: Offset) {
        let delta = end.0.saturating_sub(self.base_offset.0);
        let kept = self
            .pairs
            .partition_point(|(pair, _)| i64::from(*pair) < delta);
        self.pairs.truncate(kept);
    }

    /// Drops the pair that is missed least: the one whose neighbours lie closest together in
    /// proportion to its age. Never the first: it says how far back the column reaches.
    fn thin(&mut self, now: u32) {
        let cost = |at: usize| {
            let gap = u64::from(self.pairs[at + 1].1 - self.pairs[at - 1].1);
            (gap, u64::from(now.saturating_sub(self.pairs[at].1)).max(1))
        };
        let mut least = 1;
        for at in 2..self.pairs.len() - 1 {
            let ((gap, age), (least_gap, least_age)) = (cost(at), cost(least));
            if u128::from(gap) * u128::from(least_age) < u128::from(least_gap) * u128::from(age) {
                least = at;
            }
        }
        self.pairs.remove(least);
    }

    /// Bytes of [`AppendTimes::encode`].
    pub fn encoded_bytes(&self) -> usize {
        24 + self.pairs.len() * PAIR_BYTES
    }

    /// Appends the column: `docs/formats/segment.md`, section `append times`.
    pub fn encode(&self, out: &mut Writer) {
        out.u16_le(TIMES_VERSION)
            .u16_le(0)
            .u32_le(self.pairs.len() as u32);
        out.i64_le(self.base_offset.0).i64_le(self.base_ms);
        for (offset_delta, time) in &self.pairs {
            out.u32_le(*offset_delta).u32_le(*time);
        }
    }

    /// Reads what [`AppendTimes::encode`] wrote; all of `bytes` is the column.
    pub fn decode(bytes: &[u8]) -> Result<AppendTimes, FormatError> {
        let mut reader = Reader::new(bytes);
        let version = reader
            .u16_le()
            .map_err(|error| Reason::from(error).of(TIMES_FORMAT))?;
        check_version(TIMES_FORMAT, version, TIMES_VERSION)?;
        AppendTimes::decode_body(&mut reader).map_err(|reason| reason.of(TIMES_FORMAT))
    }

    fn decode_body(reader: &mut Reader<'_>) -> Result<AppendTimes, Reason> {
        let _flags = reader.u16_le()?;
        let count = reader.u32_le()? as usize;
        let base_offset = Offset(reader.i64_le()?);
        let base_ms = reader.i64_le()?;
        if base_offset.0 < 0 {
            return Err(Reason::Broken("negative base offset"));
        }
        if count > APPEND_TIMES_MAX || count * PAIR_BYTES != reader.left() {
            return Err(Reason::Broken("count does not agree with the length"));
        }
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(count);
        for _ in 0..count {
            let pair = (reader.u32_le()?, reader.u32_le()?);
            if pairs
                .last()
                .is_some_and(|last| last.0 >= pair.0 || last.1 > pair.1)
            {
                return Err(Reason::Broken("append times must rise"));
            }
            pairs.push(pair);
        }
        reader.finish()?;
        Ok(AppendTimes {
            base_offset,
            base_ms,
            pairs,
        })
    }
}

#[cfg(test)]
mod tests;

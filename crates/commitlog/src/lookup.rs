//! Looking for offsets by time (rules M1, M2): the sparse index names a range, the batches' headers
//! name a batch, its records name the offset. Only that one batch is decompressed.

use std::sync::Arc;

use wire::batch::BatchView;
use wire::ids::{LeaderEpoch, Offset};
use wire::record::BatchRecords;

use crate::batch_head::{BATCH_HEADER_BYTES, BatchHead};
use crate::errors::ReadError;
use crate::index::{Range, SparseIndex};
use crate::partition::{Partition, State};
use crate::reader::{PLANS_MAX, ReadBound};
use crate::segment::scan_batches;

/// The most that one batch may decompress to.
const DECOMPRESSED_MAX: usize = wire::compress::BATCH_DECOMPRESSED_BYTES_MAX;

/// Batches without records that a look for the next record passes over.
const BATCHES_LOOKED_AT_MAX: usize = 10_000;

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// The record's own offset.
    pub offset: Offset,
    /// Its timestamp, milliseconds.
    pub timestamp_ms: i64,
    /// The epoch it was written in.
    pub leader_epoch: LeaderEpoch,
}

/// A segment to look into.
#[derive(Clone, Copy)]
struct Candidate {
    base: i64,
    max_timestamp: i64,
    active: bool,
}

/// A segment's index, of the file of this revision.
#[derive(Clone)]
struct Indexed {
    base: i64,
    revision: u32,
    index: Arc<SparseIndex>,
    limit: u64,
}

/// Looks again where compaction put other segments in place of those that were found.
fn again_if_moved<T>(look: impl Fn() -> Result<T, ReadError>) -> Result<T, ReadError> {
    for _ in 0..PLANS_MAX {
        match look() {
            Err(error) if error.is_moved() => {}
            done => return done,
        }
    }
    look()
}

impl Partition {
    /// The first record at or after the log start whose timestamp is at or above `target_ms`, below
    /// the end (rule M2); the caller compares it with what may be read. `None`: there is none.
    pub fn offset_for_timestamp(
        &self,
        target_ms: i64,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        again_if_moved(|| self.try_offset_for_timestamp(target_ms))
    }

    fn try_offset_for_timestamp(
        &self,
        target_ms: i64,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let (start, end, candidates) = self.state().candidates();
        for candidate in candidates {
            if candidate.max_timestamp < target_ms && !candidate.active {
                continue;
            }
            let Some(indexed) = self.index_of(candidate)? else {
                continue;
            };
            let index = &indexed.index;
            let mut range = index.find_timestamp(target_ms, Offset(start));
            while let Some(found) = range {
                let record = self.search(
                    &indexed,
                    &found,
                    |head| head.max_timestamp >= target_ms && head.end() > start,
                    |offset, timestamp| timestamp >= target_ms && offset >= start && offset < end,
                )?;
                if record.is_some() {
                    return Ok(record);
                }
                range = index
                    .range_at(found.end_position)
                    .and_then(|next| index.find_timestamp(target_ms, next.first_offset));
            }
        }
        Ok(None)
    }

    /// The first record with the highest timestamp of the log (rule M1, −3).
    pub fn offset_of_max_timestamp(&self) -> Result<Option<TimestampedOffset>, ReadError> {
        again_if_moved(|| self.try_offset_of_max_timestamp())
    }

    fn try_offset_of_max_timestamp(&self) -> Result<Option<TimestampedOffset>, ReadError> {
        let (start, end, candidates) = self.state().candidates();
        let mut best: Option<(i64, Indexed, Range)> = None;
        for candidate in candidates {
            let known = best.as_ref().map(|(highest, ..)| *highest);
            if known.is_some_and(|known| known >= candidate.max_timestamp) {
                continue;
            }
            let Some(indexed) = self.index_of(candidate)? else {
                continue;
            };
            let mut ranges = indexed.index.ranges().peekable();
            while let Some(range) = ranges.next() {
                let behind = ranges.peek().map_or(i64::MAX, |next| next.first_offset.0);
                let known = best.as_ref().map(|(highest, ..)| *highest);
                if behind <= start || known.is_some_and(|known| known >= range.max_timestamp_ms) {
                    continue;
                }
                let mut highest = range.max_timestamp_ms;
                if range.first_offset.0 < start {
                    // Part of it lies below the log start: what is left must be looked at.
                    match self.highest_from(&indexed, &range, start)? {
                        Some(left) => highest = left,
                        None => continue,
                    }
                }
                if known.is_none_or(|known| highest > known) {
                    best = Some((highest, indexed.clone(), range));
                }
            }
        }
        let Some((highest, indexed, range)) = best else {
            return Ok(None);
        };
        self.search(
            &indexed,
            &range,
            |head| head.max_timestamp >= highest && head.end() > start,
            |offset, timestamp| timestamp >= highest && offset >= start && offset < end,
        )
    }

    /// The highest timestamp of a range's records at or above `start`.
    fn highest_from(
        &self,
        indexed: &Indexed,
        range: &Range,
        start: i64,
    ) -> Result<Option<i64>, ReadError> {
        let highest = std::cell::Cell::new(None);
        let look = |offset: i64, timestamp: i64| {
            if offset >= start {
                highest.set(highest.get().max(Some(timestamp)));
            }
            false
        };
        self.search(indexed, range, |head| head.end() > start, look)?;
        Ok(highest.get())
    }

    /// The first record at or after `from` that may be read: not a marker, and not what compaction
    /// took away. `None`: nothing is left to read. Headers decide, but for a batch that `from` lies
    /// inside of and of which records are gone.
    pub fn first_record_from(
        &self,
        from: Offset,
        bound: ReadBound,
    ) -> Result<Option<Offset>, ReadError> {
        let mut at = from;
        for _ in 0..BATCHES_LOOKED_AT_MAX {
            let slice = self.read(at, 1, true, bound)?;
            let Some(file) = slice.file else {
                return Ok(None);
            };
            let mut head = [0; BATCH_HEADER_BYTES];
            let read = file.file.read_at(&mut head, file.position)?;
            let Some(head) = BatchHead::parse(&head[..read]) else {
                return Ok(Some(at.max(slice.first_offset)));
            };
            if !head.is_control() && head.records > 0 {
                let whole = head.records == head.last_offset_delta.saturating_add(1);
                if whole || head.base_offset >= at.0 {
                    return Ok(Some(Offset(head.base_offset.max(at.0))));
                }
                let mut bytes = vec![0; head.bytes as usize];
                let read = file.file.read_at(&mut bytes, file.position)?;
                let from = at.0;
                let found = first_match(&head, &bytes[..read], &|offset, _| offset >= from);
                if let Some(found) = found {
                    return Ok(Some(found.offset));
                }
            }
            at = Offset(head.end());
        }
        // Nobody waits for the end of so long a row of markers.
        Ok(Some(at))
    }

    /// When the record at `offset` was appended here, by this node's clock, to within about a
    /// second; `None` if that is not known any more.
    pub fn append_time_ms(&self, offset: Offset) -> Option<i64> {
        again_if_moved(|| self.try_append_time_ms(offset)).ok()?
    }

    fn try_append_time_ms(&self, offset: Offset) -> Result<Option<i64>, ReadError> {
        let mut state = self.state();
        let in_active = offset.0 >= state.active.base;
        let live = state.touch(self).map_err(|_| ReadError::Closed)?;
        if in_active {
            return Ok(live.parts.times.append_time_ms(offset));
        }
        let at = state
            .sealed
            .partition_point(|segment| segment.end() <= offset.0);
        let Some(record) = state.sealed.get(at).map(|segment| segment.record) else {
            return Ok(None);
        };
        drop(state);
        let file = self
            .shared
            .open_segment(self.id(), record.base.0, record.revision)?;
        let sealed = crate::segment::read_footer(&*file, &record)?;
        Ok(sealed.and_then(|sealed| sealed.parts.times.append_time_ms(offset)))
    }

    /// `None`: nothing of it can be read yet.
    fn index_of(&self, candidate: Candidate) -> Result<Option<Indexed>, ReadError> {
        if candidate.active {
            let mut state = self.state();
            let limit = if state.gathered.segment == candidate.base {
                state.gathered.position
            } else if state.active.base == candidate.base {
                return Ok(None);
            } else {
                state.end.position
            };
            if state.active.base == candidate.base {
                let live = state.touch(self).map_err(|_| ReadError::Closed)?;
                let index = Arc::new(live.parts.index.clone());
                return Ok(Some(Indexed {
                    base: candidate.base,
                    revision: state.active.revision,
                    index,
                    limit,
                }));
            }
        }
        let (index, revision) = self
            .sealed_index(candidate.base)?
            .ok_or(ReadError::moved())?;
        Ok(Some(Indexed {
            base: candidate.base,
            revision,
            limit: u64::from(index.end_position()),
            index,
        }))
    }

    /// The first record of the first batch in a range that is wanted.
    fn search(
        &self,
        indexed: &Indexed,
        range: &Range,
        wanted: impl Fn(&BatchHead) -> bool,
        matches: impl Fn(i64, i64) -> bool,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let file = self
            .shared
            .open_segment(self.id(), indexed.base, indexed.revision)?;
        let to = u64::from(range.end_position).min(indexed.limit);
        let mut found = None;
        let (from, end) = (u64::from(range.position), Offset(i64::MAX));
        scan_batches(&*file, from, to, end, |head, _, bytes| {
            if wanted(head) {
                found = first_match(head, bytes, &matches);
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }
}

/// The first record of a batch that matches. Where the records cannot be read, the batch stands for
/// them: its first offset and its highest timestamp.
fn first_match(
    head: &BatchHead,
    bytes: &[u8],
    matches: &impl Fn(i64, i64) -> bool,
) -> Option<TimestampedOffset> {
    let at = |offset, timestamp_ms| TimestampedOffset {
        offset: Offset(offset),
        timestamp_ms,
        leader_epoch: LeaderEpoch(head.leader_epoch),
    };
    let view = BatchView::whole(bytes).ok()?;
    let whole = || {
        Some(at(head.base_offset, head.max_timestamp))
            .filter(|found| matches(found.offset.0, found.timestamp_ms))
    };
    let Ok(records) = BatchRecords::open(&view, DECOMPRESSED_MAX) else {
        return whole();
    };
    for record in &records {
        match record {
            Ok(record) if matches(record.offset.0, record.timestamp) => {
                return Some(at(record.offset.0, record.timestamp));
            }
            Ok(_) => {}
            Err(_) => return whole(),
        }
    }
    None
}

impl State {
    fn candidates(&self) -> (i64, i64, Vec<Candidate>) {
        let sealed = self.sealed.iter().map(|segment| Candidate {
            base: segment.base(),
            max_timestamp: segment.record.max_timestamp_ms,
            active: false,
        });
        let active = Candidate {
            base: self.active.base,
            max_timestamp: self.active.max_timestamp,
            active: true,
        };
        (
            self.log_start,
            self.end.offset,
            sealed.chain([active]).collect(),
        )
    }
}

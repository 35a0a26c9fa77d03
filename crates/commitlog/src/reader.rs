//! Reading: an offset and a limit become a range of a segment file, whole batches only.
//!
//! The plan is made under the partition's lock; the file is looked at without it. A range never
//! reaches beyond what is gathered and, for consumers, below the watermark; nor beyond the end of
//! data of a sealed segment, where its footer begins.
//!
//! Compaction may put another file in place of the one that was planned for, and remove the old name
//! before it is opened: then the plan is made again. It also leaves holes: what is not in its own
//! segment any more is followed by the next one.

use std::sync::Arc;

use wire::ids::Offset;
use world::File;
use world::disk::FileSlice;

use crate::batch_head::{BATCH_HEADER_BYTES, BatchHead};
use crate::errors::ReadError;
use crate::index::SparseIndex;
use crate::partition::{Mark, Partition, State};
use crate::producers::Producers;
use crate::segment::read_footer;
use crate::tail::scan_sealed;

/// How far a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBound {
    /// Below the high watermark: consumers.
    HighWatermark,
    /// Below the last stable offset: `read_committed` consumers.
    LastStable,
    /// Everything readable, durable or not: followers (storage.md section 3).
    LogEnd,
}

/// What a read found.
#[derive(Clone)]
pub struct ReadSlice {
    /// Whole batches; `None` if there is nothing to read. Holds the file open.
    pub file: Option<FileSlice>,
    /// Base offset of the first batch: at or below the offset asked for (rule F1).
    pub first_offset: Offset,
    /// Where the next read goes on; behind a hole, also if there is nothing to read.
    pub next_offset: Offset,
    /// High watermark at the time of the read.
    pub high_watermark: Offset,
    /// Last stable offset at the time of the read.
    pub last_stable: Offset,
    /// Log start at the time of the read.
    pub log_start: Offset,
}

/// How often a plan may be overtaken by compaction before the read gives up: a pass takes longer than
/// many reads.
pub(crate) const PLANS_MAX: usize = 16;

/// Where to look, as decided under the lock.
struct Plan {
    segment: i64,
    revision: u32,
    /// A batch begins here, at or before the one that is wanted.
    from: u64,
    /// Its offset, or what a batch before it ended with.
    before: i64,
    /// Data ends here, with this offset; the position may be unknown.
    limit_offset: i64,
    /// The segment holds nothing at or beyond this offset.
    segment_end: i64,
    limit: Option<u64>,
    /// Nothing beyond this may be looked at.
    data_end: u64,
    /// The index, of a sealed segment.
    index: Option<Arc<SparseIndex>>,
}

impl Partition {
    /// Finds the batches from the one that contains `from`, up to `bytes_max` bytes of them. The
    /// first batch is returned even if it is larger, if `at_least_one` (rule F2).
    pub fn read(
        &self,
        from: Offset,
        bytes_max: u32,
        at_least_one: bool,
        bound: ReadBound,
    ) -> Result<ReadSlice, ReadError> {
        let mut slice = ReadSlice {
            file: None,
            first_offset: from,
            next_offset: from,
            high_watermark: from,
            last_stable: from,
            log_start: from,
        };
        let mut at = from;
        let mut plans = 0;
        loop {
            let Some(plan) = self.plan(at, bound, &mut slice)? else {
                slice.next_offset = at;
                return Ok(slice);
            };
            match self.read_planned(&plan, at, bytes_max, at_least_one, &mut slice) {
                // A hole up to the end of the segment: what follows lies in the next one.
                Ok(true) => at = Offset(plan.segment_end),
                Ok(false) => return Ok(slice),
                Err(error) if error.is_moved() && plans < PLANS_MAX => plans += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads as planned, into `slice`; `true` if the segment has nothing at or above `from`.
    fn read_planned(
        &self,
        plan: &Plan,
        from: Offset,
        bytes_max: u32,
        at_least_one: bool,
        slice: &mut ReadSlice,
    ) -> Result<bool, ReadError> {
        let file = self
            .shared
            .open_segment(self.id(), plan.segment, plan.revision)?;
        let mut walk = Walk {
            file: &*file,
            at: plan.from,
            end: plan.data_end,
            chunk: Chunk::new(),
        };
        let mut before = plan.before;
        // No checksum of Kafka's covers a base offset.
        let misplaced = |head: &BatchHead| {
            Err(ReadError::Corrupt {
                offset: from,
                reason: format!("a batch that says it begins at {}", head.base_offset),
            })
        };
        let first = loop {
            match walk.next(from)? {
                Some(head) if head.base_offset < before || head.end() > plan.segment_end => {
                    return misplaced(&head);
                }
                Some(head) if head.end() > from.0 => {
                    // A hole, or it stands before its place: then what follows does not.
                    if head.base_offset > before && walk.overlaps_next(&head) {
                        return misplaced(&head);
                    }
                    break head;
                }
                Some(head) => before = head.end(),
                // So is a hole up to the segment's end; not what was not gathered yet.
                None => return Ok(plan.index.is_some() && plan.limit_offset == plan.segment_end),
            }
        };
        if first.base_offset >= plan.limit_offset {
            return Ok(false);
        }
        let start = walk.at - u64::from(first.bytes);
        let room = u64::from(bytes_max);
        if u64::from(first.bytes) > room && !at_least_one {
            return Ok(false);
        }
        // The batch that is asked for, then as many as fit and are allowed.
        let (mut end, mut next) = (walk.at, first.end());
        if let Some(limit) = plan.limit.filter(|limit| limit - start <= room) {
            (end, next) = (limit, plan.limit_offset);
        } else {
            let limit = plan.limit.unwrap_or(plan.data_end);
            let indexed = plan.index_boundary(self, start + room);
            if let Some((offset, position)) = indexed
                && position > end
                && position <= limit
                && offset <= plan.limit_offset
            {
                (end, next) = (position, offset);
            } else {
                while let Some(head) = walk.next(from)? {
                    if walk.at - start > room || head.end() > plan.limit_offset {
                        break;
                    }
                    (end, next) = (walk.at, head.end());
                }
            }
        }
        // Of the last batch only the header was looked at, and an answer that runs short in the
        // middle of being sent costs the whole connection.
        if file.len()? < end {
            return Err(ReadError::Corrupt {
                offset: from,
                reason: format!("segment {} was cut before position {end}", plan.segment),
            });
        }
        let mut state = self.state();
        let same = state.revision_of(plan.segment) == plan.revision;
        if same {
            state.damage_in(plan.segment, start, end)?;
        }
        if let Some(live) = state.live.as_mut().filter(|_| same) {
            live.read_hint = Mark {
                offset: next,
                segment: plan.segment,
                position: end,
            };
        }
        drop(state);
        slice.first_offset = Offset(first.base_offset);
        slice.next_offset = Offset(next);
        slice.file = Some(FileSlice {
            file: Arc::clone(&file),
            position: start,
            length: end - start,
        });
        Ok(false)
    }

    /// Where to look; `None` if there is nothing to read. A sealed segment's index is read in first,
    /// under no lock.
    fn plan(
        &self,
        from: Offset,
        bound: ReadBound,
        slice: &mut ReadSlice,
    ) -> Result<Option<Plan>, ReadError> {
        for _ in 0..PLANS_MAX {
            match self.try_plan(from, bound, slice) {
                Err(error) if error.is_moved() => {}
                done => return done,
            }
        }
        Err(ReadError::moved())
    }

    fn try_plan(
        &self,
        from: Offset,
        bound: ReadBound,
        slice: &mut ReadSlice,
    ) -> Result<Option<Plan>, ReadError> {
        let mut state = self.state();
        state.touch(self).map_err(|error| match error {
            crate::LogError::Disk(error) => ReadError::Disk(error),
            crate::LogError::Corrupt(reason) => ReadError::Corrupt {
                offset: from,
                reason,
            },
            _ => ReadError::Closed,
        })?;
        slice.high_watermark = Offset(state.high_watermark);
        slice.last_stable = Offset(state.last_stable());
        slice.log_start = Offset(state.log_start);
        let Some(segment) = state.segment_for(from.0, bound)? else {
            return Ok(None);
        };
        if segment == state.active.base {
            return Ok(state.plan(from.0, bound, None));
        }
        drop(state);
        // It may be cut away, trimmed or compacted meanwhile: then it is looked for again.
        let found = self.sealed_index(segment)?;
        let (index, revision) = found.ok_or(ReadError::moved())?;
        let state = self.state();
        if state.revision_of(segment) != revision {
            return Err(ReadError::moved());
        }
        Ok(state.plan(from.0, bound, Some((segment, index))))
    }

    /// The index of a sealed segment and the revision of the file it is of, from memory or from the
    /// footer; `None` if there is no such segment.
    pub(crate) fn sealed_index(
        &self,
        base: i64,
    ) -> Result<Option<(Arc<SparseIndex>, u32)>, ReadError> {
        let state = self.state();
        let Ok(at) = state
            .sealed
            .binary_search_by_key(&base, |sealed| sealed.base())
        else {
            return Ok(None);
        };
        let record = state.sealed[at].record;
        if let Some(index) = &state.sealed[at].index {
            return Ok(Some((Arc::clone(index), record.revision)));
        }
        drop(state);
        let file = self.shared.open_segment(self.id(), base, record.revision)?;
        let index = match read_footer(&*file, &record)? {
            Some(sealed) => sealed.parts.index,
            None => {
                tracing::warn!(partition = %self.key(), base, "footer damaged: scanning the segment");
                let mut producers = Producers::new(record.base);
                scan_sealed(self, &record, record.data_bytes, &mut producers)?
                    .1
                    .index
            }
        };
        let index = Arc::new(index);
        let mut state = self.state();
        if let Ok(at) = state
            .sealed
            .binary_search_by_key(&base, |sealed| sealed.base())
            && state.sealed[at].record.revision == record.revision
        {
            state.sealed[at].index = Some(Arc::clone(&index));
        }
        Ok(Some((index, record.revision)))
    }
}

impl Plan {
    /// Where the index says that a batch begins, at or before `position`.
    fn index_boundary(&self, partition: &Partition, position: u64) -> Option<(i64, u64)> {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let boundary = |index: &SparseIndex| {
            let range = index.range_at(position)?;
            Some((range.first_offset.0, u64::from(range.position)))
        };
        match &self.index {
            Some(index) => boundary(index),
            None => {
                let state = partition.state();
                let live = state
                    .live
                    .as_ref()
                    .filter(|_| state.active.base == self.segment)?;
                boundary(&live.parts.index)
            }
        }
    }
}

impl State {
    /// The segment that holds `from`, if anything can be read there.
    fn segment_for(&self, from: i64, bound: ReadBound) -> Result<Option<i64>, ReadError> {
        if self.gone {
            return Err(ReadError::Closed);
        }
        if from < self.log_start || from > self.end.offset {
            return Err(ReadError::OutOfRange {
                offset: Offset(from),
                log_start: Offset(self.log_start),
                end: Offset(self.end.offset),
            });
        }
        if from >= self.bound(bound) {
            return Ok(None);
        }
        let at = self.sealed.partition_point(|segment| segment.end() <= from);
        Ok(Some(
            self.sealed
                .get(at)
                .map_or(self.active.base, |segment| segment.base()),
        ))
    }

    fn bound(&self, bound: ReadBound) -> i64 {
        let bound = match bound {
            ReadBound::HighWatermark => self.high_watermark,
            ReadBound::LastStable => self.last_stable(),
            ReadBound::LogEnd => self.end.offset,
        };
        bound.min(self.gathered.offset)
    }

    fn plan(
        &self,
        from: i64,
        bound: ReadBound,
        index: Option<(i64, Arc<SparseIndex>)>,
    ) -> Option<Plan> {
        let bound = self.bound(bound);
        if from >= bound {
            return None;
        }
        let (segment, data_end, segment_end, range, index) = match index {
            Some((base, index)) => {
                let at = self
                    .sealed
                    .binary_search_by_key(&base, |sealed| sealed.base())
                    .ok()?;
                let sealed = &self.sealed[at];
                let range = index.find_offset(Offset(from));
                (
                    base,
                    sealed.record.data_bytes,
                    sealed.end(),
                    range,
                    Some(index),
                )
            }
            None => {
                let live = self.live.as_ref()?;
                let range = live.parts.index.find_offset(Offset(from));
                (
                    self.active.base,
                    self.end.position,
                    self.end.offset,
                    range,
                    None,
                )
            }
        };
        // The gather may be behind the bookkeeping, in this segment.
        let here = self.gathered.segment == segment;
        let data_end = if here {
            self.gathered.position
        } else {
            data_end
        };
        let limit_offset = bound.min(segment_end);
        let limit = if limit_offset == segment_end && !here {
            Some(data_end)
        } else {
            [self.completed, self.gathered, self.end]
                .iter()
                .find(|mark| mark.offset == limit_offset && mark.segment == segment)
                .map(|mark| mark.position)
        };
        let hint = self
            .live
            .as_ref()
            .map(|live| live.read_hint)
            .unwrap_or_default();
        let hinted = hint.offset == from && hint.segment == segment && hint.position < data_end;
        let (from, before) = match range {
            _ if hinted => (hint.position, from),
            Some(range) => (u64::from(range.position), range.first_offset.0),
            None => (0, segment),
        };
        let revision = self.revision_of(segment);
        Some(Plan {
            segment,
            revision,
            from,
            before,
            limit_offset,
            segment_end,
            limit,
            data_end,
            index,
        })
    }
}

/// Bytes of a file around the place that is looked at, so that small batches cost no read each.
pub(crate) struct Chunk {
    bytes: [u8; 8192],
    position: u64,
    length: usize,
}

impl Chunk {
    pub fn new() -> Chunk {
        Chunk {
            bytes: [0; 8192],
            position: 0,
            length: 0,
        }
    }
}

/// Walks over batch headers.
pub(crate) struct Walk<'a> {
    pub file: &'a dyn File,
    pub at: u64,
    pub end: u64,
    pub chunk: Chunk,
}

impl Walk<'_> {
    /// Whether the batch behind `head`, which it just gave, begins before that one ends.
    fn overlaps_next(&self, head: &BatchHead) -> bool {
        let mut ahead = Walk {
            file: self.file,
            at: self.at,
            end: self.end,
            chunk: Chunk::new(),
        };
        matches!(ahead.next(Offset::NONE), Ok(Some(next)) if next.base_offset < head.end())
    }

    /// The header of the batch at `at`, which then moves behind it; `None` at the end of data.
    pub fn next(&mut self, wanted: Offset) -> Result<Option<BatchHead>, ReadError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let chunk = &mut self.chunk;
        let inside = self.at >= chunk.position
            && self.at + BATCH_HEADER_BYTES as u64 <= chunk.position + chunk.length as u64;
        if !inside {
            let length = (self.end - self.at).min(chunk.bytes.len() as u64) as usize;
            chunk.length = self.file.read_at(&mut chunk.bytes[..length], self.at)?;
            chunk.position = self.at;
        }
        let from = (self.at - chunk.position) as usize;
        let head = chunk.bytes[..chunk.length]
            .get(from..)
            .and_then(BatchHead::parse);
        let corrupt = |reason: &str| ReadError::Corrupt {
            offset: wanted,
            reason: format!("{reason} at position {}", self.at),
        };
        let Some(head) = head else {
            return Err(corrupt("no batch header"));
        };
        if self.at + u64::from(head.bytes) > self.end {
            return Err(corrupt("a batch that leads beyond the end of data"));
        }
        self.at += u64::from(head.bytes);
        Ok(Some(head))
    }
}

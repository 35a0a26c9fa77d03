//! Reading: an offset and a limit become a range of a segment file, whole batches only.
//!
//! The plan is made under the partition's lock; the file is looked at without it. A range never
//! reaches beyond what is gathered and, for consumers, below the watermark; nor beyond the end of
//! data of a sealed segment, where its footer begins.

use std::sync::Arc;

use wire::ids::Offset;
use world::File;
use world::disk::FileSlice;

use crate::batch_head::{BATCH_HEADER_BYTES, BatchHead};
use crate::errors::ReadError;
use crate::partition::{Mark, Partition, State};

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
    /// Where the next read goes on.
    pub next_offset: Offset,
    /// High watermark at the time of the read.
    pub high_watermark: Offset,
    /// Last stable offset at the time of the read.
    pub last_stable: Offset,
    /// Log start at the time of the read.
    pub log_start: Offset,
}

/// Where to look, as decided under the lock.
struct Plan {
    segment: i64,
    /// A batch begins here, with this offset.
    from: (i64, u64),
    /// Data ends here, with this offset; the position may be unknown.
    limit_offset: i64,
    limit: Option<u64>,
    /// Nothing beyond this may be looked at.
    data_end: u64,
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
        let state = self.state();
        let mut slice = ReadSlice {
            file: None,
            first_offset: from,
            next_offset: from,
            high_watermark: Offset(state.high_watermark),
            last_stable: Offset(state.last_stable()),
            log_start: Offset(state.log_start),
        };
        let Some(plan) = state.plan(from.0, bound)? else {
            return Ok(slice);
        };
        drop(state);

        let file = self.shared.open_segment(self.id(), plan.segment)?;
        let mut walk = Walk {
            file: &*file,
            at: plan.from.1,
            end: plan.data_end,
            chunk: Chunk::new(),
        };
        let mut first = None;
        while let Some(head) = walk.next(from)? {
            if head.end() > from.0 {
                first = Some(head);
                break;
            }
        }
        let Some(first) = first.filter(|first| first.base_offset < plan.limit_offset) else {
            return Ok(slice);
        };
        let start = walk.at - u64::from(first.bytes);
        let room = u64::from(bytes_max);
        if u64::from(first.bytes) > room && !at_least_one {
            return Ok(slice);
        }
        // The batch that is asked for, then as many as fit and are allowed.
        let (mut end, mut next) = (walk.at, first.end());
        if let Some(limit) = plan.limit.filter(|limit| limit - start <= room) {
            (end, next) = (limit, plan.limit_offset);
        } else {
            let indexed = self.state().indexed_below(plan.segment, start + room);
            let limit = plan.limit.unwrap_or(plan.data_end);
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
        slice.first_offset = Offset(first.base_offset);
        slice.next_offset = Offset(next);
        slice.file = Some(FileSlice {
            file: Arc::clone(&file),
            position: start,
            length: end - start,
        });
        let mut state = self.state();
        state.read_hint = (
            next,
            Mark {
                offset: next,
                segment: plan.segment,
                position: end,
            },
        );
        Ok(slice)
    }
}

impl State {
    fn plan(&self, from: i64, bound: ReadBound) -> Result<Option<Plan>, ReadError> {
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
        let bound = match bound {
            ReadBound::HighWatermark => self.high_watermark,
            ReadBound::LastStable => self.last_stable(),
            ReadBound::LogEnd => self.end.offset,
        };
        let bound = bound.min(self.gathered.offset);
        if from >= bound {
            return Ok(None);
        }
        let (segment, data_end, segment_end, floor) =
            match self.sealed.partition_point(|segment| segment.end <= from) {
                at if at < self.sealed.len() => {
                    let segment = &self.sealed[at];
                    (
                        segment.base,
                        segment.bytes,
                        segment.end,
                        segment.floor(from),
                    )
                }
                _ => {
                    let active = &self.active;
                    (
                        active.base,
                        self.end.position,
                        self.end.offset,
                        active.floor(from),
                    )
                }
            };
        // The gather may be behind the bookkeeping, in this segment.
        let data_end = if self.gathered.segment == segment {
            self.gathered.position
        } else {
            data_end
        };
        let limit_offset = bound.min(segment_end);
        let known = [self.completed, self.gathered, self.end];
        let limit = if limit_offset == segment_end && self.gathered.segment != segment {
            Some(data_end)
        } else {
            known
                .iter()
                .find(|mark| mark.offset == limit_offset && mark.segment == segment)
                .map(|mark| mark.position)
        };
        let (hint_offset, hint) = self.read_hint;
        let from = if hint_offset == from && hint.segment == segment && hint.position <= data_end {
            (hint.offset, hint.position)
        } else {
            floor
        };
        Ok(Some(Plan {
            segment,
            from,
            limit_offset,
            limit,
            data_end,
        }))
    }

    fn indexed_below(&self, segment: i64, position: u64) -> Option<(i64, u64)> {
        if self.active.base == segment {
            return self.active.floor_position(position);
        }
        let at = self
            .sealed
            .binary_search_by_key(&segment, |sealed| sealed.base)
            .ok()?;
        self.sealed[at].floor_position(position)
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

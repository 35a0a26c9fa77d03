//! Scrub: sealed segments are read in the background against the checksums of their footers.
//!
//! `sendfile` does not look at the bytes, and rot below a batch's own CRC (offset, length, epoch) is
//! seen by nobody else. A damaged range is remembered and never served as good.

use std::sync::Arc;
use std::time::Duration;

use stdx::crc32c;
use wire::ids::Offset;
use world::disk::Advice;
use world::{Next, Worker};

use crate::errors::ReadError;
use crate::partition::Partition;
use crate::store::Shared;

/// Time between two passes over everything.
const PASS_EVERY: Duration = Duration::from_secs(7 * 24 * 3600);
const START_AFTER: Duration = Duration::from_secs(60);

/// The scrub's loop: a step reads one range.
pub(crate) struct ScrubLoop {
    shared: Arc<Shared>,
    left: Vec<(Arc<Partition>, i64)>,
    position: u32,
    began: bool,
}

impl ScrubLoop {
    pub fn new(shared: Arc<Shared>) -> ScrubLoop {
        ScrubLoop {
            shared,
            left: Vec::new(),
            position: 0,
            began: false,
        }
    }
}

impl Worker for ScrubLoop {
    fn step(&mut self) -> Next {
        let rate = self.shared.config.scrub_bytes_per_second;
        if self.shared.is_closing() {
            return Next::Done;
        }
        if rate == 0 {
            return Next::WaitFor(PASS_EVERY);
        }
        if self.left.is_empty() {
            if !std::mem::replace(&mut self.began, true) {
                return Next::WaitFor(START_AFTER);
            }
            self.left = self.shared.sealed_segments();
        }
        let Some((partition, base)) = self.left.last() else {
            return Next::WaitFor(PASS_EVERY);
        };
        let read = match self.shared.scrub_range(partition, *base, self.position) {
            Ok(Some((end, bytes, _))) => {
                self.position = end;
                bytes
            }
            Ok(None) | Err(_) => {
                self.left.pop();
                self.position = 0;
                0
            }
        };
        Next::WaitFor(Duration::from_nanos(
            read.saturating_mul(1_000_000_000) / rate,
        ))
    }
}

impl Shared {
    fn sealed_segments(&self) -> Vec<(Arc<Partition>, i64)> {
        let mut segments = Vec::new();
        for partition in self.all_partitions() {
            let bases: Vec<i64> = partition
                .state()
                .sealed
                .iter()
                .map(|segment| segment.base())
                .collect();
            segments.extend(bases.into_iter().map(|base| (Arc::clone(&partition), base)));
        }
        segments
    }

    /// Reads everything at once; how many ranges are damaged.
    pub fn scrub_all(&self) -> u64 {
        let mut damaged = 0;
        for (partition, base) in self.sealed_segments() {
            let mut position = 0;
            while let Ok(Some((end, _, good))) = self.scrub_range(&partition, base, position) {
                damaged += u64::from(!good);
                position = end;
            }
        }
        damaged
    }

    /// Checks the range at `position`; its end, the bytes read and whether they are good. `None`
    /// behind the last range, or if the segment is gone.
    fn scrub_range(
        &self,
        partition: &Arc<Partition>,
        base: i64,
        position: u32,
    ) -> Result<Option<(u32, u64, bool)>, ReadError> {
        let Some((index, revision)) = partition.sealed_index(base)? else {
            return Ok(None);
        };
        let Some(range) = index.range_at(position) else {
            return Ok(None);
        };
        let file = self.open_segment(partition.id(), base, revision)?;
        let length = u64::from(range.end_position - range.position);
        let mut bytes = vec![0; length as usize];
        let read = file.read_at(&mut bytes, u64::from(range.position))?;
        let good = read == bytes.len() && crc32c(&bytes) == range.crc;
        self.metrics.scrubbed_bytes.add(length);
        if !good {
            self.metrics.scrub_damage.add(1);
            tracing::error!(partition = %partition.key(), base, position = range.position, offset = %range.first_offset, "segment damaged: the range is not served");
            let mut state = partition.state();
            if state.revision_of(base) == revision {
                state.mark_bad(base, range.position, range.end_position);
            }
        }
        // Not worth a place in the cache.
        drop(file.advise(u64::from(range.position), length, Advice::DontNeed));
        Ok(Some((range.end_position, length, good)))
    }
}

impl crate::partition::State {
    fn mark_bad(&mut self, base: i64, from: u32, to: u32) {
        let found = self
            .sealed
            .iter_mut()
            .find(|segment| segment.base() == base);
        if let Some(segment) = found.filter(|segment| !segment.bad.contains(&(from, to))) {
            segment.bad.push((from, to));
        }
    }

    /// Whether a known damaged range overlaps `[from, to)` of a segment.
    pub fn damage_in(&self, base: i64, from: u64, to: u64) -> Result<(), ReadError> {
        let found = self.sealed.iter().find(|segment| segment.base() == base);
        let bad = found.and_then(|segment| {
            segment
                .bad
                .iter()
                .find(|(start, end)| u64::from(*start) < to && u64::from(*end) > from)
        });
        match bad {
            None => Ok(()),
            Some((start, end)) => Err(ReadError::Corrupt {
                offset: Offset(base),
                reason: format!("bytes {start} to {end} of the segment at {base} are damaged"),
            }),
        }
    }
}

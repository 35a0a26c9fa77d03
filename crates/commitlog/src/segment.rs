//! Segments of one partition: what is known of the active one and of those before it.

use crate::ids::PartitionId;

/// Path of a segment's file: 256 shard directories, so that none grows long.
pub(crate) fn segment_path(id: PartitionId, base: i64) -> String {
    format!("seg/{:02x}/{}-{base:020}.seg", id.0 % 256, id.0)
}

/// Directory of a partition's segments.
pub(crate) fn segment_dir(id: PartitionId) -> String {
    format!("seg/{:02x}", id.0 % 256)
}

const INDEX_INTERVAL_BYTES: u64 = 64 * 1024;

/// The segment that appends go to.
pub(crate) struct ActiveSegment {
    pub base: i64,
    pub first_append_ms: i64,
    pub max_timestamp: i64,
    index: Vec<(i64, u64)>,
}

impl ActiveSegment {
    pub fn new(base: i64) -> ActiveSegment {
        ActiveSegment {
            base,
            first_append_ms: 0,
            max_timestamp: -1,
            index: Vec::new(),
        }
    }

    /// A batch was appended at `position`.
    pub fn note(
        &mut self,
        _batch: &[u8],
        offset: i64,
        position: u64,
        max_timestamp: i64,
        now_ms: i64,
    ) {
        if position == 0 {
            self.first_append_ms = now_ms;
        }
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
        let due = self
            .index
            .last()
            .is_none_or(|(_, last)| position - last >= INDEX_INTERVAL_BYTES);
        if due {
            self.index.push((offset, position));
        }
    }

    pub fn seal(self, end: i64, bytes: u64) -> SealedSegment {
        SealedSegment {
            base: self.base,
            end,
            bytes,
            max_timestamp: self.max_timestamp,
            index: self.index,
        }
    }

    pub fn floor(&self, offset: i64) -> (i64, u64) {
        floor(&self.index, offset).unwrap_or((self.base, 0))
    }

    /// The last indexed batch that begins at or before `position`.
    pub fn floor_position(&self, position: u64) -> Option<(i64, u64)> {
        floor_position(&self.index, position)
    }
}

/// A segment that ended.
pub(crate) struct SealedSegment {
    pub base: i64,
    pub end: i64,
    pub bytes: u64,
    #[expect(dead_code, reason = "retention and time look-ups read it")]
    pub max_timestamp: i64,
    index: Vec<(i64, u64)>,
}

impl SealedSegment {
    pub fn floor(&self, offset: i64) -> (i64, u64) {
        floor(&self.index, offset).unwrap_or((self.base, 0))
    }

    pub fn floor_position(&self, position: u64) -> Option<(i64, u64)> {
        floor_position(&self.index, position)
    }
}

fn floor(index: &[(i64, u64)], offset: i64) -> Option<(i64, u64)> {
    let above = index.partition_point(|entry| entry.0 <= offset);
    above.checked_sub(1).map(|at| index[at])
}

fn floor_position(index: &[(i64, u64)], position: u64) -> Option<(i64, u64)> {
    let above = index.partition_point(|entry| entry.1 <= position);
    above.checked_sub(1).map(|at| index[at])
}

//! The leader epochs of one partition's log: which epoch wrote from which offset.
//!
//! Invariant: epochs and start offsets both rise strictly. Replication finds where two logs part
//! by asking for the end of an epoch (replication.md R7); clients do the same (protocol.md M4,
//! F7). One entry per leader epoch that the log knows: as many as the partition had leaders.
//!
//! Knows no files: the list travels in segment footers and tail states
//! (`docs/formats/segment.md`).

use crate::format_error::{FormatError, Reason, check_version};
use stdx::{Reader, Writer};
use wire::ids::{LeaderEpoch, Offset};

const FORMAT: &str = "epochs";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 8;
const ENTRY_BYTES: usize = 12;

/// An epoch and the offset its leader began at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Log end when its leader took over; its first record, if it wrote any, is here.
    pub start: Offset,
}

/// An epoch and where it ends: the answer to [`Epochs::end_offset_for`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest known epoch not above the one asked for; the one asked for, if the log no
    /// longer knows any that low.
    pub epoch: LeaderEpoch,
    /// The first offset that does not belong to it.
    pub end: Offset,
}

/// The epochs of one log, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epochs {
    entries: Vec<EpochStart>,
}

impl Epochs {
    /// No epoch known.
    pub fn new() -> Epochs {
        Epochs::default()
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// Whether no epoch is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest entry.
    pub fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` begins at `start` (R8: the leader, before it serves; a follower, when a
    /// batch of that epoch arrives). Says whether anything changed, that is, whether it must be
    /// made durable.
    ///
    /// Nothing changes if `epoch` is already the latest and begins no later. Otherwise what
    /// contradicts the new entry goes: entries of this or a higher epoch, and entries at or above
    /// its start (an epoch that wrote nothing).
    ///
    /// # Panics
    /// If either is negative: the caller checks what the network gave.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        assert!(epoch.0 >= 0 && start.0 >= 0, "epoch {epoch} at {start}");
        if self
            .latest()
            .is_some_and(|latest| latest.epoch == epoch && start >= latest.start)
        {
            return false;
        }
        while self
            .latest()
            .is_some_and(|last| last.epoch >= epoch || last.start >= start)
        {
            self.entries.pop();
        }
        self.entries.push(EpochStart { epoch, start });
        true
    }

    /// Where `epoch` ends in a log that ends at `log_end` (R7, M4).
    ///
    /// - The latest epoch ends at `log_end`.
    /// - An epoch above all known ones: undefined, `None`; so is −1, and any epoch of an empty
    ///   list.
    /// - An epoch below all known ones: its own number and the start of the first known one. There
    ///   may have been others between, but their data is gone.
    /// - Else the largest known epoch not above it, and the start of the next.
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        if epoch.0 < 0 {
            return None;
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        match (
            above.checked_sub(1).map(|floor| self.entries[floor]),
            self.entries.get(above),
        ) {
            (Some(floor), None) if floor.epoch == epoch => Some(EpochEnd {
                epoch,
                end: log_end,
            }),
            (_, None) => None,
            (None, Some(next)) => Some(EpochEnd {
                epoch,
                end: next.start,
            }),
            (Some(floor), Some(next)) => Some(EpochEnd {
                epoch: floor.epoch,
                end: next.start,
            }),
        }
    }

    /// The epoch that wrote `offset`, or would write it if it is the log end (M2: the epoch in a
    /// ListOffsets answer).
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.entries.partition_point(|entry| entry.start <= offset);
        above.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// The log was cut to end at `end`: epochs that begin there or later go (R7). Says whether
    /// anything changed.
    pub fn truncate_from_end(&mut self, end: Offset) -> bool {
        let kept = self.entries.partition_point(|entry| entry.start < end);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        changed
    }

    /// The log now starts at `start`: epochs that ended there or earlier go, and the one that
    /// holds `start` begins there. Says whether anything changed.
    pub fn truncate_from_start(&mut self, start: Offset) -> bool {
        let above = self.entries.partition_point(|entry| entry.start <= start);
        let Some(holder) = above.checked_sub(1) else {
            return false;
        };
        let changed = holder > 0 || self.entries[holder].start != start;
        self.entries[holder].start = start;
        self.entries.drain(..holder);
        changed
    }

    /// The entries of a segment that holds `[start, end)`, its first one beginning at `start`.
    pub fn within(&self, start: Offset, end: Offset) -> Epochs {
        let mut part = self.clone();
        part.truncate_from_end(end);
        part.truncate_from_start(start);
        part
    }

    /// Bytes of [`Epochs::encode`].
    pub fn encoded_bytes(&self) -> usize {
        HEADER_BYTES + self.entries.len() * ENTRY_BYTES
    }

    /// Appends the list: `docs/formats/segment.md`, section `epochs`.
    pub fn encode(&self, out: &mut Writer) {
        out.u16_le(VERSION)
            .u16_le(0)
            .u32_le(self.entries.len() as u32);
        for entry in &self.entries {
            out.i32_le(entry.epoch.0).i64_le(entry.start.0);
        }
    }

    /// Reads what [`Epochs::encode`] wrote; all of `bytes` is the list.
    pub fn decode(bytes: &[u8]) -> Result<Epochs, FormatError> {
        let mut reader = Reader::new(bytes);
        let version = reader
            .u16_le()
            .map_err(|error| Reason::from(error).of(FORMAT))?;
        check_version(FORMAT, version, VERSION)?;
        Epochs::decode_body(&mut reader).map_err(|reason| reason.of(FORMAT))
    }

    fn decode_body(reader: &mut Reader<'_>) -> Result<Epochs, Reason> {
        let _flags = reader.u16_le()?;
        let count = reader.count_u32_le(ENTRY_BYTES)?;
        let mut entries: Vec<EpochStart> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = EpochStart {
                epoch: LeaderEpoch(reader.i32_le()?),
                start: Offset(reader.i64_le()?),
            };
            if entry.epoch.0 < 0 || entry.start.0 < 0 {
                return Err(Reason::Broken("negative epoch or offset"));
            }
            if entries
                .last()
                .is_some_and(|last| last.epoch >= entry.epoch || last.start >= entry.start)
            {
                return Err(Reason::Broken("epochs and their starts must rise"));
            }
            entries.push(entry);
        }
        reader.finish()?;
        Ok(Epochs { entries })
    }
}

#[cfg(test)]
mod tests;

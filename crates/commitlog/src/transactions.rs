//! The aborted transactions whose markers lie in one segment: what a `read_committed` fetch tells
//! the client to leave out.
//!
//! Invariant: entries lie in the order of their markers (last offsets rise strictly), so that a cut
//! is a prefix. Committed transactions are not here: nothing is left out for them.
//!
//! Knows no files: the list travels in segment footers and tail states
//! (`docs/formats/segment.md`).

use crate::format_error::{FormatError, Reason, check_version};
use crate::producers::EndedTransaction;
use stdx::{Reader, Writer};
use wire::ids::{Offset, ProducerId};

const FORMAT: &str = "aborted transactions";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 8;
const ENTRY_BYTES: usize = 32;

/// One aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it was.
    pub producer_id: ProducerId,
    /// Its first record, perhaps in an earlier segment.
    pub first_offset: Offset,
    /// Its marker, in this segment.
    pub last_offset: Offset,
    /// The first offset still undecided when the marker was written. No transaction whose marker
    /// comes later begins below it, so a search that needs nothing from there on may stop.
    pub last_stable_offset: Offset,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// Transactions that overlap the range, by first offset (F8: unsorted lists leak aborted data
    /// in some clients).
    pub aborted: Vec<AbortedTransaction>,
    /// Whether no later segment can hold another one.
    pub complete: bool,
}

/// The aborted transactions of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AbortedTransactions {
    entries: Vec<AbortedTransaction>,
}

impl AbortedTransactions {
    /// None.
    pub fn new() -> AbortedTransactions {
        AbortedTransactions::default()
    }

    /// All of them, by marker.
    pub fn entries(&self) -> &[AbortedTransaction] {
        &self.entries
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a transaction that a marker just ended; a commit leaves nothing behind.
    ///
    /// # Panics
    /// If its marker does not follow the last one: our own bookkeeping.
    pub fn add(&mut self, ended: &EndedTransaction) {
        if !ended.aborted {
            return;
        }
        assert!(
            self.entries
                .last()
                .is_none_or(|last| last.last_offset < ended.last_offset),
            "markers come in order"
        );
        self.entries.push(AbortedTransaction {
            producer_id: ended.producer_id,
            first_offset: ended.first_offset,
            last_offset: ended.last_offset,
            last_stable_offset: ended.last_stable_offset,
        });
    }

    /// Every abort that overlaps `[first, end)`, `end` being the upper bound of what a fetch
    /// returns (F8). Unless `complete`, go on with the next segment and merge by first offset.
    pub fn overlapping(&self, first: Offset, end: Offset) -> Overlap {
        // Markers rise: those before `first` are a prefix.
        let from = self
            .entries
            .partition_point(|entry| entry.last_offset < first);
        let mut aborted = Vec::new();
        let mut complete = false;
        for entry in &self.entries[from..] {
            if entry.first_offset < end {
                aborted.push(*entry);
            }
            if entry.last_stable_offset >= end {
                complete = true;
                break;
            }
        }
        aborted.sort_by_key(|entry| entry.first_offset);
        Overlap { aborted, complete }
    }

    /// The log was cut to end at `end`: markers at or above it are gone (R7).
    pub fn truncate_to(&mut self, end: Offset) {
        let kept = self
            .entries
            .partition_point(|entry| entry.last_offset < end);
        self.entries.truncate(kept);
    }

    /// Bytes of [`AbortedTransactions::encode`].
    pub fn encoded_bytes(&self) -> usize {
        HEADER_BYTES + self.entries.len() * ENTRY_BYTES
    }

    /// Appends the list: `docs/formats/segment.md`, section `aborted transactions`.
    pub fn encode(&self, out: &mut Writer) {
        out.u16_le(VERSION)
            .u16_le(0)
            .u32_le(self.entries.len() as u32);
        for entry in &self.entries {
            out.i64_le(entry.producer_id.0).i64_le(entry.first_offset.0);
            out.i64_le(entry.last_offset.0)
                .i64_le(entry.last_stable_offset.0);
        }
    }

    /// Reads what [`AbortedTransactions::encode`] wrote; all of `bytes` is the list.
    pub fn decode(bytes: &[u8]) -> Result<AbortedTransactions, FormatError> {
        let mut reader = Reader::new(bytes);
        let version = reader
            .u16_le()
            .map_err(|error| Reason::from(error).of(FORMAT))?;
        check_version(FORMAT, version, VERSION)?;
        AbortedTransactions::decode_body(&mut reader).map_err(|reason| reason.of(FORMAT))
    }

    fn decode_body(reader: &mut Reader<'_>) -> Result<AbortedTransactions, Reason> {
        let _flags = reader.u16_le()?;
        let count = reader.count_u32_le(ENTRY_BYTES)?;
        let mut entries: Vec<AbortedTransaction> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = AbortedTransaction {
                producer_id: ProducerId(reader.i64_le()?),
                first_offset: Offset(reader.i64_le()?),
                last_offset: Offset(reader.i64_le()?),
                last_stable_offset: Offset(reader.i64_le()?),
            };
            let ordered = entry.producer_id.is_some()
                && entry.first_offset.0 >= 0
                && entry.first_offset <= entry.last_offset
                && entry.last_stable_offset.0 >= 0
                && entries
                    .last()
                    .is_none_or(|last| last.last_offset < entry.last_offset);
            if !ordered {
                return Err(Reason::Broken(
                    "aborted transactions must lie in marker order",
                ));
            }
            entries.push(entry);
        }
        reader.finish()?;
        Ok(AbortedTransactions { entries })
    }
}

#[cfg(test)]
mod tests;

//! What a restart must know of an *active* segment, as of a checkpoint: its index, append times,
//! aborted transactions, producers with their open transactions, and the partition's epochs. This
//! file owns the format on `docs/formats/tail-state.md`.
//!
//! A checkpoint writes one for each partition that changed, into the tail area of its manifest
//! frame; it is read on first touch. Replay of the log carries it on. Where it is missing or
//! damaged, the same state comes from the last footer and the batch headers of the active segment
//! (storage.md 2.4), so a damaged one costs time, never data.

use crate::epochs::Epochs;
use crate::format_error::{FormatError, Reason, check_sum, check_version};
use crate::ids::Lsn;
use crate::index::{AppendTimes, SparseIndex};
use crate::producers::Producers;
use crate::sections::{self, Facts, REQUIRED, append_section};
use crate::transactions::AbortedTransactions;
use stdx::{Reader, Writer, crc32c};

const FORMAT: &str = "tail state";
const VERSION: u16 = 1;
const MAGIC: u32 = u32::from_le_bytes(*b"DTAL");

/// The state of an active segment and its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailState {
    /// The active segment as of the checkpoint.
    pub facts: Facts,
    /// Its ranges. After decoding, the last one takes no more batches.
    pub index: SparseIndex,
    /// Its append times.
    pub append_times: AppendTimes,
    /// Aborted transactions whose markers lie in it.
    pub aborted: AbortedTransactions,
    /// The partition's producers.
    pub producers: Producers,
    /// The partition's epochs, all of them.
    pub epochs: Epochs,
}

impl TailState {
    /// Appends the tail state and returns the CRC-32C that goes into the partition's record.
    pub fn encode(&self, out: &mut Writer) -> u32 {
        let start = out.len();
        out.u32_le(MAGIC)
            .u16_le(VERSION)
            .u16_le(0)
            .u32_le(6)
            .u32_le(0);
        append_section(out, sections::FACTS, REQUIRED, |out| self.facts.encode(out));
        append_section(out, sections::SPARSE_INDEX, 0, |out| self.index.encode(out));
        append_section(out, sections::APPEND_TIMES, 0, |out| {
            self.append_times.encode(out)
        });
        append_section(out, sections::ABORTED, 0, |out| self.aborted.encode(out));
        append_section(out, sections::PRODUCERS, 0, |out| {
            self.producers.encode(out)
        });
        append_section(out, sections::EPOCHS, 0, |out| self.epochs.encode(out));
        crc32c(&out.as_slice()[start..])
    }

    /// Reads what [`TailState::encode`] wrote; `crc` is from the partition's record. Everything in
    /// it was durable at the checkpoint; `lsn` is what duplicates of its batches then wait for:
    /// [`Lsn::ZERO`].
    pub fn decode(bytes: &[u8], crc: u32, lsn: Lsn) -> Result<TailState, FormatError> {
        check_sum(crc, crc32c(bytes)).map_err(|reason| reason.of(FORMAT))?;
        let mut reader = Reader::new(bytes);
        let mut head = || -> Result<(u16, u32), Reason> {
            if reader.u32_le()? != MAGIC {
                return Err(Reason::Magic);
            }
            let (version, _flags) = (reader.u16_le()?, reader.u16_le()?);
            let count = reader.u32_le()?;
            let _reserved = reader.u32_le()?;
            Ok((version, count))
        };
        let (version, count) = head().map_err(|reason| reason.of(FORMAT))?;
        check_version(FORMAT, version, VERSION)?;
        let found = sections::split_sections(reader.rest(), count);
        let found = found.map_err(|reason| reason.of(FORMAT))?;
        let section =
            |number| sections::find_section(&found, number).map_err(|reason| reason.of(FORMAT));
        let facts = Facts::decode(section(sections::FACTS)?).map_err(|reason| reason.of(FORMAT))?;
        let state = TailState {
            facts,
            index: SparseIndex::decode(section(sections::SPARSE_INDEX)?)?,
            append_times: AppendTimes::decode(section(sections::APPEND_TIMES)?)?,
            aborted: AbortedTransactions::decode(section(sections::ABORTED)?)?,
            producers: Producers::decode(section(sections::PRODUCERS)?, lsn)?,
            epochs: Epochs::decode(section(sections::EPOCHS)?)?,
        };
        let agrees = state.index.base_offset() == facts.base
            && u64::from(state.index.end_position()) == facts.data_bytes
            && state.producers.end() == facts.end;
        if !agrees {
            return Err(Reason::Broken("its parts are of different moments").of(FORMAT));
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests;

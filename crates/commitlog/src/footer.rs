//! The footer of a sealed segment: what a node would otherwise keep in four side files. This file
//! owns the format on `docs/formats/segment.md`.
//!
//! Numbered sections ([`crate::sections`]) and a trailer at the very end of the file. The
//! trailer's CRC covers the whole footer and is repeated in the manifest; the sparse index inside
//! holds the CRCs of the data: a chain from the manifest to every byte (storage.md 2.4).
//!
//! The footer lies behind the data and is never served: a read stops at
//! [`Facts::data_bytes`].

use crate::epochs::Epochs;
use crate::format_error::{FormatError, Reason, check_sum, check_version};
use crate::ids::Lsn;
use crate::index::{AppendTimes, SparseIndex};
use crate::producers::Producers;
use crate::sections::{self, Facts, REQUIRED, Section, append_section};
use crate::transactions::AbortedTransactions;
use stdx::{Reader, Writer, crc32c};

/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 32;

const FORMAT: &str = "segment footer";
const VERSION: u16 = 1;
const MAGIC: u64 = u64::from_le_bytes(*b"DSEGMENT");

/// What a footer is made of.
#[derive(Debug, Clone, Copy)]
pub struct FooterParts<'a> {
    /// Whose segment, and how long.
    pub facts: &'a Facts,
    /// Ranges of the data and their CRCs.
    pub index: &'a SparseIndex,
    /// Append times of its batches.
    pub append_times: &'a AppendTimes,
    /// Aborted transactions whose markers lie in it.
    pub aborted: &'a AbortedTransactions,
    /// Producers as of the segment's *end*: with the headers of the next segment, the state there.
    pub producers: &'a Producers,
    /// Epochs of the segment: [`Epochs::within`] its bounds.
    pub epochs: &'a Epochs,
}

/// Encodes a footer; written at [`Facts::data_bytes`]. Returns the bytes and the CRC that goes
/// into the manifest.
///
/// # Panics
/// If the parts contradict each other: our own state.
pub fn encode_footer(parts: &FooterParts<'_>) -> (Vec<u8>, u32) {
    let facts = parts.facts;
    assert_eq!(
        facts.data_bytes,
        u64::from(parts.index.end_position()),
        "all data is indexed"
    );
    assert_eq!(
        facts.base,
        parts.index.base_offset(),
        "the index is this segment's"
    );
    assert_eq!(
        facts.end,
        parts.producers.end(),
        "the producers are those of the segment's end"
    );
    let mut out = Writer::new();
    append_section(&mut out, sections::FACTS, REQUIRED, |out| facts.encode(out));
    append_section(&mut out, sections::SPARSE_INDEX, 0, |out| {
        parts.index.encode(out)
    });
    append_section(&mut out, sections::APPEND_TIMES, 0, |out| {
        parts.append_times.encode(out)
    });
    append_section(&mut out, sections::ABORTED, 0, |out| {
        parts.aborted.encode(out)
    });
    append_section(&mut out, sections::PRODUCERS, 0, |out| {
        parts.producers.encode(out)
    });
    append_section(&mut out, sections::EPOCHS, 0, |out| {
        parts.epochs.encode(out)
    });
    finish_footer(out, facts.data_bytes, 6)
}

fn finish_footer(mut out: Writer, data_bytes: u64, sections: u32) -> (Vec<u8>, u32) {
    out.u64_le(MAGIC).u16_le(VERSION).u16_le(0).u32_le(sections);
    out.u64_le(data_bytes).u32_le(0);
    let crc = crc32c(out.as_slice());
    out.u32_le(crc);
    (out.into_bytes(), crc)
}

/// What the last [`TRAILER_BYTES`] of a sealed segment's file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Where the footer begins: the end of the data.
    pub footer_offset: u64,
    /// Bytes of the footer, trailer included: what to read next.
    pub footer_bytes: u64,
    /// Sections in it.
    pub sections: u32,
    /// CRC-32C of the footer; compare with the manifest's.
    pub crc: u32,
}

impl Trailer {
    /// Reads a trailer; `file_bytes` is the length of the file it ends. The CRC is not checked
    /// yet: it needs the footer.
    pub fn decode(bytes: &[u8; TRAILER_BYTES], file_bytes: u64) -> Result<Trailer, FormatError> {
        let mut reader = Reader::new(bytes);
        let mut decode = || -> Result<(u16, Trailer), Reason> {
            if reader.u64_le()? != MAGIC {
                return Err(Reason::Magic);
            }
            let (version, _flags) = (reader.u16_le()?, reader.u16_le()?);
            let sections = reader.u32_le()?;
            let footer_offset = reader.u64_le()?;
            let _reserved = reader.u32_le()?;
            let crc = reader.u32_le()?;
            let footer_bytes = file_bytes
                .checked_sub(footer_offset)
                .filter(|bytes| *bytes >= TRAILER_BYTES as u64)
                .ok_or(Reason::Broken("the footer begins outside the file"))?;
            Ok((
                version,
                Trailer {
                    footer_offset,
                    footer_bytes,
                    sections,
                    crc,
                },
            ))
        };
        let (version, trailer) = decode().map_err(|reason| reason.of(FORMAT))?;
        check_version(FORMAT, version, VERSION)?;
        Ok(trailer)
    }
}

/// A checked footer whose sections are decoded one by one, when they are wanted: a read wants the
/// index, a truncation the producers.
#[derive(Debug, Clone)]
pub struct Footer<'a> {
    facts: Facts,
    sections: Vec<Section<'a>>,
    crc: u32,
}

impl<'a> Footer<'a> {
    /// Checks a footer: `bytes` are the file's bytes from the end of its data to its end, all of
    /// them.
    pub fn decode(bytes: &'a [u8], file_bytes: u64) -> Result<Footer<'a>, FormatError> {
        let Some((body, trailer_bytes)) = bytes.split_last_chunk::<TRAILER_BYTES>() else {
            return Err(Reason::Broken("shorter than a trailer").of(FORMAT));
        };
        let trailer = Trailer::decode(trailer_bytes, file_bytes)?;
        let decode = || -> Result<Footer<'a>, Reason> {
            if trailer.footer_bytes != bytes.len() as u64 {
                return Err(Reason::Broken("not the whole footer"));
            }
            check_sum(trailer.crc, crc32c(&bytes[..bytes.len() - 4]))?;
            let sections = sections::split_sections(body, trailer.sections)?;
            let facts = Facts::decode(sections::find_section(&sections, sections::FACTS)?)?;
            if facts.data_bytes != trailer.footer_offset {
                return Err(Reason::Broken(
                    "facts and trailer disagree on the end of the data",
                ));
            }
            Ok(Footer {
                facts,
                sections,
                crc: trailer.crc,
            })
        };
        decode().map_err(|reason| reason.of(FORMAT))
    }

    /// Whose segment, and how long.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The footer's CRC, to compare with the manifest's.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// All sections, those of later releases too, in order.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// The sparse index.
    pub fn index(&self) -> Result<SparseIndex, FormatError> {
        let index = SparseIndex::decode(self.section(sections::SPARSE_INDEX)?)?;
        if index.base_offset() != self.facts.base
            || u64::from(index.end_position()) != self.facts.data_bytes
        {
            return Err(Reason::Broken("the index is not this segment's").of(FORMAT));
        }
        Ok(index)
    }

    /// The append times.
    pub fn append_times(&self) -> Result<AppendTimes, FormatError> {
        AppendTimes::decode(self.section(sections::APPEND_TIMES)?)
    }

    /// The aborted transactions.
    pub fn aborted(&self) -> Result<AbortedTransactions, FormatError> {
        AbortedTransactions::decode(self.section(sections::ABORTED)?)
    }

    /// The producers as of the segment's end; `lsn` as for [`Producers::decode`].
    pub fn producers(&self, lsn: Lsn) -> Result<Producers, FormatError> {
        let producers = Producers::decode(self.section(sections::PRODUCERS)?, lsn)?;
        if producers.end() != self.facts.end {
            return Err(Reason::Broken("the producers are of another offset").of(FORMAT));
        }
        Ok(producers)
    }

    /// The epochs of the segment.
    pub fn epochs(&self) -> Result<Epochs, FormatError> {
        Epochs::decode(self.section(sections::EPOCHS)?)
    }

    fn section(&self, number: u16) -> Result<&'a [u8], FormatError> {
        sections::find_section(&self.sections, number).map_err(|reason| reason.of(FORMAT))
    }
}

#[cfg(test)]
mod tests;

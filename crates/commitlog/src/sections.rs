//! Numbered sections: how a segment's footer and a tail state hold their parts, so that a later
//! release can add one without a new format.
//!
//! A reader passes over numbers it does not know, unless the section says that whoever does not
//! know it must not use the rest ([`REQUIRED`]). Numbers are given out once, in
//! `docs/formats/segment.md`. Checksums are the business of what holds the sections.

use crate::format_error::Reason;
use crate::ids::{PartitionId, PartitionKey};
use stdx::{Reader, Writer};
use wire::ids::{LeaderEpoch, Offset, TopicId};

/// Bytes before a section's body.
pub const SECTION_HEADER_BYTES: usize = 8;

/// Flag: a reader that does not know this section must refuse the whole.
pub const REQUIRED: u16 = 1;

/// Whose bytes these are: [`Facts`].
pub const FACTS: u16 = 1;
/// [`crate::index::SparseIndex`].
pub const SPARSE_INDEX: u16 = 2;
/// [`crate::index::AppendTimes`].
pub const APPEND_TIMES: u16 = 3;
/// [`crate::transactions::AbortedTransactions`].
pub const ABORTED: u16 = 4;
/// [`crate::producers::Producers`].
pub const PRODUCERS: u16 = 5;
/// [`crate::epochs::Epochs`].
pub const EPOCHS: u16 = 6;

/// The highest number this release knows.
const KNOWN_MAX: u16 = EPOCHS;

/// One section, not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// What it is.
    pub number: u16,
    /// Its bytes.
    pub body: &'a [u8],
}

/// Appends a section whose body is written by `body`.
///
/// # Panics
/// If the body is 4 GiB or longer: our own state.
pub(crate) fn append_section(
    out: &mut Writer,
    number: u16,
    flags: u16,
    body: impl FnOnce(&mut Writer),
) {
    out.u16_le(number).u16_le(flags).u32_le(0);
    let start = out.len();
    body(out);
    let length = u32::try_from(out.len() - start).expect("a section is below 4 GiB");
    out.patch_u32_le(start - 4, length);
}

/// Splits `bytes` into exactly `count` sections.
pub(crate) fn split_sections(bytes: &[u8], count: u32) -> Result<Vec<Section<'_>>, Reason> {
    if u64::from(count) * SECTION_HEADER_BYTES as u64 > bytes.len() as u64 {
        return Err(Reason::Broken(
            "section count does not agree with the length",
        ));
    }
    let mut reader = Reader::new(bytes);
    let mut sections: Vec<Section<'_>> = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (number, flags) = (reader.u16_le()?, reader.u16_le()?);
        let body = reader.bytes_u32_le()?;
        if number > KNOWN_MAX && flags & REQUIRED != 0 {
            return Err(Reason::Broken(
                "a required section is unknown to this release",
            ));
        }
        if sections.last().is_some_and(|last| last.number >= number) {
            return Err(Reason::Broken("section numbers must rise"));
        }
        sections.push(Section { number, body });
    }
    reader.finish()?;
    Ok(sections)
}

/// The body of section `number`.
pub(crate) fn find_section<'a>(sections: &[Section<'a>], number: u16) -> Result<&'a [u8], Reason> {
    sections
        .iter()
        .find(|section| section.number == number)
        .map(|section| section.body)
        .ok_or(Reason::Broken("a section is missing"))
}

/// Whose segment this is and what is in it: enough to find a stray file's place, and to rebuild a
/// lost manifest from the segments alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The partition.
    pub key: PartitionKey,
    /// Its number in this data directory.
    pub id: PartitionId,
    /// Base offset.
    pub base: Offset,
    /// First offset behind it.
    pub end: Offset,
    /// Bytes of data; a footer begins here.
    pub data_bytes: u64,
    /// Highest timestamp, milliseconds, or −1.
    pub max_timestamp_ms: i64,
    /// Wall clock when it got its first batch, milliseconds, or −1.
    pub since_ms: i64,
    /// Leader epoch of its last batch, or −1.
    pub last_epoch: LeaderEpoch,
    /// Which file of this base offset.
    pub revision: u32,
}

impl Facts {
    const BYTES: usize = 80;

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.raw(&self.key.topic.0)
            .i32_le(self.key.partition)
            .u32_le(self.revision);
        out.u64_le(self.id.0)
            .i64_le(self.base.0)
            .i64_le(self.end.0)
            .u64_le(self.data_bytes);
        out.i64_le(self.max_timestamp_ms).i64_le(self.since_ms);
        out.i32_le(self.last_epoch.0).u32_le(0);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Facts, Reason> {
        // A later release may append fields: what is behind ours is passed over.
        let mut reader = Reader::new(bytes);
        let topic = TopicId(reader.array()?);
        let partition = reader.i32_le()?;
        let revision = reader.u32_le()?;
        let facts = Facts {
            key: PartitionKey { topic, partition },
            id: PartitionId(reader.u64_le()?),
            base: Offset(reader.i64_le()?),
            end: Offset(reader.i64_le()?),
            data_bytes: reader.u64_le()?,
            max_timestamp_ms: reader.i64_le()?,
            since_ms: reader.i64_le()?,
            last_epoch: LeaderEpoch(reader.i32_le()?),
            revision,
        };
        let _reserved = reader.u32_le()?;
        debug_assert_eq!(reader.position(), Facts::BYTES);
        let possible = partition >= 0
            && facts.base.0 >= 0
            && facts.base <= facts.end
            && facts.data_bytes <= i32::MAX as u64;
        if possible {
            Ok(facts)
        } else {
            Err(Reason::Broken("a segment's facts are impossible"))
        }
    }
}

#[cfg(test)]
mod tests;

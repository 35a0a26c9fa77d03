//! One block of the quorum log: `docs/formats/quorum-log.md`.
//!
//! A block is what one durable write holds. Its header chains it to the block before it, so that
//! the end of the log, a torn write and a damaged log can be told apart.

use stdx::{Reader, crc32c};
use world::disk::DURABLE_ALIGN;

pub(crate) const HEADER_BYTES: usize = 64;
const MAGIC: u32 = 0x4c51_4d44;
const VERSION: u16 = 1;
/// The block begins a slot and holds the whole state.
const FLAG_START: u16 = 1;
/// Where the header's own checksum stands.
const CRC_AT: usize = 44;

/// A block's header, without magic, version and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) start: bool,
    /// One more than the block before it, for ever and across slots.
    pub(crate) lsn: u64,
    /// Random, new each time a slot is begun: what an earlier use left behind does not parse.
    pub(crate) generation: u64,
    /// Bytes of the body.
    pub(crate) length: u32,
    /// Records in the body.
    pub(crate) count: u32,
    /// The checksum of the block before it.
    pub(crate) previous: u32,
    /// The node the log belongs to.
    pub(crate) node: u64,
    /// Random, drawn when the log was created.
    pub(crate) store: u64,
}

/// Bytes on the disk of a block with such a body.
pub(crate) fn size(body_bytes: usize) -> usize {
    (HEADER_BYTES + body_bytes).next_multiple_of(DURABLE_ALIGN)
}

/// Writes header, body and padding into `out`, which must be [`size`] bytes. The checksum.
pub(crate) fn write(header: &Header, body: &[u8], out: &mut [u8]) -> u32 {
    debug_assert_eq!(
        out.len(),
        size(body.len()),
        "the buffer is exactly one block"
    );
    debug_assert_eq!(
        header.length as usize,
        body.len(),
        "the header tells the body's length"
    );
    out.fill(0);
    out[..4].copy_from_slice(&MAGIC.to_le_bytes());
    out[4..6].copy_from_slice(&VERSION.to_le_bytes());
    out[6..8].copy_from_slice(&(if header.start { FLAG_START } else { 0 }).to_le_bytes());
    out[8..16].copy_from_slice(&header.lsn.to_le_bytes());
    out[16..24].copy_from_slice(&header.generation.to_le_bytes());
    out[32..36].copy_from_slice(&header.length.to_le_bytes());
    out[36..40].copy_from_slice(&header.count.to_le_bytes());
    out[40..44].copy_from_slice(&header.previous.to_le_bytes());
    out[48..56].copy_from_slice(&header.node.to_le_bytes());
    out[56..64].copy_from_slice(&header.store.to_le_bytes());
    out[HEADER_BYTES..HEADER_BYTES + body.len()].copy_from_slice(body);
    let checksum = crc32c(&out[..HEADER_BYTES + body.len()]);
    out[CRC_AT..CRC_AT + 4].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// What a header looks like, before its body was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing of ours, or damaged beyond recognition.
    Nothing,
    /// A header; the checksum still has to agree.
    Header(Header),
    /// Written by a newer build.
    TooNew(u16),
}

/// Reads a header from the front of a block. `room` is how many bytes are left in the slot.
pub(crate) fn read_header(bytes: &[u8], room: u64) -> Seen {
    let read = || -> Result<Option<(u16, Header)>, stdx::CursorError> {
        let mut input = Reader::new(bytes);
        if input.u32_le()? != MAGIC {
            return Ok(None);
        }
        let version = input.u16_le()?;
        let flags = input.u16_le()?;
        let (lsn, generation) = (input.u64_le()?, input.u64_le()?);
        input.skip(8)?;
        let (length, count, previous) = (input.u32_le()?, input.u32_le()?, input.u32_le()?);
        input.skip(4)?;
        let (node, store) = (input.u64_le()?, input.u64_le()?);
        let start = flags & FLAG_START != 0;
        let header = Header {
            start,
            lsn,
            generation,
            length,
            count,
            previous,
            node,
            store,
        };
        Ok(Some((version, header)))
    };
    match read() {
        Ok(Some((version, _))) if version > VERSION => Seen::TooNew(version),
        // A length beyond the slot cannot be true; nothing is allocated for it.
        Ok(Some((_, header))) if size(header.length as usize) as u64 <= room => {
            Seen::Header(header)
        }
        _ => Seen::Nothing,
    }
}

/// The checksum of a whole block (header and body), if it agrees with the one it carries.
pub(crate) fn check(header: &Header, block: &[u8]) -> Option<u32> {
    let mut covered = block.get(..HEADER_BYTES + header.length as usize)?.to_vec();
    let carried = Reader::new(covered.get(CRC_AT..)?).u32_le().ok()?;
    covered[CRC_AT..CRC_AT + 4].fill(0);
    (crc32c(&covered) == carried).then_some(carried)
}

/// The body within a checked block.
pub(crate) fn body<'a>(header: &Header, block: &'a [u8]) -> &'a [u8] {
    &block[HEADER_BYTES..HEADER_BYTES + header.length as usize]
}

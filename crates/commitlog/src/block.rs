//! The bytes of the shared log: one block per commit group, records inside.
//!
//! This file owns the format on `docs/formats/log-block.md`. It knows bytes and checksums, nothing
//! of slots, files or partitions. Everything read is checked before it is believed.

use stdx::checksum::Crc32c;

/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 64;
/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 40;
/// Blocks begin and end on multiples of this many bytes: what O_DIRECT asks for.
pub const BLOCK_ALIGN: usize = world::disk::DURABLE_ALIGN;
/// "DWAL", read as a little-endian number.
pub const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"DWAL");
/// The one version of the block format.
pub const BLOCK_VERSION: u16 = 1;

/// The block is the first of a fresh slot after a failed flush: it supersedes whatever the retired
/// slot, whose generation it names, holds at the same LSN (storage.md section 8).
pub const CONTINUES_RETIRED: u16 = 1;
/// The block is the first of its slot; the chain CRC is the previous slot's last block.
pub const FIRST_OF_SLOT: u16 = 2;

/// What a block's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// [`CONTINUES_RETIRED`], [`FIRST_OF_SLOT`].
    pub flags: u16,
    /// Number of the block: one more than the block before it, for ever.
    pub lsn: u64,
    /// Random number of this use of the slot.
    pub generation: u64,
    /// Highest LSN that had been acknowledged when this block was written.
    pub durable_lsn: u64,
    /// Bytes of the body, without padding.
    pub length: u32,
    /// Records in the body.
    pub records: u32,
    /// CRC of the block before this one; 0 for the first block of all.
    pub previous_crc: u32,
    /// Generation of the retired slot, if [`CONTINUES_RETIRED`] is set, else 0.
    pub retired_generation: u64,
}

/// Size on disk of a block with `length` bytes of body.
pub fn block_bytes(length: usize) -> usize {
    (BLOCK_HEADER_BYTES + length).next_multiple_of(BLOCK_ALIGN)
}

/// Writes the header into the front of `block` (header, body, padding) and returns the block's CRC.
pub fn seal_block(block: &mut [u8], header: &BlockHeader) -> u32 {
    let end = BLOCK_HEADER_BYTES + header.length as usize;
    assert!(end <= block.len(), "a block's body lies inside its buffer");
    block[0..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
    block[4..6].copy_from_slice(&BLOCK_VERSION.to_le_bytes());
    block[6..8].copy_from_slice(&header.flags.to_le_bytes());
    block[8..16].copy_from_slice(&header.lsn.to_le_bytes());
    block[16..24].copy_from_slice(&header.generation.to_le_bytes());
    block[24..32].copy_from_slice(&header.durable_lsn.to_le_bytes());
    block[32..36].copy_from_slice(&header.length.to_le_bytes());
    block[36..40].copy_from_slice(&header.records.to_le_bytes());
    block[40..44].copy_from_slice(&header.previous_crc.to_le_bytes());
    block[48..56].copy_from_slice(&header.retired_generation.to_le_bytes());
    block[56..64].fill(0);
    let crc = block_crc(&block[..end]);
    block[44..48].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// Why bytes are not a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// No block starts here: another magic (most often zeros).
    NoMagic,
    /// A version this program does not know.
    Version(u16),
    /// The length leads out of the slot.
    Length(u32),
    /// Header and body do not agree with their CRC.
    Crc,
}

/// Parses a header; the length is checked against `room`, the bytes from the block's start to the
/// end of its slot. The CRC is not checked: see [`check_block`].
pub fn parse_header(
    bytes: &[u8; BLOCK_HEADER_BYTES],
    room: u64,
) -> Result<(BlockHeader, u32), BlockError> {
    if read_u32(bytes, 0) != BLOCK_MAGIC {
        return Err(BlockError::NoMagic);
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version != BLOCK_VERSION {
        return Err(BlockError::Version(version));
    }
    let header = BlockHeader {
        flags: u16::from_le_bytes([bytes[6], bytes[7]]),
        lsn: read_u64(bytes, 8),
        generation: read_u64(bytes, 16),
        durable_lsn: read_u64(bytes, 24),
        length: read_u32(bytes, 32),
        records: read_u32(bytes, 36),
        previous_crc: read_u32(bytes, 40),
        retired_generation: read_u64(bytes, 48),
    };
    if block_bytes(header.length as usize) as u64 > room {
        return Err(BlockError::Length(header.length));
    }
    Ok((header, read_u32(bytes, 44)))
}

/// Checks a whole block (at least header and body) and returns its header and CRC.
pub fn check_block(block: &[u8]) -> Result<(BlockHeader, u32), BlockError> {
    let Some(head) = block.first_chunk::<BLOCK_HEADER_BYTES>() else {
        return Err(BlockError::NoMagic);
    };
    let (header, crc) = parse_header(
        head,
        (block.len() as u64).next_multiple_of(BLOCK_ALIGN as u64),
    )?;
    let Some(checked) = block.get(..BLOCK_HEADER_BYTES + header.length as usize) else {
        return Err(BlockError::Length(header.length));
    };
    if block_crc(checked) != crc {
        return Err(BlockError::Crc);
    }
    Ok((header, crc))
}

fn block_crc(block: &[u8]) -> u32 {
    let mut crc = Crc32c::new();
    crc.update(&block[..44]);
    crc.update(&block[48..]);
    crc.value()
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// A record batch; the body is the batch as it lies in the segment.
    Batch = 1,
    /// The log ends at `base_offset` again; body: base of the segment that holds the cut.
    Truncate = 2,
    /// The log starts at `base_offset`.
    Trim = 3,
    /// The active segment (body: its base) ends at `position`; the next begins at `base_offset`.
    Roll = 4,
    /// A partition begins; body: topic id, partition number.
    Create = 5,
    /// A partition is gone.
    Delete = 6,
}

impl RecordKind {
    /// Whether replaying it needs what is known of the partition's segments, or their files.
    pub(crate) fn needs_segments(self) -> bool {
        !matches!(self, RecordKind::Create | RecordKind::Delete)
    }

    fn parse(byte: u8) -> Option<RecordKind> {
        Some(match byte {
            1 => RecordKind::Batch,
            2 => RecordKind::Truncate,
            3 => RecordKind::Trim,
            4 => RecordKind::Roll,
            5 => RecordKind::Create,
            6 => RecordKind::Delete,
            _ => return None,
        })
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What it says.
    pub kind: RecordKind,
    /// Leader epoch of the batch, or the latest one.
    pub leader_epoch: i32,
    /// Internal id of the partition.
    pub partition: u64,
    /// An offset; its meaning depends on the kind.
    pub base_offset: i64,
    /// A position in a segment, bytes; its meaning depends on the kind.
    pub position: u64,
    /// Bytes of the body.
    pub length: u32,
    /// Wall clock of the append, milliseconds, lower 32 bits of (ms / 1024); 0 if unknown.
    pub append_time: u32,
}

/// Writes a record's header.
pub fn write_record_header(out: &mut [u8], header: &RecordHeader) {
    out[0] = header.kind as u8;
    out[1..4].fill(0);
    out[4..8].copy_from_slice(&header.leader_epoch.to_le_bytes());
    out[8..16].copy_from_slice(&header.partition.to_le_bytes());
    out[16..24].copy_from_slice(&header.base_offset.to_le_bytes());
    out[24..32].copy_from_slice(&header.position.to_le_bytes());
    out[32..36].copy_from_slice(&header.length.to_le_bytes());
    out[36..40].copy_from_slice(&header.append_time.to_le_bytes());
}

/// A record inside a checked block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its header.
    pub header: RecordHeader,
    /// Its body.
    pub body: &'a [u8],
}

/// A body that does not divide into records, although its CRC holds: written by a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Where in the body, bytes.
    pub at: usize,
}

/// Walks over the records of a checked block's body.
pub struct Records<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// Walks over `body`, which begins behind the block's header and has exactly its length.
    pub fn new(body: &'a [u8]) -> Records<'a> {
        Records { body, at: 0 }
    }

    fn parse(&self) -> Option<Record<'a>> {
        let rest = &self.body[self.at..];
        let head = rest.first_chunk::<RECORD_HEADER_BYTES>()?;
        let header = RecordHeader {
            kind: RecordKind::parse(head[0])?,
            leader_epoch: read_u32(head, 4) as i32,
            partition: read_u64(head, 8),
            base_offset: read_u64(head, 16) as i64,
            position: read_u64(head, 24),
            length: read_u32(head, 32),
            append_time: read_u32(head, 36),
        };
        let body = rest
            .get(RECORD_HEADER_BYTES..)?
            .get(..header.length as usize)?;
        Some(Record { header, body })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.body.len() {
            return None;
        }
        match self.parse() {
            Some(record) => {
                self.at += RECORD_HEADER_BYTES + record.body.len();
                Some(Ok(record))
            }
            None => {
                let at = self.at;
                self.at = self.body.len();
                Some(Err(BadRecord { at }))
            }
        }
    }
}

/// Packs a wall clock time for a record header: units of 1,024 ms, so that 32 bits reach to 2109.
pub fn pack_append_time(now_ms: i64) -> u32 {
    u32::try_from(now_ms.max(0) >> 10).unwrap_or(u32::MAX)
}

/// The earliest wall clock time that [`pack_append_time`] packs to `packed`, milliseconds.
pub fn unpack_append_time(packed: u32) -> i64 {
    i64::from(packed) << 10
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut array = [0; 4];
    array.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(array)
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut array = [0; 8];
    array.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let body = b"batch bytes";
        let mut block = vec![0; block_bytes(RECORD_HEADER_BYTES + body.len())];
        let record = RecordHeader {
            kind: RecordKind::Batch,
            leader_epoch: 7,
            partition: 0x1122,
            base_offset: 42,
            position: 4096,
            length: body.len() as u32,
            append_time: pack_append_time(1_700_000_000_000),
        };
        write_record_header(&mut block[BLOCK_HEADER_BYTES..], &record);
        let at = BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES;
        block[at..at + body.len()].copy_from_slice(body);
        let header = BlockHeader {
            flags: FIRST_OF_SLOT,
            lsn: 9,
            generation: 0x0102_0304_0506_0708,
            durable_lsn: 8,
            length: (RECORD_HEADER_BYTES + body.len()) as u32,
            records: 1,
            previous_crc: 0xAABB_CCDD,
            retired_generation: 0,
        };
        seal_block(&mut block, &header);
        block
    }

    #[test]
    fn a_block_has_exactly_these_bytes() {
        let block = sample();
        assert_eq!(block.len(), 4096);
        let golden = "4457414c01000200090000000000000008070605040302010800000000000000\
                      3300000001000000ddccbbaa";
        assert_eq!(hex(&block[..44]), golden);
        assert_eq!(hex(&block[48..64]), "0".repeat(32));
        let record = "010000000700000022110000000000002a000000000000000010000000000000\
                      0b0000005af9f362";
        assert_eq!(hex(&block[64..104]), record);
        assert_eq!(&block[104..115], b"batch bytes");
        assert!(block[115..].iter().all(|byte| *byte == 0));
        let mut covered = block[..44].to_vec();
        covered.extend_from_slice(&block[48..115]);
        assert_eq!(block[44..48], stdx::crc32c(&covered).to_le_bytes());
    }

    #[test]
    fn what_was_written_is_read_back() {
        let block = sample();
        let (header, _) = check_block(&block).expect("valid");
        assert_eq!((header.lsn, header.durable_lsn, header.records), (9, 8, 1));
        let body = &block[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + header.length as usize];
        let records: Vec<_> = Records::new(body)
            .collect::<Result<_, _>>()
            .expect("records");
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].header.partition, 0x1122);
        assert_eq!(records[0].body, b"batch bytes");
    }

    #[test]
    fn every_flipped_bit_of_header_and_body_is_found() {
        let block = sample();
        for bit in 0..115 * 8 {
            let mut bad = block.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check_block(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn hostile_lengths_are_refused_before_anything_is_read() {
        let mut block = sample();
        block[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(check_block(&block), Err(BlockError::Length(u32::MAX)));
        assert!(check_block(&block[..63]).is_err());
        let bad: Vec<_> = Records::new(&[1; 39]).collect();
        assert_eq!(bad, vec![Err(BadRecord { at: 0 })]);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

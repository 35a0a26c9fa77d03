//! The header of a record batch as it lies in a segment: what bookkeeping, scans and reads need.
//!
//! The layout is Kafka's (magic 2, big-endian). Nothing here looks at records or checks the CRC.

use wire::ids::Offset;

pub(crate) use wire::batch::HEADER_BYTES as BATCH_HEADER_BYTES;
use wire::batch::LENGTH_END as LENGTH_PREFIX_BYTES;

/// The fields of a batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHead {
    pub base_offset: i64,
    /// Bytes of the whole batch, prefix included.
    pub bytes: u32,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records: i32,
}

impl BatchHead {
    /// Parses the first [`BATCH_HEADER_BYTES`] of `bytes`; `None` if they cannot be a batch.
    pub fn parse(bytes: &[u8]) -> Option<BatchHead> {
        let head = bytes.first_chunk::<BATCH_HEADER_BYTES>()?;
        let length = be_i32(head, 8);
        let minimum = (BATCH_HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32;
        if head[16] != 2 || length < minimum || length > i32::MAX - 64 {
            return None;
        }
        let parsed = BatchHead {
            base_offset: be_i64(head, 0),
            bytes: length as u32 + LENGTH_PREFIX_BYTES as u32,
            leader_epoch: be_i32(head, 12),
            crc: be_i32(head, 17) as u32,
            attributes: i16::from_be_bytes([head[21], head[22]]),
            last_offset_delta: be_i32(head, 23),
            base_timestamp: be_i64(head, 27),
            max_timestamp: be_i64(head, 35),
            producer_id: be_i64(head, 43),
            producer_epoch: i16::from_be_bytes([head[51], head[52]]),
            base_sequence: be_i32(head, 53),
            records: be_i32(head, 57),
        };
        (parsed.base_offset >= 0 && parsed.last_offset_delta >= 0).then_some(parsed)
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        Offset(
            self.base_offset
                .saturating_add(i64::from(self.last_offset_delta)),
        )
    }

    /// Offset behind the batch.
    pub fn end(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
            .saturating_add(1)
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Whether the batch is a marker.
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }
}

fn be_i32(bytes: &[u8], at: usize) -> i32 {
    let mut array = [0; 4];
    array.copy_from_slice(&bytes[at..at + 4]);
    i32::from_be_bytes(array)
}

fn be_i64(bytes: &[u8], at: usize) -> i64 {
    let mut array = [0; 8];
    array.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(array)
}

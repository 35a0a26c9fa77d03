//! The record batch of magic 2: a view of its 61-byte header, the checks that need no more than
//! that, and the stamp that makes it part of a log.
//!
//! A batch is stored and sent as it came (decision D7): base offset and leader epoch lie before
//! the checksummed part and are patched in place (rule P3); records are not decoded.
//!
//! | at | field | at | field |
//! |---|---|---|---|
//! | 0 | base offset i64 | 27 | base timestamp i64 |
//! | 8 | length i32, bytes after this field | 35 | max timestamp i64 |
//! | 12 | leader epoch i32 | 43 | producer id i64 |
//! | 16 | magic i8 = 2 | 51 | producer epoch i16 |
//! | 17 | CRC-32C u32 of all bytes from 21 on | 53 | base sequence i32 |
//! | 21 | attributes i16 | 57 | record count i32 |
//! | 23 | last offset delta i32 | 61 | records |

use stdx::crc32c;

use crate::compress::Codec;
use crate::error::ErrorCode;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;
/// Bytes before those that the length field counts.
pub const LENGTH_END: usize = 12;
/// The only magic there is since Kafka 4.0.
pub const MAGIC: i8 = 2;
/// The longest batch the length field can announce, bytes.
pub const BATCH_BYTES_MAX: usize = LENGTH_END + i32::MAX as usize;

/// Attribute bit 3: timestamps are the broker's.
pub const LOG_APPEND_TIME: i16 = 0x08;
/// Attribute bit 4: part of a transaction.
pub const TRANSACTIONAL: i16 = 0x10;
/// Attribute bit 5: a control batch.
pub const CONTROL: i16 = 0x20;
/// Attribute bit 6: the base timestamp field holds the delete horizon (rule C2).
pub const DELETE_HORIZON: i16 = 0x40;

pub(crate) const BASE_OFFSET_AT: usize = 0;
pub(crate) const LENGTH_AT: usize = 8;
pub(crate) const LEADER_EPOCH_AT: usize = 12;
pub(crate) const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
pub(crate) const ATTRIBUTES_AT: usize = 21;
pub(crate) const LAST_OFFSET_DELTA_AT: usize = 23;
pub(crate) const BASE_TIMESTAMP_AT: usize = 27;
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;
pub(crate) const PRODUCER_ID_AT: usize = 43;
pub(crate) const PRODUCER_EPOCH_AT: usize = 51;
pub(crate) const BASE_SEQUENCE_AT: usize = 53;
pub(crate) const RECORD_COUNT_AT: usize = 57;

/// Why bytes are no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("batch of {needed} bytes, {left} are there")]
    Short {
        /// Bytes the batch takes, or the header if not even that is there.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// The length field is too small for a header, or negative.
    #[error("batch length field says {length}, at least 49 is needed")]
    Length {
        /// The field.
        length: i32,
    },
    /// Another format. Magic 0 and 1 ended with Kafka 4.0.
    #[error("magic {magic}, only 2 is understood")]
    Magic {
        /// The byte found.
        magic: i8,
    },
    /// Bytes follow where one batch was expected.
    #[error("{left} bytes follow the one batch that was expected")]
    Trailing {
        /// How many.
        left: usize,
    },
}

/// One whole batch: at least 61 bytes, as many as its length field says, magic 2.
///
/// Nothing else is known: the checksum and every other field are as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchView<'a>(&'a [u8]);

impl<'a> BatchView<'a> {
    /// The batch at the front of `bytes`, and what follows it.
    ///
    /// # Errors
    /// [`BatchError`], also when the bytes end within the batch.
    pub fn split(bytes: &'a [u8]) -> Result<(BatchView<'a>, &'a [u8]), BatchError> {
        let left = bytes.len();
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Short {
                needed: HEADER_BYTES,
                left,
            });
        };
        let length = i32::from_be_bytes(field(header, LENGTH_AT));
        let needed = match usize::try_from(length) {
            Ok(length) if length >= HEADER_BYTES - LENGTH_END => LENGTH_END + length,
            _ => return Err(BatchError::Length { length }),
        };
        let magic = header[MAGIC_AT] as i8;
        if magic != MAGIC {
            return Err(BatchError::Magic { magic });
        }
        match bytes.split_at_checked(needed) {
            Some((batch, rest)) => Ok((BatchView(batch), rest)),
            None => Err(BatchError::Short { needed, left }),
        }
    }

    /// The one batch that `bytes` are.
    ///
    /// # Errors
    /// [`BatchError`], also when something follows it.
    pub fn whole(bytes: &'a [u8]) -> Result<BatchView<'a>, BatchError> {
        match BatchView::split(bytes)? {
            (batch, []) => Ok(batch),
            (_, rest) => Err(BatchError::Trailing { left: rest.len() }),
        }
    }

    /// All bytes, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Length in bytes, header included; at least 61.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a batch has at least its header"
    )]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes after the header, compressed as [`BatchView::codec`] says.
    pub fn records(&self) -> &'a [u8] {
        &self.0[HEADER_BYTES..]
    }

    /// Offset of the first record. From a client: 0.
    pub fn base_offset(&self) -> Offset {
        Offset(i64::from_be_bytes(field(self.0, BASE_OFFSET_AT)))
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset().plus(i64::from(self.last_offset_delta()))
    }

    /// The epoch of the leader that appended it.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(i32::from_be_bytes(field(self.0, LEADER_EPOCH_AT)))
    }

    /// The checksum as stored.
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(field(self.0, CRC_AT))
    }

    /// All attribute bits.
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(field(self.0, ATTRIBUTES_AT))
    }

    /// The codec; `None` for a number without a meaning.
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_id((self.attributes() & 0x07) as u8)
    }

    /// Whether timestamps are the broker's (the one in [`BatchView::max_timestamp`], for all).
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & LOG_APPEND_TIME != 0
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Whether it holds a marker instead of data.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// When its tombstones may go, ms since 1970, if that was decided (rule C2).
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON != 0).then(|| self.base_timestamp())
    }

    /// Last offset minus base offset.
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(field(self.0, LAST_OFFSET_DELTA_AT))
    }

    /// What the records' timestamps are counted from, ms since 1970.
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(field(self.0, BASE_TIMESTAMP_AT))
    }

    /// The largest timestamp, ms since 1970; −1 without any.
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(field(self.0, MAX_TIMESTAMP_AT))
    }

    /// The producer; negative without idempotence.
    pub fn producer_id(&self) -> ProducerId {
        ProducerId(i64::from_be_bytes(field(self.0, PRODUCER_ID_AT)))
    }

    /// The producer's epoch.
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(i16::from_be_bytes(field(self.0, PRODUCER_EPOCH_AT)))
    }

    /// The sequence number of the first record; negative without idempotence.
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(field(self.0, BASE_SEQUENCE_AT))
    }

    /// The sequence number of the last record: 0 follows `i32::MAX` (rule T2). −1 without a
    /// producer.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence() {
            base if base < 0 => base,
            base => advance_sequence(base, self.last_offset_delta()),
        }
    }

    /// How many records there are, says the header.
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(field(self.0, RECORD_COUNT_AT))
    }
}

/// The sequence number `delta` records later: 0 follows `i32::MAX` (rule T2).
pub fn advance_sequence(sequence: i32, delta: i32) -> i32 {
    ((i64::from(sequence) + i64::from(delta)) & i64::from(i32::MAX)) as i32
}

/// Whether the stored checksum is that of the bytes.
pub fn check_crc(batch: &BatchView<'_>) -> bool {
    batch.crc() == crc32c(&batch.bytes()[ATTRIBUTES_AT..])
}

/// Why a batch from a client is not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Refusal {
    /// The code of the answer.
    pub code: ErrorCode,
    /// What exactly, for people.
    pub reason: &'static str,
}

const fn refuse(code: ErrorCode, reason: &'static str) -> Refusal {
    Refusal { code, reason }
}

/// What a topic accepts; checked without decoding records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// `max.message.bytes`.
    pub batch_bytes_max: usize,
    /// `segment.bytes`.
    pub segment_bytes_max: usize,
    /// No record may be newer than this, ms since 1970: now plus
    /// `message.timestamp.after.max.ms`. `None` on LogAppendTime topics.
    pub timestamp_max: Option<i64>,
}

/// The one batch a client may send per partition, as Produce at this version carries it (rule P1).
///
/// # Errors
/// [`Refusal`] with INVALID_RECORD, CORRUPT_MESSAGE or UNSUPPORTED_COMPRESSION_TYPE.
pub fn client_batch(records: &[u8], produce_version: i16) -> Result<BatchView<'_>, Refusal> {
    let batch = match BatchView::whole(records) {
        Ok(batch) => batch,
        Err(BatchError::Trailing { .. }) => {
            return Err(refuse(
                ErrorCode::InvalidRecord,
                "more than one batch for a partition",
            ));
        }
        Err(BatchError::Magic { .. }) => {
            return Err(refuse(
                ErrorCode::InvalidRecord,
                "only batches of magic 2 are accepted",
            ));
        }
        Err(BatchError::Short { .. }) => {
            return Err(refuse(
                ErrorCode::InvalidRecord,
                "no whole batch for a partition",
            ));
        }
        Err(BatchError::Length { .. }) => {
            return Err(refuse(
                ErrorCode::CorruptMessage,
                "the batch's length field is impossible",
            ));
        }
    };
    match batch.codec() {
        None => Err(refuse(
            ErrorCode::InvalidRecord,
            "unknown compression codec",
        )),
        Some(Codec::Zstd) if produce_version < 7 => Err(refuse(
            ErrorCode::UnsupportedCompressionType,
            "zstd needs version 7 of the produce request",
        )),
        Some(_) => Ok(batch),
    }
}

/// Everything the header alone can tell about a client's batch, checksum included (rules P1, P2).
///
/// # Errors
/// [`Refusal`] with the code of the first rule broken.
pub fn check_client_batch(batch: &BatchView<'_>, limits: &BatchLimits) -> Result<(), Refusal> {
    if batch.base_offset() != Offset(0) {
        return Err(refuse(
            ErrorCode::InvalidRecord,
            "the base offset of a new batch must be 0",
        ));
    }
    // Before the checksum: a batch that is too large is not worth reading through.
    if batch.len() > limits.batch_bytes_max {
        return Err(refuse(
            ErrorCode::MessageTooLarge,
            "the batch is larger than max.message.bytes",
        ));
    }
    if !check_crc(batch) {
        return Err(refuse(
            ErrorCode::CorruptMessage,
            "the checksum does not hold",
        ));
    }
    if batch.len() > limits.segment_bytes_max {
        return Err(refuse(
            ErrorCode::RecordListTooLarge,
            "the batch is larger than segment.bytes",
        ));
    }
    if batch.record_count() <= 0 || batch.last_offset_delta() < 0 {
        return Err(refuse(
            ErrorCode::InvalidRecord,
            "a batch must hold at least one record",
        ));
    }
    if batch.record_count() - 1 != batch.last_offset_delta() {
        return Err(refuse(
            ErrorCode::InvalidRecord,
            "the record count and the last offset delta disagree",
        ));
    }
    if batch.is_control() {
        return Err(refuse(
            ErrorCode::InvalidRecord,
            "clients may not write control batches",
        ));
    }
    if batch.producer_id().is_some() && batch.base_sequence() < 0 {
        return Err(refuse(
            ErrorCode::InvalidRecord,
            "a batch with a producer id needs a sequence number",
        ));
    }
    if batch.is_log_append_time() {
        return Err(refuse(
            ErrorCode::InvalidTimestamp,
            "producers may not mark timestamps as log append time",
        ));
    }
    if limits
        .timestamp_max
        .is_some_and(|max| batch.max_timestamp() > max)
    {
        return Err(refuse(
            ErrorCode::InvalidTimestamp,
            "the newest timestamp lies beyond message.timestamp.after.max.ms",
        ));
    }
    Ok(())
}

/// What appending writes into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Epoch of the leader that appends.
    pub leader_epoch: LeaderEpoch,
    /// On LogAppendTime topics: the time, ms since 1970. It changes checksummed bytes, so the
    /// checksum is computed again (rules P3, P5).
    pub append_time_ms: Option<i64>,
}

/// Stamps a batch in place. `batch` must be the bytes of a [`BatchView`], whole.
///
/// # Panics
/// If `batch` is shorter than a header: it is our own copy of a checked batch, never input.
pub fn stamp(batch: &mut [u8], stamp: Stamp) {
    stamp_header(batch, stamp.base_offset, stamp.leader_epoch);
    if let Some(time) = stamp.append_time_ms {
        put(batch, MAX_TIMESTAMP_AT, time.to_be_bytes());
        let attributes = i16::from_be_bytes(field(batch, ATTRIBUTES_AT)) | LOG_APPEND_TIME;
        put(batch, ATTRIBUTES_AT, attributes.to_be_bytes());
        put_crc(batch);
    }
}

/// Corrects the maximum timestamp of a whole batch, if it differs; the checksum follows.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp: i64) {
    if i64::from_be_bytes(field(batch, MAX_TIMESTAMP_AT)) != max_timestamp {
        put(batch, MAX_TIMESTAMP_AT, max_timestamp.to_be_bytes());
        put_crc(batch);
    }
}

/// The part of [`stamp`] that lies before the checksummed bytes: 16 bytes are enough.
///
/// # Panics
/// If there are fewer.
pub fn stamp_header(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    put(batch, BASE_OFFSET_AT, base_offset.0.to_be_bytes());
    put(batch, LEADER_EPOCH_AT, leader_epoch.0.to_be_bytes());
}

/// Computes the checksum of a whole batch and stores it.
pub(crate) fn put_crc(batch: &mut [u8]) {
    let crc = crc32c(&batch[ATTRIBUTES_AT..]);
    put(batch, CRC_AT, crc.to_be_bytes());
}

/// The batches of a buffer, front to back.
///
/// A batch cut at the end is legal (rule F2) and ends the iteration: [`Batches::tail`] then holds
/// what is left. Anything else that is no batch is an error, after which nothing more comes.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
    broken: bool,
}

/// Walks the batches of `bytes`.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches {
        rest: bytes,
        broken: false,
    }
}

impl<'a> Batches<'a> {
    /// What was not returned yet; after the end, the cut batch, if any.
    pub fn tail(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken || self.rest.is_empty() {
            return None;
        }
        match BatchView::split(self.rest) {
            Ok((batch, rest)) => {
                self.rest = rest;
                Some(Ok(batch))
            }
            Err(BatchError::Short { .. }) => None,
            Err(error) => {
                self.broken = true;
                Some(Err(error))
            }
        }
    }
}

/// `N` bytes at `at`, which the caller knows to be there.
#[inline]
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[inline]
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

#[cfg(test)]
mod tests;

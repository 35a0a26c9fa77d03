//! New batches: what our client sends and our coordinators append.

use stdx::varint::{len_i32, len_i64, put_i32, put_i64};

use super::{BatchRecords, RecordError};
use crate::batch::{self, BatchView, HEADER_BYTES, LENGTH_END, MAGIC};
use crate::compress::{Codec, CompressError, compress};
use crate::ids::{LeaderEpoch, ProducerEpoch, ProducerId};

/// A record to append.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// ms since 1970.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone on compacted topics.
    pub value: Option<&'a [u8]>,
    /// Header keys and values, in order; keys may repeat (rule C4).
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// Why no batch came of it.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No record was appended: there is no such batch (rule P1).
    #[error("a batch needs at least one record")]
    Empty,
    /// The batch would be longer than its length field can say.
    #[error("batch of {bytes} bytes is too long for its format")]
    TooLong {
        /// What it would be.
        bytes: usize,
    },
    /// The codec failed.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// The batch to be written anew cannot be read.
    #[error(transparent)]
    Source(#[from] RecordError),
}

/// Collects records and makes one batch of them: base offset 0, leader epoch −1, checksum right.
/// [`batch::stamp`] makes it part of a log.
///
/// ```
/// use wire::record::{BatchBuilder, NewRecord};
/// let mut builder = BatchBuilder::new();
/// builder.append(&NewRecord { timestamp: 1, value: Some(b"hello"), ..Default::default() });
/// let bytes = builder.build()?;
/// # Ok::<(), wire::record::BuildError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    /// Room for the header, then the records, uncompressed.
    bytes: Vec<u8>,
    codec: Codec,
    level: Option<i32>,
    attributes: i16,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: i32,
    count: i32,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    /// No records, no compression, no producer id.
    pub fn new() -> BatchBuilder {
        BatchBuilder {
            bytes: vec![0; HEADER_BYTES],
            codec: Codec::None,
            level: None,
            attributes: 0,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: -1,
            count: 0,
            last_offset_delta: -1,
            base_timestamp: -1,
            max_timestamp: -1,
        }
    }

    /// Compress with this codec; level as in [`compress`].
    pub fn compression(mut self, codec: Codec, level: Option<i32>) -> BatchBuilder {
        self.codec = codec;
        self.level = level;
        self
    }

    /// Idempotent: the producer and the sequence number of the first record.
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, sequence: i32) -> BatchBuilder {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = sequence;
        self
    }

    /// Part of the producer's transaction.
    pub fn transactional(mut self) -> BatchBuilder {
        self.attributes |= batch::TRANSACTIONAL;
        self
    }

    /// A control batch; its records are markers.
    pub fn control(mut self) -> BatchBuilder {
        self.attributes |= batch::CONTROL;
        self
    }

    /// Appends a record at the next offset.
    pub fn append(&mut self, record: &NewRecord<'_>) {
        self.append_at(self.last_offset_delta + 1, record);
    }

    /// Appends a record at an offset further on, counted from the batch's base offset: for batches
    /// with gaps, as compaction leaves them.
    pub fn append_at(&mut self, offset_delta: i32, record: &NewRecord<'_>) {
        debug_assert!(
            offset_delta > self.last_offset_delta,
            "offsets rise within a batch"
        );
        if self.count == 0 {
            self.base_timestamp = record.timestamp;
        }
        self.count += 1;
        self.last_offset_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let timestamp_delta = record.timestamp.wrapping_sub(self.base_timestamp);

        put_i32(
            &mut self.bytes,
            body_bytes(timestamp_delta, offset_delta, record) as i32,
        );
        self.bytes.push(0);
        put_i64(&mut self.bytes, timestamp_delta);
        put_i32(&mut self.bytes, offset_delta);
        put_nullable(&mut self.bytes, record.key);
        put_nullable(&mut self.bytes, record.value);
        put_i32(&mut self.bytes, record.headers.len() as i32);
        for (key, value) in record.headers {
            put_nullable(&mut self.bytes, Some(key));
            put_nullable(&mut self.bytes, *value);
        }
    }

    /// Records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Length of the batch so far without compression, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The most this record would add, bytes.
    pub fn record_bytes_max(record: &NewRecord<'_>) -> usize {
        // The deltas are not known yet: count them at their longest.
        let body = body_bytes(i64::MIN, i32::MIN, record);
        body + len_i64(body as i64)
    }

    /// The batch.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(mut self) -> Result<Vec<u8>, BuildError> {
        if self.count == 0 {
            return Err(BuildError::Empty);
        }
        if self.codec != Codec::None {
            let packed = compress(self.codec, self.level, &self.bytes[HEADER_BYTES..])?;
            self.bytes.truncate(HEADER_BYTES);
            self.bytes.extend_from_slice(&packed);
        }
        let mut bytes = self.bytes;
        let Ok(length) = i32::try_from(bytes.len() - LENGTH_END) else {
            return Err(BuildError::TooLong { bytes: bytes.len() });
        };
        let attributes = self.attributes | i16::from(self.codec.id());
        batch::put(&mut bytes, batch::LENGTH_AT, length.to_be_bytes());
        batch::put(
            &mut bytes,
            batch::LEADER_EPOCH_AT,
            LeaderEpoch::NONE.0.to_be_bytes(),
        );
        batch::put(&mut bytes, batch::MAGIC_AT, MAGIC.to_be_bytes());
        batch::put(&mut bytes, batch::ATTRIBUTES_AT, attributes.to_be_bytes());
        batch::put(
            &mut bytes,
            batch::LAST_OFFSET_DELTA_AT,
            self.last_offset_delta.to_be_bytes(),
        );
        batch::put(
            &mut bytes,
            batch::BASE_TIMESTAMP_AT,
            self.base_timestamp.to_be_bytes(),
        );
        batch::put(
            &mut bytes,
            batch::MAX_TIMESTAMP_AT,
            self.max_timestamp.to_be_bytes(),
        );
        batch::put(
            &mut bytes,
            batch::PRODUCER_ID_AT,
            self.producer_id.0.to_be_bytes(),
        );
        batch::put(
            &mut bytes,
            batch::PRODUCER_EPOCH_AT,
            self.producer_epoch.0.to_be_bytes(),
        );
        batch::put(
            &mut bytes,
            batch::BASE_SEQUENCE_AT,
            self.base_sequence.to_be_bytes(),
        );
        batch::put(&mut bytes, batch::RECORD_COUNT_AT, self.count.to_be_bytes());
        batch::put_crc(&mut bytes);
        Ok(bytes)
    }
}

/// Writes a client's batch anew: same records and producer, another codec (rule P4) or offset
/// deltas in order (rule P2). `cap` as in [`BatchRecords::open`].
///
/// # Errors
/// [`BuildError`].
pub fn rebuild(
    source: &BatchView<'_>,
    codec: Codec,
    level: Option<i32>,
    cap: usize,
) -> Result<Vec<u8>, BuildError> {
    let mut builder = BatchBuilder::new().compression(codec, level).producer(
        source.producer_id(),
        source.producer_epoch(),
        source.base_sequence(),
    );
    if source.is_transactional() {
        builder = builder.transactional();
    }
    let records = BatchRecords::open(source, cap)?;
    let mut headers = Vec::new();
    for record in &records {
        let record = record?;
        headers.clear();
        headers.extend(
            record
                .headers
                .iter()
                .map(|header| (header.key, header.value)),
        );
        builder.append(&NewRecord {
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &headers,
        });
    }
    builder.build()
}

/// Bytes of a record after its length.
fn body_bytes(timestamp_delta: i64, offset_delta: i32, record: &NewRecord<'_>) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|(key, value)| nullable_bytes(Some(key)) + nullable_bytes(*value))
        .sum();
    1 + len_i64(timestamp_delta)
        + len_i32(offset_delta)
        + nullable_bytes(record.key)
        + nullable_bytes(record.value)
        + len_i32(record.headers.len() as i32)
        + headers
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    match bytes {
        None => 1,
        Some(bytes) => len_i32(bytes.len() as i32) + bytes.len(),
    }
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_i32(out, -1),
        Some(bytes) => {
            put_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

//! A batch with some of its records taken out, as compaction leaves it (rules C1 to C3).
//!
//! What stays, stays as it was: base and last offset (clients advance by them, and the last
//! sequence number follows from them), producer, epochs, codec, attributes, and the bytes of each
//! record. Only a delete horizon changes them: it takes the place of the base timestamp, so the
//! records' timestamp deltas are counted anew from it (KIP-534).

use stdx::Reader;
use stdx::varint::{len_i64, put_i32, put_i64};

use super::{BatchRecords, BuildError, Record, RecordError};
use crate::batch::{self, BatchView, HEADER_BYTES, LENGTH_END};
use crate::compress::{Codec, compress};

/// What is left of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retained {
    /// Every record, and nothing else to change: the batch as it is.
    Whole,
    /// Some records, or all of them with a horizon: this batch in its place.
    Part {
        /// The new batch.
        bytes: Vec<u8>,
        /// Records in it.
        records: i32,
    },
    /// No record.
    Nothing,
}

/// The delete horizon a batch may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// Tombstones and markers may go at this time, ms since 1970.
    pub at_ms: i64,
    /// Set it although no tombstone is left: the batch is the marker of a transaction without data.
    pub always: bool,
}

/// Keeps the records of a batch that `keep` says. If a tombstone is among them, or the horizon is
/// `always` set, and the batch has no delete horizon yet, it gets this one (rule C2). `cap` as in
/// [`BatchRecords::open`].
///
/// # Errors
/// [`BuildError`]: the records cannot be read, or do not compress again.
pub fn retain(
    source: &BatchView<'_>,
    horizon: Horizon,
    cap: usize,
    mut keep: impl FnMut(&Record<'_>) -> bool,
) -> Result<Retained, BuildError> {
    let records = BatchRecords::open(source, cap)?;
    // Bytes of records that stay, neighbours joined.
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let (mut count, mut tombstones, mut max_timestamp) = (0, false, -1);
    let mut walk = records.iter();
    let mut from = 0;
    while let Some(record) = walk.next() {
        let record = record?;
        let to = walk.reader.position();
        if keep(&record) {
            match runs.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ => runs.push((from, to)),
            }
            count += 1;
            tombstones |= record.value.is_none();
            max_timestamp = max_timestamp.max(record.timestamp);
        }
        from = to;
    }
    if count == 0 {
        return Ok(Retained::Nothing);
    }
    let horizon = (source.delete_horizon_ms().is_none() && (tombstones || horizon.always))
        .then_some(horizon.at_ms);
    if count == records.count() && horizon.is_none() {
        return Ok(Retained::Whole);
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + source.records().len() + 16);
    bytes.extend_from_slice(&source.bytes()[..HEADER_BYTES]);
    match horizon {
        None => {
            for (from, to) in runs {
                bytes.extend_from_slice(&records.bytes()[from..to]);
            }
        }
        Some(at_ms) => {
            batch::put(&mut bytes, batch::BASE_TIMESTAMP_AT, at_ms.to_be_bytes());
            let attributes = source.attributes() | batch::DELETE_HORIZON;
            batch::put(&mut bytes, batch::ATTRIBUTES_AT, attributes.to_be_bytes());
            let moved = source.base_timestamp().wrapping_sub(at_ms);
            for (from, to) in runs {
                shift_timestamps(&records.bytes()[from..to], moved, &mut bytes)?;
            }
        }
    }
    if !source.is_log_append_time() {
        batch::put(
            &mut bytes,
            batch::MAX_TIMESTAMP_AT,
            max_timestamp.to_be_bytes(),
        );
    }
    batch::put(&mut bytes, batch::RECORD_COUNT_AT, count.to_be_bytes());
    if let Some(codec) = source.codec().filter(|codec| *codec != Codec::None) {
        let packed = compress(codec, None, &bytes[HEADER_BYTES..])?;
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(&packed);
    }
    let Ok(length) = i32::try_from(bytes.len() - LENGTH_END) else {
        return Err(BuildError::TooLong { bytes: bytes.len() });
    };
    batch::put(&mut bytes, batch::LENGTH_AT, length.to_be_bytes());
    batch::put_crc(&mut bytes);
    Ok(Retained::Part {
        bytes,
        records: count,
    })
}

/// The header that stands in for a batch whose records are all gone: offsets, producer and epochs
/// stay (rule C3).
pub fn empty_batch(source: &BatchView<'_>) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes.copy_from_slice(&source.bytes()[..HEADER_BYTES]);
    let kept = batch::LOG_APPEND_TIME | batch::TRANSACTIONAL | batch::CONTROL;
    let attributes = source.attributes() & kept;
    let length = (HEADER_BYTES - LENGTH_END) as i32;
    batch::put(&mut bytes, batch::LENGTH_AT, length.to_be_bytes());
    batch::put(&mut bytes, batch::ATTRIBUTES_AT, attributes.to_be_bytes());
    batch::put(&mut bytes, batch::BASE_TIMESTAMP_AT, (-1i64).to_be_bytes());
    batch::put(&mut bytes, batch::RECORD_COUNT_AT, 0i32.to_be_bytes());
    batch::put_crc(&mut bytes);
    bytes
}

/// Copies whole records with `moved` added to each timestamp delta.
fn shift_timestamps(records: &[u8], moved: i64, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let mut reader = Reader::new(records);
    let mut copy = |reader: &mut Reader<'_>| -> Result<(), stdx::CursorError> {
        let position = reader.position();
        let length = reader.varint_i32()?;
        let length = usize::try_from(length).map_err(|_| stdx::CursorError::BadLength {
            position,
            length: i64::from(length),
        })?;
        let mut body = Reader::new(reader.take(length)?);
        let attributes = body.u8()?;
        let delta = body.varint_i64()?.wrapping_add(moved);
        let rest = body.rest();
        put_i32(out, (1 + len_i64(delta) + rest.len()) as i32);
        out.push(attributes);
        put_i64(out, delta);
        out.extend_from_slice(rest);
        Ok(())
    };
    while !reader.is_empty() {
        // They were read once already.
        copy(&mut reader).map_err(|reason| RecordError::Damaged { index: -1, reason })?;
    }
    Ok(())
}

//! Records inside a batch: a walker that checks every length, the validation that `strict` topics
//! and compacted topics ask for, the builder of new batches, and what compaction leaves of old ones.
//!
//! A record: length varint, attributes i8, timestamp delta varlong, offset delta varint, key and
//! value each (length varint, −1 for null), header count varint × (key length, key, value length
//! or −1, value). Headers are a list, not a map: duplicate keys are legal and ordered (rule C4).

mod builder;
mod retain;
#[cfg(test)]
mod tests;
mod validate;

use std::borrow::Cow;

use stdx::{CursorError, Reader};

pub use builder::{BatchBuilder, BuildError, NewRecord, rebuild};
pub use retain::{Horizon, Retained, empty_batch, retain};
pub use validate::{
    RECORD_REFUSALS_MAX, RecordRefusal, RecordRules, RecordsRefused, Validated, validate,
};

use crate::batch::BatchView;
use crate::compress::{Codec, DecompressError, decompress};
use crate::ids::Offset;

/// The shortest record: length, attributes, two deltas, null key, null value, no headers.
pub const RECORD_BYTES_MIN: usize = 7;

/// Why a batch's records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The batch names a codec without a meaning.
    #[error("compression codec {id} is unknown")]
    UnknownCodec {
        /// Attribute bits 0 to 2.
        id: u8,
    },
    /// The records do not decompress, or to too much.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// A record's bytes do not hold together.
    #[error("record {index}: {reason}")]
    Damaged {
        /// Which record, from 0.
        index: i32,
        /// What was wrong.
        reason: CursorError,
    },
    /// The batch holds more bytes than its records, or fewer records than it says.
    #[error("{count} records announced, {left} bytes left after them")]
    Count {
        /// Records the header announces.
        count: i32,
        /// Bytes left over; 0 if the count itself is impossible.
        left: usize,
    },
}

/// One record, as slices of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset: the batch's base offset plus its delta.
    pub offset: Offset,
    /// Its delta as it stands.
    pub offset_delta: i32,
    /// ms since 1970; on LogAppendTime batches the batch's.
    pub timestamp: i64,
    /// Unused so far; kept.
    pub attributes: i8,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone on compacted topics.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: Headers<'a>,
}

/// The headers of a record, in order, duplicates included (rule C4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: usize,
}

/// One header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key; UTF-8 by convention, which nobody checks.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    /// No headers.
    pub const EMPTY: Headers<'static> = Headers {
        bytes: &[],
        count: 0,
    };

    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Walks them.
    pub fn iter(&self) -> HeaderIter<'a> {
        HeaderIter {
            reader: Reader::new(self.bytes),
            left: self.count,
        }
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = Header<'a>;
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

/// Walks headers. They were checked when the record was read, so nothing can fail here.
#[derive(Debug, Clone)]
pub struct HeaderIter<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        read_header(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// A batch's records, decompressed if need be.
#[derive(Debug, Clone)]
pub struct BatchRecords<'a> {
    bytes: Cow<'a, [u8]>,
    count: i32,
    base_offset: Offset,
    base_timestamp: i64,
    /// On LogAppendTime batches: the timestamp of every record.
    append_time: Option<i64>,
}

impl<'a> BatchRecords<'a> {
    /// Opens a batch; uncompressed records are borrowed. `cap` limits what may come out, bytes
    /// ([`crate::compress::BATCH_DECOMPRESSED_BYTES_MAX`]).
    ///
    /// # Errors
    /// [`RecordError`]: unknown codec, damage, more than the cap, or a count that cannot be.
    pub fn open(batch: &BatchView<'a>, cap: usize) -> Result<BatchRecords<'a>, RecordError> {
        let bytes = match batch.codec() {
            None => {
                return Err(RecordError::UnknownCodec {
                    id: (batch.attributes() & 0x07) as u8,
                });
            }
            Some(Codec::None) => Cow::Borrowed(batch.records()),
            Some(codec) => Cow::Owned(decompress(codec, batch.records(), cap)?),
        };
        let count = batch.record_count();
        let possible = bytes.len() / RECORD_BYTES_MIN;
        if usize::try_from(count).map_or(true, |count| count > possible) {
            return Err(RecordError::Count { count, left: 0 });
        }
        Ok(BatchRecords {
            bytes,
            count,
            base_offset: batch.base_offset(),
            base_timestamp: batch.base_timestamp(),
            append_time: batch.is_log_append_time().then(|| batch.max_timestamp()),
        })
    }

    /// How many records the header announces; that many can be there.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The records' bytes, decompressed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Walks the records. An error ends the walk.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter {
            reader: Reader::new(&self.bytes),
            index: 0,
            count: self.count,
            base_offset: self.base_offset,
            base_timestamp: self.base_timestamp,
            append_time: self.append_time,
            ended: false,
        }
    }
}

impl<'r> IntoIterator for &'r BatchRecords<'_> {
    type Item = Result<Record<'r>, RecordError>;
    type IntoIter = RecordIter<'r>;

    fn into_iter(self) -> RecordIter<'r> {
        self.iter()
    }
}

/// Walks the records of a batch, checking each; allocates nothing.
#[derive(Debug, Clone)]
pub struct RecordIter<'r> {
    reader: Reader<'r>,
    index: i32,
    count: i32,
    base_offset: Offset,
    base_timestamp: i64,
    append_time: Option<i64>,
    ended: bool,
}

impl<'r> Iterator for RecordIter<'r> {
    type Item = Result<Record<'r>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.index >= self.count {
            self.ended = true;
            // Bytes behind the last record mean that the count is wrong.
            let left = self.reader.left();
            return (left > 0).then_some(Err(RecordError::Count {
                count: self.count,
                left,
            }));
        }
        let read = self.read();
        match read {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                self.ended = true;
                Some(Err(RecordError::Damaged {
                    index: self.index,
                    reason,
                }))
            }
        }
    }
}

impl<'r> RecordIter<'r> {
    fn read(&mut self) -> Result<Record<'r>, CursorError> {
        let position = self.reader.position();
        let length = self.reader.varint_i32()?;
        let length = usize::try_from(length).map_err(|_| CursorError::BadLength {
            position,
            length: i64::from(length),
        })?;
        let mut body = Reader::new(self.reader.take(length)?);
        let attributes = body.i8()?;
        let timestamp_delta = body.varint_i64()?;
        let offset_delta = body.varint_i32()?;
        let key = read_nullable(&mut body)?;
        let value = read_nullable(&mut body)?;
        let headers = read_headers(&mut body)?;
        body.finish()?;
        Ok(Record {
            offset: self.base_offset.plus(i64::from(offset_delta)),
            offset_delta,
            timestamp: self
                .append_time
                .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            attributes,
            key,
            value,
            headers,
        })
    }
}

/// A zigzag length, −1 for null, and that many bytes.
fn read_nullable<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, CursorError> {
    let position = reader.position();
    match reader.varint_i32()? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) => reader.take(length).map(Some),
            Err(_) => Err(CursorError::BadLength {
                position,
                length: i64::from(length),
            }),
        },
    }
}

fn read_header<'a>(reader: &mut Reader<'a>) -> Result<Header<'a>, CursorError> {
    let position = reader.position();
    let key = read_nullable(reader)?.ok_or(CursorError::BadLength {
        position,
        length: -1,
    })?;
    let value = read_nullable(reader)?;
    Ok(Header { key, value })
}

/// Checks the headers once, so that walking them later cannot fail.
fn read_headers<'a>(body: &mut Reader<'a>) -> Result<Headers<'a>, CursorError> {
    let position = body.position();
    let announced = body.varint_i32()?;
    let bytes = body.rest();
    let bad = CursorError::BadLength {
        position,
        length: i64::from(announced),
    };
    let count = usize::try_from(announced).map_err(|_| bad)?;
    // A header takes at least two bytes.
    if count > bytes.len() / 2 {
        return Err(bad);
    }
    for _ in 0..count {
        read_header(body)?;
    }
    let used = bytes.len() - body.left();
    Ok(Headers {
        bytes: &bytes[..used],
        count,
    })
}

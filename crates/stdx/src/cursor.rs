//! Checked reading of integers and lengths from a slice, and the writer that mirrors it.
//!
//! Methods without a suffix for bytes; `_le` and `_be` say the byte order, because our own
//! formats are little-endian and Kafka's are big-endian, and a default would be guessed wrong.

use crate::varint::{self, VarintError};

/// Why a [`Reader`] could not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorError {
    /// The input ended: `wanted` bytes at `position`, `left` were there.
    Short {
        /// Where the read began, bytes from the start.
        position: usize,
        /// Bytes asked for; `usize::MAX` if the length itself is beyond any slice.
        wanted: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// No varint at `position`.
    Varint {
        /// Where the read began, bytes from the start.
        position: usize,
        /// What was wrong with it.
        reason: VarintError,
    },
    /// A length or count that is negative or above the caller's limit.
    BadLength {
        /// Where the read began, bytes from the start.
        position: usize,
        /// The length as read.
        length: i64,
    },
    /// A string that is not UTF-8.
    NotUtf8 {
        /// Where the string's bytes began, bytes from the start.
        position: usize,
    },
    /// Bytes left over where there should be none.
    Trailing {
        /// Where the input should have ended.
        position: usize,
        /// Bytes that were left.
        left: usize,
    },
}

impl std::fmt::Display for CursorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CursorError::Short {
                position,
                wanted,
                left,
            } => {
                write!(f, "{wanted} bytes wanted at {position}, {left} left")
            }
            CursorError::Varint { position, reason } => write!(f, "{reason} at {position}"),
            CursorError::BadLength { position, length } => {
                write!(f, "length {length} at {position} out of bounds")
            }
            CursorError::NotUtf8 { position } => write!(f, "string at {position} is not UTF-8"),
            CursorError::Trailing { position, left } => {
                write!(f, "{left} bytes left over at {position}")
            }
        }
    }
}

impl std::error::Error for CursorError {}

/// Reads a slice front to back. A failed read consumes nothing.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

macro_rules! read_integers {
    ($($kind:ty, $le:ident, $be:ident;)*) => {
        impl Reader<'_> {
            $(
                #[doc = concat!("The next little-endian `", stringify!($kind), "`.")]
                #[inline]
                pub fn $le(&mut self) -> Result<$kind, CursorError> {
                    self.array().map(<$kind>::from_le_bytes)
                }

                #[doc = concat!("The next big-endian `", stringify!($kind), "`.")]
                #[inline]
                pub fn $be(&mut self) -> Result<$kind, CursorError> {
                    self.array().map(<$kind>::from_be_bytes)
                }
            )*
        }

        impl Writer {
            $(
                #[doc = concat!("Appends a little-endian `", stringify!($kind), "`.")]
                #[inline]
                pub fn $le(&mut self, value: $kind) -> &mut Writer {
                    self.raw(&value.to_le_bytes())
                }

                #[doc = concat!("Appends a big-endian `", stringify!($kind), "`.")]
                #[inline]
                pub fn $be(&mut self, value: $kind) -> &mut Writer {
                    self.raw(&value.to_be_bytes())
                }
            )*
        }
    };
}

read_integers! {
    u16, u16_le, u16_be;
    i16, i16_le, i16_be;
    u32, u32_le, u32_be;
    i32, i32_le, i32_be;
    u64, u64_le, u64_be;
    i64, i64_le, i64_be;
}

impl<'a> Reader<'a> {
    /// Starts at the front.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// What was not read yet, without reading it.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    /// Fails unless everything was read.
    pub fn finish(&self) -> Result<(), CursorError> {
        match self.left() {
            0 => Ok(()),
            left => Err(CursorError::Trailing {
                position: self.position,
                left,
            }),
        }
    }

    /// The next `length` bytes.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], CursorError> {
        let rest = self.rest();
        let Some(taken) = rest.get(..length) else {
            return Err(self.short(length));
        };
        self.position += length;
        Ok(taken)
    }

    /// The next `N` bytes, by value.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CursorError> {
        let Some(taken) = self.rest().first_chunk::<N>() else {
            return Err(self.short(N));
        };
        self.position += N;
        Ok(*taken)
    }

    /// Passes over `length` bytes.
    pub fn skip(&mut self, length: usize) -> Result<(), CursorError> {
        self.take(length).map(drop)
    }

    /// The next byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, CursorError> {
        self.array().map(|[byte]| byte)
    }

    /// The next byte, signed.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, CursorError> {
        self.u8().map(|byte| byte as i8)
    }

    /// The next unsigned varint.
    pub fn varint_u32(&mut self) -> Result<u32, CursorError> {
        let decoded = varint::take_u32(self.rest());
        self.varint(decoded)
    }

    /// The next unsigned varint.
    pub fn varint_u64(&mut self) -> Result<u64, CursorError> {
        let decoded = varint::take_u64(self.rest());
        self.varint(decoded)
    }

    /// The next zigzag varint.
    pub fn varint_i32(&mut self) -> Result<i32, CursorError> {
        let decoded = varint::take_i32(self.rest());
        self.varint(decoded)
    }

    /// The next zigzag varint.
    pub fn varint_i64(&mut self) -> Result<i64, CursorError> {
        let decoded = varint::take_i64(self.rest());
        self.varint(decoded)
    }

    /// A little-endian `u32` length and that many bytes.
    pub fn bytes_u32_le(&mut self) -> Result<&'a [u8], CursorError> {
        let start = self.clone();
        let length = self.u32_le()?;
        self.sized(i64::from(length), start)
    }

    /// A big-endian `i16` length and that many bytes; a negative length is an error.
    pub fn bytes_i16_be(&mut self) -> Result<&'a [u8], CursorError> {
        let start = self.clone();
        let length = self.i16_be()?;
        self.sized(i64::from(length), start)
    }

    /// A big-endian `i32` length and that many bytes; a negative length is an error.
    pub fn bytes_i32_be(&mut self) -> Result<&'a [u8], CursorError> {
        let start = self.clone();
        let length = self.i32_be()?;
        self.sized(i64::from(length), start)
    }

    /// An unsigned varint length and that many bytes.
    pub fn bytes_varint(&mut self) -> Result<&'a [u8], CursorError> {
        let start = self.clone();
        let length = self.varint_u32()?;
        self.sized(i64::from(length), start)
    }

    /// A little-endian `u32` length and a string of that many bytes.
    pub fn text_u32_le(&mut self) -> Result<&'a str, CursorError> {
        let start = self.clone();
        let bytes = self.bytes_u32_le()?;
        self.text(bytes, start)
    }

    /// An unsigned varint length and a string of that many bytes.
    pub fn text_varint(&mut self) -> Result<&'a str, CursorError> {
        let start = self.clone();
        let bytes = self.bytes_varint()?;
        self.text(bytes, start)
    }

    /// A little-endian `u32` count of items of at least `item_bytes_min` bytes each: refused if
    /// the items cannot be there, so that the caller may allocate for them.
    pub fn count_u32_le(&mut self, item_bytes_min: usize) -> Result<usize, CursorError> {
        let start = self.clone();
        let count = self.u32_le()?;
        self.counted(u64::from(count), item_bytes_min, start)
    }

    /// An unsigned varint count of items of at least `item_bytes_min` bytes each: refused if the
    /// items cannot be there, so that the caller may allocate for them.
    pub fn count_varint(&mut self, item_bytes_min: usize) -> Result<usize, CursorError> {
        let start = self.clone();
        let count = self.varint_u64()?;
        self.counted(count, item_bytes_min, start)
    }

    fn counted(
        &mut self,
        count: u64,
        item_bytes_min: usize,
        start: Reader<'a>,
    ) -> Result<usize, CursorError> {
        // An item of no bytes would let any count through: take it as one.
        let needed = count.saturating_mul(item_bytes_min.max(1) as u64);
        if needed > self.left() as u64 {
            *self = start;
            let length = i64::try_from(count).unwrap_or(i64::MAX);
            return Err(CursorError::BadLength {
                position: self.position,
                length,
            });
        }
        Ok(count as usize)
    }

    fn sized(&mut self, length: i64, start: Reader<'a>) -> Result<&'a [u8], CursorError> {
        let taken = match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(CursorError::BadLength {
                position: start.position,
                length,
            }),
        };
        if taken.is_err() {
            *self = start;
        }
        taken
    }

    fn text(&mut self, bytes: &'a [u8], start: Reader<'a>) -> Result<&'a str, CursorError> {
        std::str::from_utf8(bytes).map_err(|_| {
            let position = self.position - bytes.len();
            *self = start;
            CursorError::NotUtf8 { position }
        })
    }

    fn varint<T>(&mut self, decoded: Result<(T, usize), VarintError>) -> Result<T, CursorError> {
        match decoded {
            Ok((value, taken)) => {
                self.position += taken;
                Ok(value)
            }
            Err(reason) => Err(CursorError::Varint {
                position: self.position,
                reason,
            }),
        }
    }

    #[cold]
    fn short(&self, wanted: usize) -> CursorError {
        CursorError::Short {
            position: self.position,
            wanted,
            left: self.left(),
        }
    }
}

/// Appends to a `Vec<u8>` in the same vocabulary as [`Reader`].
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Empty.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Empty, with room.
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer(Vec::with_capacity(capacity))
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// What was written, to change in place: a length or checksum known only at the end.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Appends bytes as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends `count` zero bytes.
    pub fn zeros(&mut self, count: usize) -> &mut Writer {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// Appends zero bytes up to the next multiple of `align`.
    pub fn pad_to(&mut self, align: usize) -> &mut Writer {
        let end = self.0.len().next_multiple_of(align);
        self.0.resize(end, 0);
        self
    }

    /// Appends a byte.
    #[inline]
    pub fn u8(&mut self, value: u8) -> &mut Writer {
        self.0.push(value);
        self
    }

    /// Appends a byte, signed.
    #[inline]
    pub fn i8(&mut self, value: i8) -> &mut Writer {
        self.u8(value as u8)
    }

    /// Appends an unsigned varint.
    pub fn varint_u32(&mut self, value: u32) -> &mut Writer {
        varint::put_u32(&mut self.0, value);
        self
    }

    /// Appends an unsigned varint.
    pub fn varint_u64(&mut self, value: u64) -> &mut Writer {
        varint::put_u64(&mut self.0, value);
        self
    }

    /// Appends a zigzag varint.
    pub fn varint_i32(&mut self, value: i32) -> &mut Writer {
        varint::put_i32(&mut self.0, value);
        self
    }

    /// Appends a zigzag varint.
    pub fn varint_i64(&mut self, value: i64) -> &mut Writer {
        varint::put_i64(&mut self.0, value);
        self
    }

    /// Appends a little-endian `u32` length and the bytes.
    ///
    /// # Panics
    /// If there are 4 GiB or more of them: our own state, never input.
    pub fn bytes_u32_le(&mut self, bytes: &[u8]) -> &mut Writer {
        self.u32_le(u32::try_from(bytes.len()).expect("less than 4 GiB"))
            .raw(bytes)
    }

    /// Appends an unsigned varint length and the bytes.
    pub fn bytes_varint(&mut self, bytes: &[u8]) -> &mut Writer {
        self.varint_u64(bytes.len() as u64).raw(bytes)
    }

    /// Overwrites four bytes at `position`, little-endian.
    ///
    /// # Panics
    /// If they were not written before: our own state, never input.
    pub fn patch_u32_le(&mut self, position: usize, value: u32) {
        self.0[position..position + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Overwrites four bytes at `position`, big-endian.
    ///
    /// # Panics
    /// If they were not written before: our own state, never input.
    pub fn patch_u32_be(&mut self, position: usize, value: u32) {
        self.0[position..position + 4].copy_from_slice(&value.to_be_bytes());
    }
}

impl From<Vec<u8>> for Writer {
    fn from(bytes: Vec<u8>) -> Writer {
        Writer(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::new();
        writer.u8(7).i8(-7).u16_le(0x1234).u16_be(0x1234).i16_be(-2);
        writer
            .u32_le(0xdead_beef)
            .i32_be(-3)
            .u64_be(u64::MAX - 1)
            .i64_le(i64::MIN);
        writer
            .varint_u32(300)
            .varint_i64(-5)
            .varint_i32(i32::MIN)
            .varint_u64(u64::MAX);
        writer
            .bytes_u32_le(b"abc")
            .bytes_varint("d\u{e9}".as_bytes())
            .pad_to(16);
        assert_eq!(&writer.as_slice()[2..6], [0x34, 0x12, 0x12, 0x34]);
        let bytes = writer.into_bytes();
        assert_eq!(bytes.len() % 16, 0);

        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.i8(), Ok(-7));
        assert_eq!(reader.u16_le(), Ok(0x1234));
        assert_eq!(reader.u16_be(), Ok(0x1234));
        assert_eq!(reader.i16_be(), Ok(-2));
        assert_eq!(reader.u32_le(), Ok(0xdead_beef));
        assert_eq!(reader.i32_be(), Ok(-3));
        assert_eq!(reader.u64_be(), Ok(u64::MAX - 1));
        assert_eq!(reader.i64_le(), Ok(i64::MIN));
        assert_eq!(reader.varint_u32(), Ok(300));
        assert_eq!(reader.varint_i64(), Ok(-5));
        assert_eq!(reader.varint_i32(), Ok(i32::MIN));
        assert_eq!(reader.varint_u64(), Ok(u64::MAX));
        assert_eq!(reader.bytes_u32_le(), Ok(&b"abc"[..]));
        assert_eq!(reader.text_varint(), Ok("d\u{e9}"));
        assert!(reader.rest().iter().all(|&byte| byte == 0));
        assert!(matches!(reader.finish(), Err(CursorError::Trailing { .. })) || reader.is_empty());
    }

    #[test]
    fn a_failed_read_consumes_nothing() {
        // A length of 9 with three bytes behind it.
        let bytes = [9, 0, 0, 0, 1, 2, 3];
        let mut reader = Reader::new(&bytes);
        assert_eq!(
            reader.bytes_u32_le(),
            Err(CursorError::Short {
                position: 4,
                wanted: 9,
                left: 3
            })
        );
        assert_eq!(reader.position(), 0);
        assert!(reader.u64_le().is_err());
        assert_eq!(reader.position(), 0);
        assert_eq!(reader.u32_le(), Ok(9));
        assert!(reader.take(4).is_err());
        assert_eq!(reader.take(3), Ok(&[1u8, 2, 3][..]));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn hostile_lengths_and_counts_are_refused_before_anything_is_allocated() {
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0]);
        assert_eq!(
            reader.count_u32_le(16),
            Err(CursorError::BadLength {
                position: 0,
                length: 0xffff_ffff
            })
        );
        assert!(reader.count_u32_le(0).is_err());
        assert_eq!(
            reader.bytes_i32_be(),
            Err(CursorError::BadLength {
                position: 0,
                length: -1
            })
        );
        assert!(reader.bytes_varint().is_err());
        assert_eq!(reader.position(), 0);
        let mut reader = Reader::new(&[2, 0, 0, 0, 1, 2]);
        assert_eq!(reader.count_u32_le(1), Ok(2));
    }

    #[test]
    fn text_must_be_utf8() {
        let mut reader = Reader::new(&[2, 0xff, 0xfe]);
        assert_eq!(
            reader.text_varint(),
            Err(CursorError::NotUtf8 { position: 1 })
        );
        assert_eq!(reader.position(), 0);
    }

    #[test]
    fn a_length_is_patched_in_afterwards() {
        let mut writer = Writer::new();
        writer.u32_be(0).u32_le(0).raw(b"body");
        writer.patch_u32_be(0, 4);
        writer.patch_u32_le(4, 5);
        assert_eq!(writer.as_slice(), b"\0\0\0\x04\x05\0\0\0body");
    }
}

//! The codecs a batch may use, and decompression that never yields more than the caller's cap.
//!
//! Every codec decompresses as a stream into a buffer that grows with what really came out, so a
//! bomb costs the cap at most (decision D9), and says so by an error of its own:
//! [`DecompressError::TooLarge`].

mod gzip;
mod lz4;
mod snappy;
#[cfg(test)]
mod tests;
mod zstd;

use std::fmt;
use std::io::{self, Read};
use std::ops::RangeInclusive;

/// The most one batch may decompress to, bytes: `batch_decompressed_bytes_max` (protocol.md
/// section 7). A batch is at most `max.message.bytes` long, 1 MiB by default, so only records
/// that compress 64-fold come near.
pub const BATCH_DECOMPRESSED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why bytes could not be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// More came out than the caller allowed; nothing is known of the rest.
    #[error("{codec} data decompresses to more than the {cap} bytes a batch may hold")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The cap, bytes.
        cap: usize,
    },
    /// The bytes are no such stream.
    #[error("{codec} data is damaged: {reason}")]
    Corrupt {
        /// The codec.
        codec: Codec,
        /// What the codec said.
        reason: io::Error,
    },
}

/// Why bytes could not be compressed.
#[derive(Debug, thiserror::Error)]
#[error("{codec} compression failed: {reason}")]
pub struct CompressError {
    /// The codec.
    pub codec: Codec,
    /// What the codec said.
    pub reason: io::Error,
}

/// Decompresses a whole batch's records.
///
/// # Errors
/// [`DecompressError`]; with [`Codec::None`] only `TooLarge`.
pub fn decompress(codec: Codec, bytes: &[u8], cap: usize) -> Result<Vec<u8>, DecompressError> {
    let result = match codec {
        Codec::None if bytes.len() > cap => Err(Stop::TooLarge),
        Codec::None => Ok(bytes.to_vec()),
        Codec::Gzip => gzip::decompress(bytes, cap),
        Codec::Snappy => snappy::decompress(bytes, cap),
        Codec::Lz4 => lz4::decompress(bytes, cap),
        Codec::Zstd => zstd::decompress(bytes, cap),
    };
    result.map_err(|stop| match stop {
        Stop::TooLarge => DecompressError::TooLarge { codec, cap },
        Stop::Corrupt(reason) => DecompressError::Corrupt { codec, reason },
    })
}

/// Compresses a whole batch's records. `level` is clamped to [`Codec::levels`]; `None` takes the
/// codec's default.
///
/// # Errors
/// The codec ran out of memory.
pub fn compress(codec: Codec, level: Option<i32>, bytes: &[u8]) -> Result<Vec<u8>, CompressError> {
    let level = match (codec.levels(), level) {
        (Some(levels), Some(level)) => level.clamp(*levels.start(), *levels.end()),
        (_, _) => codec.default_level(),
    };
    match codec {
        Codec::None => Ok(bytes.to_vec()),
        Codec::Gzip => gzip::compress(bytes, level),
        Codec::Snappy => snappy::compress(bytes),
        Codec::Lz4 => lz4::compress(bytes),
        Codec::Zstd => zstd::compress(bytes, level),
    }
    .map_err(|reason| CompressError { codec, reason })
}

/// What ends a decompression early.
enum Stop {
    TooLarge,
    Corrupt(io::Error),
}

impl From<io::Error> for Stop {
    fn from(reason: io::Error) -> Stop {
        Stop::Corrupt(reason)
    }
}

/// Reads a decoder to its end, but one byte beyond the cap at most.
fn read_capped(decoder: impl Read, input_bytes: usize, cap: usize) -> Result<Vec<u8>, Stop> {
    // A guess from the input, not from what the stream announces.
    let mut out = Vec::with_capacity(input_bytes.saturating_mul(3).min(cap));
    decoder.take(cap as u64 + 1).read_to_end(&mut out)?;
    if out.len() > cap {
        Err(Stop::TooLarge)
    } else {
        Ok(out)
    }
}

/// The compression of a batch, attribute bits 0 to 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Codec {
    /// Records as they are.
    #[default]
    None = 0,
    /// gzip members.
    Gzip = 1,
    /// Snappy in xerial's framing.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard frames.
    Zstd = 4,
}

impl Codec {
    /// All codecs, by number.
    pub const ALL: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];

    /// The codec of this number; `None` for 5 to 7, which nobody has given a meaning.
    pub fn from_id(id: u8) -> Option<Codec> {
        Codec::ALL.get(usize::from(id)).copied()
    }

    /// The number in a batch's attributes.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Kafka's name, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// The levels it can be asked for, as Kafka's `compression.*.level` bounds them; `None` if it
    /// has none.
    pub fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Codec::None | Codec::Snappy => None,
            Codec::Gzip => Some(1..=9),
            Codec::Lz4 => Some(1..=17),
            Codec::Zstd => Some(-131_072..=22),
        }
    }

    /// The level taken when none is asked for; 0 without levels.
    pub fn default_level(self) -> i32 {
        match self {
            Codec::None | Codec::Snappy => 0,
            Codec::Gzip => 6,
            Codec::Lz4 => 9,
            Codec::Zstd => 3,
        }
    }

    /// The codec of this name, as in `compression.type`; `producer` is not a codec.
    pub fn from_name(name: &str) -> Option<Codec> {
        match name {
            "uncompressed" => Some(Codec::None),
            _ => Codec::ALL.into_iter().find(|codec| codec.name() == name),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

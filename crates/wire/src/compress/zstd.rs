//! Zstandard: one or more frames in a row.

use std::io;

use zstd::stream::read::Decoder;

use super::{Stop, read_capped};

/// Level 22 of a Java producer writes frames with a window of 2^27 bytes. The decoder reserves
/// the window, but touches only what the data fills, and that has our cap.
const WINDOW_LOG_MAX: u32 = 27;

pub(super) fn decompress(bytes: &[u8], cap: usize) -> Result<Vec<u8>, Stop> {
    let mut decoder = Decoder::with_buffer(bytes)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    read_capped(decoder, bytes.len(), cap)
}

pub(super) fn compress(bytes: &[u8], level: i32) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(bytes, level)
}

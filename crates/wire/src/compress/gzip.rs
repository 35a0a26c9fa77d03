//! gzip: one or more members in a row, as Java's `GZIPInputStream` reads them.

use std::io::{self, Write};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Stop, read_capped};

pub(super) fn decompress(bytes: &[u8], cap: usize) -> Result<Vec<u8>, Stop> {
    read_capped(MultiGzDecoder::new(bytes), bytes.len(), cap)
}

pub(super) fn compress(bytes: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let out = Vec::with_capacity(bytes.len() / 2 + 64);
    let mut encoder = GzEncoder::new(out, Compression::new(level as u32));
    encoder.write_all(bytes)?;
    encoder.finish()
}

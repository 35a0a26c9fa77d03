//! LZ4 frames.
//!
//! Written with 64 KB independent blocks, no content size, no checksums beyond the header's: what
//! Java's reader insists on. Read with linked blocks, other block sizes and checksums too, because
//! other clients send them. The broken header checksum of 2014 belongs to magic 0 and 1, which
//! nobody sends any more. A frame that ends at a block's border without its end mark is read as
//! far as it goes; the record count tells whether something is missing.

use std::io::{self, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Stop, read_capped};

pub(super) fn decompress(bytes: &[u8], cap: usize) -> Result<Vec<u8>, Stop> {
    read_capped(FrameDecoder::new(bytes), bytes.len(), cap)
}

pub(super) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let info = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent);
    let out = Vec::with_capacity(bytes.len() / 2 + 64);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(bytes)?;
    encoder.finish().map_err(io::Error::other)
}

//! Snappy in xerial's framing, which Kafka took over from snappy-java.
//!
//! A preamble of 16 bytes (eight magic bytes, version i32 = 1, compatible version i32 = 1), then
//! blocks: length i32 and a raw Snappy block of up to 32 KiB of data. A preamble may come again
//! between blocks, where streams were concatenated. Some clients send one raw block without any
//! framing; that is read too.

use std::io;

use super::Stop;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const PREAMBLE_BYTES: usize = 16;
/// snappy-java's block size, bytes before compression.
const BLOCK_BYTES: usize = 32 * 1024;
/// Snappy's best is a copy of 64 bytes in 3: a block that claims more is lying.
const EXPANSION_MAX: usize = 22;

pub(super) fn decompress(bytes: &[u8], cap: usize) -> Result<Vec<u8>, Stop> {
    let mut out = Vec::new();
    if !bytes.starts_with(&MAGIC) {
        append_block(&mut out, bytes, cap)?;
        return Ok(out);
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = rest
                .get(PREAMBLE_BYTES..)
                .ok_or_else(|| corrupt("preamble cut short"))?;
            continue;
        }
        let (length, after) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| corrupt("block length cut short"))?;
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| corrupt("negative block length"))?;
        let (block, after) = after
            .split_at_checked(length)
            .ok_or_else(|| corrupt("block cut short"))?;
        append_block(&mut out, block, cap)?;
        rest = after;
    }
    Ok(out)
}

fn append_block(out: &mut Vec<u8>, block: &[u8], cap: usize) -> Result<(), Stop> {
    let claimed = snap::raw::decompress_len(block).map_err(io::Error::from)?;
    // The claim is checked before a byte is reserved for it.
    if claimed > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(corrupt("block claims more than Snappy can expand"));
    }
    if claimed > cap - out.len() {
        return Err(Stop::TooLarge);
    }
    let start = out.len();
    out.resize(start + claimed, 0);
    snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(io::Error::from)?;
    Ok(())
}

fn corrupt(reason: &'static str) -> Stop {
    Stop::Corrupt(io::Error::new(io::ErrorKind::InvalidData, reason))
}

pub(super) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(BLOCK_BYTES.min(bytes.len()))];
    for chunk in bytes.chunks(BLOCK_BYTES) {
        let length = encoder.compress(chunk, &mut block)?;
        out.extend_from_slice(&(length as i32).to_be_bytes());
        out.extend_from_slice(&block[..length]);
    }
    Ok(out)
}

//! CRC-32C (Castagnoli), at once or piece by piece.
//!
//! The polynomial of Kafka's record batches and of every format of our own. The implementation
//! picks the fastest instructions of the processor at run time.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC-32C of what has the checksum `crc`, followed by `bytes`: for whoever keeps the four bytes of
/// a checksum between pieces instead of a [`Crc32c`]. `0` is the checksum of nothing.
pub fn crc32c_extend(crc: u32, bytes: &[u8]) -> u32 {
    // The algorithm's state is the checksum before its final inversion.
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
    digest.update(bytes);
    digest.finalize() as u32
}

/// CRC-32C over bytes that come in pieces; equal to [`crc32c`] over all of them.
#[derive(Clone)]
pub struct Crc32c(Digest);

impl Crc32c {
    /// Nothing seen yet.
    pub fn new() -> Crc32c {
        Crc32c(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of everything seen so far; more may follow.
    pub fn value(&self) -> u32 {
        // A 32-bit algorithm: the upper half is zero.
        self.0.finalize() as u32
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Crc32c::new()
    }
}

impl std::fmt::Debug for Crc32c {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crc32c({:#010x})", self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_holds() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn pieces_give_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..5000u32).map(|i| (i * 7 + i / 256) as u8).collect();
        let whole = crc32c(&bytes);
        for cut in [0, 1, 7, 63, 64, 65, 1000, 4096, 5000] {
            let mut crc = Crc32c::new();
            crc.update(&bytes[..cut]);
            assert_eq!(crc.value(), crc32c(&bytes[..cut]));
            crc.update(&bytes[cut..]);
            assert_eq!(crc.value(), whole, "cut at {cut}");
            let front = crc32c_extend(0, &bytes[..cut]);
            assert_eq!(crc32c_extend(front, &bytes[cut..]), whole, "cut at {cut}");
        }
    }
}

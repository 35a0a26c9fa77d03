//! Variable-length integers: seven bits a byte, least significant group first.
//!
//! Unsigned values as they are (LEB128), signed ones zigzagged so that small magnitudes stay
//! short. This is what Kafka calls `UNSIGNED_VARINT`, `VARINT` and `VARLONG`.
//!
//! Decoding accepts padded forms (`0x80 0x00` is zero), as Kafka does, but never more bytes than
//! the type's longest form and never bits beyond its width.

/// Longest form of a 32-bit value, in bytes.
pub const U32_BYTES_MAX: usize = 5;
/// Longest form of a 64-bit value, in bytes.
pub const U64_BYTES_MAX: usize = 10;

/// Why bytes are no varint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarintError {
    /// The slice ended before the last group.
    Truncated,
    /// More groups, or more bits, than the type has room for.
    TooLong,
}

impl std::fmt::Display for VarintError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            VarintError::Truncated => "varint cut short",
            VarintError::TooLong => "varint wider than its type",
        })
    }
}

impl std::error::Error for VarintError {}

/// Maps small magnitudes of either sign to small unsigned values.
pub fn zigzag_i32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

/// Undoes [`zigzag_i32`].
pub fn unzigzag_i32(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

/// Maps small magnitudes of either sign to small unsigned values.
pub fn zigzag_i64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag_i64`].
pub fn unzigzag_i64(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Bytes that [`put_u64`] appends for this value; the same for a `u32` widened.
pub fn len_u64(value: u64) -> usize {
    // 64 - leading zeros bits, at least one, in groups of seven.
    ((63 - (value | 1).leading_zeros() as usize) / 7) + 1
}

/// Bytes that [`put_i32`] appends for this value.
pub fn len_i32(value: i32) -> usize {
    len_u64(u64::from(zigzag_i32(value)))
}

/// Bytes that [`put_i64`] appends for this value.
pub fn len_i64(value: i64) -> usize {
    len_u64(zigzag_i64(value))
}

/// Appends an unsigned varint.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    put_u64(out, u64::from(value));
}

/// Appends an unsigned varint.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a zigzag varint.
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    put_u32(out, zigzag_i32(value));
}

/// Appends a zigzag varint.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, zigzag_i64(value));
}

/// Decodes an unsigned varint at the front of `bytes`: the value and how many bytes it took.
pub fn take_u32(bytes: &[u8]) -> Result<(u32, usize), VarintError> {
    let (value, taken) = take_groups(bytes, U32_BYTES_MAX, u32::BITS)?;
    Ok((value as u32, taken))
}

/// Decodes an unsigned varint at the front of `bytes`: the value and how many bytes it took.
pub fn take_u64(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    take_groups(bytes, U64_BYTES_MAX, u64::BITS)
}

/// Decodes a zigzag varint at the front of `bytes`: the value and how many bytes it took.
pub fn take_i32(bytes: &[u8]) -> Result<(i32, usize), VarintError> {
    take_u32(bytes).map(|(value, taken)| (unzigzag_i32(value), taken))
}

/// Decodes a zigzag varint at the front of `bytes`: the value and how many bytes it took.
pub fn take_i64(bytes: &[u8]) -> Result<(i64, usize), VarintError> {
    take_u64(bytes).map(|(value, taken)| (unzigzag_i64(value), taken))
}

#[inline]
fn take_groups(bytes: &[u8], bytes_max: usize, bits: u32) -> Result<(u64, usize), VarintError> {
    let mut value = 0u64;
    let mut shift = 0u32;
    for (index, &byte) in bytes.iter().take(bytes_max).enumerate() {
        let group = u64::from(byte & 0x7f);
        // Only the last group can overhang.
        if bits - shift < 7 && group >> (bits - shift) != 0 {
            return Err(VarintError::TooLong);
        }
        value |= group << shift;
        if byte & 0x80 == 0 {
            return Ok((value, index + 1));
        }
        shift += 7;
    }
    Err(if bytes.len() < bytes_max {
        VarintError::Truncated
    } else {
        VarintError::TooLong
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_encodings() {
        for (value, bytes) in [
            (0u32, &[0u8][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut out = Vec::new();
            put_u32(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(take_u32(bytes), Ok((value, bytes.len())));
        }
        for (value, bytes) in [
            (0i32, &[0u8][..]),
            (-1, &[1]),
            (1, &[2]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
        ] {
            let mut out = Vec::new();
            put_i32(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(take_i32(bytes), Ok((value, bytes.len())));
        }
    }

    #[test]
    fn every_width_comes_back_and_its_length_is_known() {
        for shift in 0..64 {
            for delta in [-1i64, 0, 1] {
                let value = (1u64 << shift).wrapping_add_signed(delta);
                let mut out = Vec::new();
                put_u64(&mut out, value);
                assert_eq!(out.len(), len_u64(value), "{value}");
                assert_eq!(take_u64(&out), Ok((value, out.len())));
                let signed = value as i64;
                let mut out = Vec::new();
                put_i64(&mut out, signed);
                assert_eq!(out.len(), len_i64(signed));
                assert_eq!(take_i64(&out), Ok((signed, out.len())));
                let narrow = value as i32;
                let mut out = Vec::new();
                put_i32(&mut out, narrow);
                assert_eq!(out.len(), len_i32(narrow));
                assert_eq!(take_i32(&out), Ok((narrow, out.len())));
            }
        }
    }

    #[test]
    fn short_and_overlong_input_is_refused() {
        assert_eq!(take_u32(&[]), Err(VarintError::Truncated));
        assert_eq!(take_u32(&[0x80, 0x80]), Err(VarintError::Truncated));
        assert_eq!(
            take_u32(&[0xff, 0xff, 0xff, 0xff, 0x1f]),
            Err(VarintError::TooLong)
        );
        assert_eq!(take_u32(&[0x80; 5]), Err(VarintError::TooLong));
        assert_eq!(take_u64(&[0x80; 9]), Err(VarintError::Truncated));
        assert_eq!(take_u64(&[0x80; 11]), Err(VarintError::TooLong));
        let mut widest = [0xff; 10];
        widest[9] = 1;
        assert_eq!(take_u64(&widest), Ok((u64::MAX, 10)));
        widest[9] = 2;
        assert_eq!(take_u64(&widest), Err(VarintError::TooLong));
    }

    #[test]
    fn padded_zero_is_zero() {
        assert_eq!(take_u32(&[0x80, 0]), Ok((0, 2)));
    }
}

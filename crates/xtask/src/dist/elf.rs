//! Whether a binary needs anything of the machine it runs on: its program headers say so.

/// Begins every ELF file: magic, 64 bits, little-endian.
const MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
/// A program header that names a dynamic loader.
const INTERPRETER: u32 = 3;

/// Succeeds for a binary that no loader has to complete.
///
/// # Errors
/// It is no 64-bit ELF file, or asks for a dynamic loader.
pub fn check_static(file: &[u8]) -> Result<(), String> {
    let damaged = || "the binary is no whole ELF file".to_owned();
    if !file.starts_with(&MAGIC) {
        return Err(damaged());
    }
    let number = |at: usize, width: usize| -> Result<usize, String> {
        let bytes = file.get(at..at + width).ok_or_else(damaged)?;
        let value = bytes
            .iter()
            .rev()
            .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| damaged())
    };
    // e_phoff, e_phentsize and e_phnum of the ELF-64 header.
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let kind = number(table.saturating_add(index * size), 4)?;
        if kind == INTERPRETER as usize {
            return Err("the binary is not static: it asks for a dynamic loader".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one program header of this kind.
    fn file(kind: u32) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(&MAGIC);
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        file
    }

    #[test]
    fn a_binary_with_a_loader_is_not_static() {
        assert_eq!(check_static(&file(1)), Ok(()));
        assert!(check_static(&file(INTERPRETER)).is_err());
    }

    #[test]
    fn what_is_no_binary_is_refused() {
        assert!(check_static(b"#!/bin/sh").is_err());
        assert!(check_static(&file(1)[..66]).is_err(), "cut");
    }
}

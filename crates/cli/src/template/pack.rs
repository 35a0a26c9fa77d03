//! Bytes as text: base64, and numbers unpacked from them.

use std::fmt::Write;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes base64 (RFC 4648), with or without padding.
pub fn base64(bytes: &[u8], padded: bool, out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let mut word = [0u8; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes(word);
        for digit in 0..4 {
            if digit <= chunk.len() {
                let at = word >> (18 - 6 * digit) & 0x3f;
                out.push(ALPHABET[at as usize]);
            } else if padded {
                out.push(b'=');
            }
        }
    }
}

/// What to take from the front of some bytes, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpack(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Pad,
    Number {
        bytes: usize,
        signed: bool,
        little: bool,
    },
    Char,
    Rest,
    End,
}

impl Unpack {
    /// Reads a specification such as `>Iq$`. Numbers are big-endian until `<`.
    pub fn parse(text: &str) -> Result<Unpack, String> {
        let mut little = false;
        let mut pieces = Vec::new();
        for c in text.chars() {
            let number = |bytes, signed| Piece::Number {
                bytes,
                signed,
                little,
            };
            pieces.push(match c {
                '<' => {
                    little = true;
                    continue;
                }
                '>' => {
                    little = false;
                    continue;
                }
                'x' => Piece::Pad,
                'b' => number(1, true),
                'B' => number(1, false),
                'h' => number(2, true),
                'H' => number(2, false),
                'i' => number(4, true),
                'I' => number(4, false),
                'q' => number(8, true),
                'Q' => number(8, false),
                'c' | '.' => Piece::Char,
                's' => Piece::Rest,
                '$' => Piece::End,
                other => {
                    return Err(format!(
                        "unpack[{text}]: {other} is none of < > x b B h H i I q Q c . s $"
                    ));
                }
            });
        }
        Ok(Unpack(pieces))
    }

    /// Writes what was unpacked; bytes that do not suffice end it with a note.
    pub fn write(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        let mut text = String::new();
        for piece in &self.0 {
            match *piece {
                // A pad takes nothing from the input, as rpk has it: it is a blank in the output.
                Piece::Pad => text.push(' '),
                Piece::Number {
                    bytes,
                    signed,
                    little,
                } => {
                    let Some((taken, left)) = rest.split_at_checked(bytes) else {
                        text.push_str("(not enough bytes)");
                        break;
                    };
                    rest = left;
                    // A string takes everything.
                    let _ = write!(text, "{}", number(taken, signed, little));
                }
                Piece::Char => {
                    let Some((byte, left)) = rest.split_first() else {
                        text.push_str("(not enough bytes)");
                        break;
                    };
                    rest = left;
                    out.extend_from_slice(std::mem::take(&mut text).as_bytes());
                    out.push(*byte);
                }
                Piece::Rest => {
                    out.extend_from_slice(std::mem::take(&mut text).as_bytes());
                    out.extend_from_slice(rest);
                    rest = &[];
                }
                Piece::End if !rest.is_empty() => {
                    let _ = write!(text, "({} bytes left)", rest.len());
                    break;
                }
                Piece::End => {}
            }
        }
        out.extend_from_slice(text.as_bytes());
    }
}

pub(super) fn number(bytes: &[u8], signed: bool, little: bool) -> i128 {
    let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    let raw = if little {
        bytes.iter().rev().fold(0, fold)
    } else {
        bytes.iter().fold(0, fold)
    };
    let bits = bytes.len() * 8;
    if signed && raw >> (bits - 1) == 1 {
        i128::from(raw) - (1i128 << bits)
    } else {
        i128::from(raw)
    }
}

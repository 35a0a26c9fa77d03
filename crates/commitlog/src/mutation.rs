//! Hostile bytes for the format tests: what rot, torn writes and malice make of a valid encoding.
//!
//! Every decoder must answer any of them with a value or an error: no panic, and no allocation
//! beyond what the input's own length explains.

use fastrand::Rng;

/// Calls `decode` with `rounds` mutations of `bytes` made from `seed`, and with every prefix of
/// the first kilobyte.
pub(crate) fn for_each_mutation(
    bytes: &[u8],
    seed: u64,
    rounds: usize,
    mut decode: impl FnMut(&[u8]),
) {
    for end in 0..bytes.len().min(1024) {
        decode(&bytes[..end]);
    }
    let mut rng = Rng::with_seed(seed);
    for _ in 0..rounds {
        let mut mutated = bytes.to_vec();
        for _ in 0..rng.usize(1..4) {
            mutate(&mut mutated, &mut rng);
        }
        decode(&mutated);
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        bytes.push(rng.u8(..));
        return;
    }
    let at = rng.usize(..bytes.len());
    match rng.u8(..6) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << rng.u8(..8),
        2 => bytes[at] = rng.u8(..),
        // A hostile length, count or offset, at any width.
        3 => {
            let value = *rng
                .choice(&[
                    0,
                    1,
                    0x7fff_ffff,
                    0xffff_ffff,
                    i64::MAX as u64,
                    u64::MAX,
                    1 << 63,
                ])
                .unwrap_or(&0);
            let width = *rng.choice(&[2, 4, 8]).unwrap_or(&4);
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        }
        4 => bytes.extend((0..rng.usize(1..40)).map(|_| 0xa5)),
        _ => {
            let end = (at + rng.usize(1..32)).min(bytes.len());
            bytes.drain(at..end);
        }
    }
}

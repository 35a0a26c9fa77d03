//! The newest offset of each key in the dirty part of a log, bounded.
//!
//! Keys are known by 96 bits of a keyed hash, offsets by their distance from the first one: 16
//! bytes an entry, whatever the keys are. The hash has a secret key, so that nobody can choose two
//! record keys that meet: the older record of such a pair would be lost. By chance two of a
//! billion records meet in a map of two million keys once in 10^13 passes.
//!
//! The map never grows beyond what it was made for: when it is full, the pass ends there.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use siphasher::sip128::SipHasher13;

/// The map takes no more keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeysFull;

type Name = [u32; 3];

/// From key to newest offset.
pub(crate) struct Keys {
    hasher: SipHasher13,
    // Never walked: its order is nobody's business.
    newest: HashMap<Name, u32, BuildHasherDefault<Already>>,
    keys_max: usize,
    first: i64,
}

impl Keys {
    /// For offsets from `first` on, and at most `keys_max` keys, for which room is made now.
    pub fn new(secret: [u8; 16], keys_max: usize, first: i64) -> Keys {
        Keys {
            hasher: SipHasher13::new_with_key(&secret),
            newest: HashMap::with_capacity_and_hasher(keys_max, BuildHasherDefault::default()),
            keys_max,
            first,
        }
    }

    /// Notes a record; offsets come in order.
    pub fn put(&mut self, key: &[u8], offset: i64) -> Result<(), KeysFull> {
        let distance = u32::try_from(offset - self.first).map_err(|_| KeysFull)?;
        let name = self.name(key);
        if let Some(known) = self.newest.get_mut(&name) {
            *known = distance;
            return Ok(());
        }
        if self.newest.len() >= self.keys_max {
            return Err(KeysFull);
        }
        self.newest.insert(name, distance);
        Ok(())
    }

    /// The newest offset of a key, if the dirty part has it.
    pub fn newest(&self, key: &[u8]) -> Option<i64> {
        if self.newest.is_empty() {
            return None;
        }
        let distance = self.newest.get(&self.name(key))?;
        Some(self.first + i64::from(*distance))
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.newest.len()
    }

    fn name(&self, key: &[u8]) -> Name {
        let hash = self.hasher.hash(key);
        [hash.h1 as u32, (hash.h1 >> 32) as u32, hash.h2 as u32]
    }
}

/// Passes on a hash that was made already.
#[derive(Clone, Copy, Default)]
struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(4) {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u32(u32::from_ne_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.0 = self.0.rotate_left(32) ^ u64::from(word);
    }

    // The length of the array says nothing.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_offset_wins_and_the_map_never_grows() {
        let mut keys = Keys::new([7; 16], 100, 1_000);
        for round in 0..3 {
            for key in 0..100u32 {
                let offset = 1_000 + i64::from(round * 100 + key);
                assert_eq!(keys.put(&key.to_le_bytes(), offset), Ok(()));
            }
        }
        assert_eq!(keys.put(b"one more", 2_000), Err(KeysFull));
        assert_eq!(keys.put(&5u32.to_le_bytes(), 2_001), Ok(()));
        assert_eq!(keys.len(), 100);
        assert_eq!(keys.newest(&5u32.to_le_bytes()), Some(2_001));
        assert_eq!(keys.newest(&99u32.to_le_bytes()), Some(1_299));
        assert_eq!(keys.newest(b"one more"), None);
    }

    #[test]
    fn an_offset_too_far_away_ends_the_pass() {
        let mut keys = Keys::new([7; 16], 100, 1_000);
        assert_eq!(
            keys.put(b"k", 1_000 + i64::from(u32::MAX) + 1),
            Err(KeysFull)
        );
    }
}

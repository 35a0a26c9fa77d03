//! Chance from a seed: the same seed gives the same bytes, for ever.
//!
//! Our own generator (splitmix64), so that no update of a library changes what a seed means.

use std::sync::Mutex;

use crate::random::Random;

/// A sequence of random numbers, owned by one user.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Rng {
        Rng { state: seed }
    }

    /// A sequence of its own for a named part, so that one part's draws do not shift another's.
    pub fn fork(seed: u64, part: &str) -> Rng {
        let mut rng = Rng::new(seed);
        for byte in part.bytes() {
            rng.state = rng.next_u64() ^ u64::from(byte);
        }
        rng
    }

    /// The next 64 bits (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; zero if there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product is uniform enough for tests, and never a division.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An index below `length`; zero if there is none.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits: what a double holds exactly.
        ((self.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// Fills the buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// The node's source of chance in simulation.
#[derive(Debug)]
pub struct SimRandom(Mutex<Rng>);

impl SimRandom {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> SimRandom {
        SimRandom(Mutex::new(Rng::fork(seed, "random")))
    }
}

impl Random for SimRandom {
    fn fill(&self, buffer: &mut [u8]) {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .fill(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        // The reference values of splitmix64 for seed 1234567.
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
        assert_ne!(
            Rng::fork(1, "disk").next_u64(),
            Rng::fork(1, "net").next_u64()
        );
        assert_eq!(
            Rng::fork(1, "disk").next_u64(),
            Rng::fork(1, "disk").next_u64()
        );
    }

    #[test]
    fn bounds_and_chances_hold() {
        let mut rng = Rng::new(7);
        assert!((0..1000).all(|_| rng.below(3) < 3));
        assert!((0..100).all(|_| !rng.chance(0.0) && rng.chance(1.0)));
        assert_eq!(rng.below(0), 0);
        let hits = (0..10_000).filter(|_| rng.chance(0.25)).count();
        assert!((2_000..3_000).contains(&hits), "{hits}");
    }
}

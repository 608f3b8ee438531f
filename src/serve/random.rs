//! Numbers that nobody has to guess: ids of answers, and seeds of requests that bring none.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that follow from a seed, one for each call.
#[derive(Debug)]
pub struct Numbers {
    seed: u64,
    count: AtomicU64,
}

impl Numbers {
    /// The numbers of a seed; without one, others each time that the server runs.
    pub fn new(seed: Option<u64>) -> Self {
        Self {
            seed: seed.unwrap_or_else(|| RandomState::new().hash_one(0u8)),
            count: AtomicU64::new(1),
        }
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        mix(self.seed.wrapping_add(count.wrapping_mul(GOLDEN)))
    }

    /// An id that no other answer has: `chatcmpl-…`.
    pub fn id(&self, kind: &str) -> String {
        format!("{kind}-{:016x}{:08x}", self.next(), self.next() >> 32)
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64 (Steele et al. 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_repeat_and_ids_do_not() {
        let draw = |seed| {
            let numbers = Numbers::new(Some(seed));
            [numbers.next(), numbers.next()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let numbers = Numbers::new(None);
        let id = numbers.id("cmpl");
        assert_ne!(id, numbers.id("cmpl"));
        assert_eq!(id.len(), "cmpl-".len() + 24);
    }
}

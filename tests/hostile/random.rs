//! Seeded choices: an input is told by its target, the seed of the run and its number.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub struct Random(ChaCha8Rng);

impl Random {
    pub fn new(target: &str, seed: u64, index: usize) -> Self {
        let name = target.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut random = ChaCha8Rng::seed_from_u64(name ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.set_stream(index as u64);
        Self(random)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        match end {
            0 => 0,
            end => self.0.random_range(0..end),
        }
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    pub fn bits(&mut self) -> u64 {
        self.0.random()
    }

    /// A number as files use them to lie: a border, or near one, or anything.
    pub fn number(&mut self) -> u64 {
        let border = 1u64 << self.below(64);
        match self.below(5) {
            0 => *self.of(&[0, 1, u64::MAX, u64::MAX - 1, i64::MAX as u64, 1 << 63]),
            1 => border.wrapping_sub(1),
            2 => border.wrapping_add(self.below(3) as u64),
            3 => self.below(300) as u64,
            _ => self.bits(),
        }
    }
}

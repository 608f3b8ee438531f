//! Which elements dropout keeps: a hash says it of each, nothing is stored.

/// One application of dropout: element `i` is kept or not by a hash of `(seed, i)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of elements that become zero, `0 ≤ rate < 1`.
    pub rate: f64,
    /// What the mask is computed from.
    pub seed: u64,
}

impl Dropout {
    /// What the kept elements are multiplied with, so that the expectation stays.
    pub fn scale(&self) -> f32 {
        (1.0 / (1.0 - self.rate)) as f32
    }

    /// The hashes below it are dropped.
    #[inline(always)]
    pub(crate) fn threshold(&self) -> u32 {
        (self.rate * f64::from(u32::MAX)) as u32
    }

    /// The factor of element `index`: 0 or [`scale`](Self::scale).
    #[inline(always)]
    pub(crate) fn factor(&self, index: usize) -> f32 {
        let seed = self.seed ^ ((index as u64 >> 32) << 32);
        match hash(index as u32, seed) < self.threshold() {
            true => 0.0,
            false => self.scale(),
        }
    }
}

/// A mixing function of 32 bits (Wellons' lowbias32), once per half of the seed.
#[inline(always)]
pub(crate) fn hash(index: u32, seed: u64) -> u32 {
    let once = mix(index.wrapping_mul(0x9e37_79b9) ^ seed as u32);
    mix(once ^ (seed >> 32) as u32)
}

#[inline(always)]
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

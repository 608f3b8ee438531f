//! Dropout whose masks are computed from where they act, not drawn from a generator with a state: the
//! same step, layer and site give the same mask when a segment runs again or a run is resumed.

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

/// Where dropout is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropoutSite {
    /// LoRA on the joint projection.
    QueryKeyValue,
    /// LoRA on the attention's output projection.
    Dense,
    /// LoRA on the MLP's first projection.
    DenseHTo4h,
    /// LoRA on the MLP's second projection.
    Dense4hToH,
    /// The prefix of P-Tuning v2.
    Prefix,
    /// LoRA on the output layer.
    Head,
}

/// The source of all masks of one walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropoutSource {
    seed: u64,
}

impl DropoutSource {
    /// The source for a micro-batch: `micro_batch` counts over the whole run.
    pub fn new(run_seed: u64, micro_batch: u64) -> Self {
        Self {
            seed: scramble(scramble(run_seed).wrapping_add(micro_batch)),
        }
    }

    /// The seed of a site.
    pub fn seed(self, layer: usize, site: DropoutSite) -> u64 {
        scramble(self.seed.wrapping_add(((layer as u64) << 8) | site as u64))
    }
}

/// SplitMix64's output function (Steele, Lea and Flood 2014).
fn scramble(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 100_000;

    fn factors(rate: f64, seed: u64) -> Vec<f32> {
        let dropout = Dropout { rate, seed };
        (0..COUNT).map(|index| dropout.factor(index)).collect()
    }

    #[test]
    fn the_rate_holds_and_the_expectation_stays() {
        for rate in [0.05, 0.1, 0.5] {
            let source = DropoutSource::new(7, 3);
            let factors = factors(rate, source.seed(2, DropoutSite::Dense));
            let dropped = factors.iter().filter(|&&factor| factor == 0.0).count();
            assert!((dropped as f64 / COUNT as f64 - rate).abs() < 0.005);
            let mean = factors.iter().sum::<f32>() / COUNT as f32;
            assert!((mean - 1.0).abs() < 0.01, "{mean}");
        }
    }

    #[test]
    fn sites_are_independent() {
        let source = DropoutSource::new(7, 3);
        let other = DropoutSource::new(7, 4);
        let a = factors(0.5, source.seed(0, DropoutSite::Dense));
        for seed in [
            source.seed(0, DropoutSite::QueryKeyValue),
            source.seed(1, DropoutSite::Dense),
            other.seed(0, DropoutSite::Dense),
        ] {
            let b = factors(0.5, seed);
            let equal = a.iter().zip(&b).filter(|(a, b)| a == b).count();
            assert!((equal as f64 / COUNT as f64 - 0.5).abs() < 0.01);
        }
        assert_eq!(a, factors(0.5, source.seed(0, DropoutSite::Dense)));
    }
}

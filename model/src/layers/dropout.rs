//! Dropout whose masks are computed from where they act, not drawn from a generator with a state: the
//! same step, layer and site give the same mask when a segment runs again or a run is resumed.

use burn::tensor::Tensor;

use super::ops::GlmBackend;
use super::ops::dropout::Dropout;
use super::ops::primitive::{unwrap, wrap};

/// Zeroes elements by the mask that `settings` determine and scales the others.
///
/// # Shapes
/// - `x` and result: of any rank
pub fn dropout<B: GlmBackend, const D: usize>(x: Tensor<B, D>, settings: Dropout) -> Tensor<B, D> {
    wrap(B::glm_dropout(unwrap(x), settings))
}

/// Where dropout is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropoutSite {
    /// The adapter of the joint projection.
    QueryKeyValue,
    /// The adapter of the attention's output projection.
    Dense,
    /// The adapter of the MLP's first projection.
    DenseHTo4h,
    /// The adapter of the MLP's second projection.
    Dense4hToH,
    /// The prefix of P-Tuning v2.
    Prefix,
    /// The adapter of the output layer.
    Head,
}

/// The source of all masks of one pass.
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

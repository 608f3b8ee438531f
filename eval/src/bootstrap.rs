//! Whether a difference of means is more than noise: the paired bootstrap (Efron 1979; Koehn 2004).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::scores::mean;

/// Samples that are drawn.
const SAMPLES: usize = 10_000;
/// Share of the samples within the interval.
const CONFIDENCE: f64 = 0.95;
/// The same rows give the same interval.
const SEED: u64 = 20_240_601;

/// A mean difference, and where 95 % of the resampled ones lie.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Difference {
    /// The mean of the differences.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Difference {
    /// Whether zero lies outside of the interval.
    pub fn is_significant(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// The interval of a mean difference of pairs: rows are drawn with replacement, both scores of a row together.
pub fn paired(differences: &[f64]) -> Difference {
    let count = differences.len();
    if count == 0 {
        return Difference {
            mean: 0.0,
            low: 0.0,
            high: 0.0,
        };
    }
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut means: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let sum: f64 = (0..count)
                .map(|_| differences[random.random_range(0..count)])
                .sum();
            sum / count as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((SAMPLES - 1) as f64 * share).round() as usize];
    Difference {
        mean: mean(differences),
        low: at((1.0 - CONFIDENCE) / 2.0),
        high: at((1.0 + CONFIDENCE) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_told_from_a_difference() {
        let noise: Vec<f64> = (0..100)
            .map(|row| if row % 2 == 0 { 0.1 } else { -0.1 })
            .collect();
        assert!(!paired(&noise).is_significant());
        let better: Vec<f64> = noise.iter().map(|difference| difference + 0.05).collect();
        let found = paired(&better);
        assert!(found.is_significant() && found.low < found.mean && found.mean < found.high);
        assert_eq!(found, paired(&better));
        assert_eq!(paired(&[]).mean, 0.0);
    }
}

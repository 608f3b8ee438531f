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
    stratified(&[differences.to_vec()])
}

/// The interval of the mean over groups of their mean differences: rows are drawn within their group, so that
/// a group of many rows counts no more than one of few. Groups without rows do not count.
pub fn stratified(groups: &[Vec<f64>]) -> Difference {
    let groups: Vec<&[f64]> = filled(groups);
    let means = resampled(&groups, |drawn| Some(mean_of_means(drawn)));
    let (low, high) = interval(means).unwrap_or_default();
    Difference {
        mean: mean_of_means(&groups),
        low,
        high,
    }
}

/// The share of a score that is left, and where 95 % of the resampled ones lie.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Kept {
    /// What is there now in percent of what was there before.
    pub percent: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// What is left of a score: the mean over groups of the means of the scores of now, in percent of that of the
/// scores before. Pairs are (now, before) and stay together. `None` where there was nothing to keep.
pub fn kept(groups: &[Vec<(f64, f64)>]) -> Option<Kept> {
    let groups: Vec<&[(f64, f64)]> = filled(groups);
    let percent = |groups: &[&[(f64, f64)]]| {
        let of = |part: fn(&(f64, f64)) -> f64| {
            let parts: Vec<Vec<f64>> = groups
                .iter()
                .map(|group| group.iter().map(part).collect())
                .collect();
            mean_of_means(&parts)
        };
        let (now, before) = (of(|pair| pair.0), of(|pair| pair.1));
        (before > 0.0).then(|| 100.0 * now / before)
    };
    let whole = percent(&groups)?;
    let (low, high) = interval(resampled(&groups, percent))?;
    Some(Kept {
        percent: whole,
        low,
        high,
    })
}

fn filled<T>(groups: &[Vec<T>]) -> Vec<&[T]> {
    let groups = groups.iter().map(Vec::as_slice);
    groups.filter(|group| !group.is_empty()).collect()
}

fn mean_of_means<G: AsRef<[f64]>>(groups: &[G]) -> f64 {
    let means: Vec<f64> = groups.iter().map(|group| mean(group.as_ref())).collect();
    mean(&means)
}

/// A statistic of each of many samples; those for which it is not defined are left out.
fn resampled<T: Copy>(groups: &[&[T]], statistic: impl Fn(&[&[T]]) -> Option<f64>) -> Vec<f64> {
    if groups.is_empty() {
        return Vec::new();
    }
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut drawn: Vec<Vec<T>> = groups.iter().map(|group| group.to_vec()).collect();
    let found = (0..SAMPLES).filter_map(|_| {
        for (sample, group) in drawn.iter_mut().zip(groups) {
            for item in sample.iter_mut() {
                *item = group[random.random_range(0..group.len())];
            }
        }
        let drawn: Vec<&[T]> = drawn.iter().map(Vec::as_slice).collect();
        statistic(&drawn)
    });
    found.collect()
}

fn interval(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |share: f64| values[(last as f64 * share).round() as usize];
    Some((at((1.0 - CONFIDENCE) / 2.0), at((1.0 + CONFIDENCE) / 2.0)))
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
    #[test]
    fn groups_count_the_same_whatever_their_size() {
        let few = vec![1.0; 2];
        let many = vec![0.0; 200];
        let found = stratified(&[few, many, Vec::new()]);
        assert_eq!((found.mean, found.low, found.high), (0.5, 0.5, 0.5));
    }

    #[test]
    fn what_is_kept_is_a_share_of_what_was_there() {
        let half: Vec<(f64, f64)> = (0..40).map(|row| (f64::from(row % 2), 1.0)).collect();
        let found = kept(std::slice::from_ref(&half)).map(|kept| {
            assert!(kept.low < 50.0 && kept.high > 50.0);
            kept.percent
        });
        assert_eq!(found, Some(50.0));
        assert_eq!(kept(&[vec![(1.0, 0.0); 5]]), None);
        assert_eq!(kept(&[]), None);
    }
}

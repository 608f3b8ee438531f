//! Which validation was the best, and how many have come since without an improvement.

use serde::{Deserialize, Serialize};

use super::settings::{Metric, ValidationSettings};
use crate::data::Dataset;

/// Hexadecimal digits of a digest that are kept.
const DIGITS: usize = 16;

/// The best validation so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Steps that were done.
    pub step: u64,
    /// The epoch of the last of them, from 1.
    pub epoch: usize,
    /// Its loss or score.
    pub value: f64,
}

/// What validations have shown so far. It is kept in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// What is compared.
    pub metric: Metric,
    /// The beginning of the digest of the rows.
    pub rows: u64,
    /// The best, once one has given a number.
    pub best: Option<Best>,
    /// Validations since the last improvement.
    pub without_improvement: u64,
}

impl Standing {
    /// Before the first validation on some rows.
    pub fn new(metric: Metric, rows: &Dataset) -> Self {
        let digest = rows.fingerprint().get(..DIGITS).unwrap_or_default();
        Self {
            metric,
            rows: u64::from_str_radix(digest, 16).unwrap_or_default(),
            best: None,
            without_improvement: 0,
        }
    }

    /// Whether values of the two can be compared: they are of the same rows and metric.
    pub(crate) fn compares_with(&self, other: &Self) -> bool {
        (self.metric, self.rows) == (other.metric, other.rows)
    }

    /// Takes note of a validation. Tells whether it is the best so far, which it also is where it is better by
    /// less than what counts as an improvement.
    pub(crate) fn take(&mut self, found: Best, settings: &ValidationSettings) -> bool {
        if !found.value.is_finite() {
            self.without_improvement += 1;
            return false;
        }
        let gain = self.best.map_or(f64::INFINITY, |best| {
            self.metric.gain(found.value, best.value)
        });
        let is_improvement = gain > 0.0 && gain > settings.early_stopping_threshold;
        self.without_improvement = match is_improvement {
            true => 0,
            false => self.without_improvement + 1,
        };
        if gain > 0.0 {
            self.best = Some(found);
        }
        gain > 0.0
    }

    /// Whether the training is to end.
    pub(crate) fn has_run_out(&self, settings: &ValidationSettings) -> bool {
        let patience = settings.early_stopping_patience;
        patience.is_some_and(|patience| self.without_improvement >= patience)
    }

    /// What makes this impossible after so many steps.
    pub(crate) fn fault(&self, steps: u64) -> Option<String> {
        let best = self.best?;
        let is_possible = (1..=steps).contains(&best.step) && best.value.is_finite();
        (!is_possible).then(|| {
            format!(
                "the best validation is of step {} with {}, after {steps} steps",
                best.step, best.value
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(patience: u64, threshold: f64) -> ValidationSettings {
        ValidationSettings {
            eval_steps: Some(1),
            eval_batch_size: 1,
            metric_for_best_model: Metric::Loss,
            load_best_model_at_end: true,
            early_stopping_patience: Some(patience),
            early_stopping_threshold: threshold,
        }
    }

    /// The steps that were the best so far, and the step that ended the training.
    fn course(metric: Metric, settings: &ValidationSettings, values: &[f64]) -> (Vec<u64>, u64) {
        let mut standing = Standing {
            metric,
            rows: 1,
            best: None,
            without_improvement: 0,
        };
        let mut best = Vec::new();
        for (step, &value) in (1..).zip(values) {
            let found = Best {
                step,
                epoch: 1,
                value,
            };
            if standing.take(found, settings) {
                best.push(step);
            }
            if standing.has_run_out(settings) {
                return (best, step);
            }
        }
        (best, 0)
    }

    #[test]
    fn the_least_loss_and_the_greatest_score_are_the_best() {
        let values = [3.0, 2.0, 2.0, 4.0, 1.0, f64::NAN];
        let settings = settings(9, 0.0);
        assert_eq!(course(Metric::Loss, &settings, &values).0, [1, 2, 5]);
        assert_eq!(course(Metric::Score, &settings, &values).0, [1, 4]);
    }

    #[test]
    fn patience_runs_out_without_an_improvement() {
        let values = [3.0, 2.0, 2.5, 1.9, 2.0, 1.9, 1.0];
        assert_eq!(course(Metric::Loss, &settings(2, 0.0), &values).1, 6);
        assert_eq!(course(Metric::Loss, &settings(3, 0.0), &values).1, 0);
        // Better by less than the threshold is the best, and no improvement.
        let (best, end) = course(Metric::Loss, &settings(2, 0.2), &values);
        assert_eq!((best, end), (vec![1, 2, 4], 4));
        let (best, end) = course(Metric::Loss, &settings(2, 0.0), &[f64::NAN; 3]);
        assert_eq!((best, end), (vec![], 2));
    }
}

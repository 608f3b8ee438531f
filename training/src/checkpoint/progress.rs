//! How far a training has come, and whether it can have come that far.

use serde::{Deserialize, Serialize};

use crate::precision::LossScale;
use crate::settings::TrainSettings;
use crate::validation::Standing;

/// How far a training has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingProgress {
    /// Optimizer steps that are done.
    pub step: u64,
    /// Those of them that changed the weights: a step that overflowed does not.
    pub updates: u64,
    /// The epoch at hand, from 0.
    pub epoch: usize,
    /// Micro-batches of that epoch that are done.
    pub micro_batch: usize,
    /// The loss scale, in half precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// What validations have shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Standing>,
}

/// How far a training can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Passes over the rows.
    pub epochs: usize,
    /// Micro-batches of an epoch.
    pub micro_batches: usize,
    /// Micro-batches of a step.
    pub window: usize,
    /// Whether the loss is scaled.
    pub scales_loss: bool,
}

impl Extent {
    /// That of a training on a number of sequences.
    pub fn new(settings: &TrainSettings, sequences: usize) -> Self {
        Self {
            epochs: settings.num_train_epochs,
            micro_batches: sequences.div_ceil(settings.per_device_train_batch_size.max(1)),
            window: settings.window().max(1),
            scales_loss: settings.loss_scale.is_some(),
        }
    }

    /// Steps that are done at a place; nothing if no step ends there.
    fn steps_at(&self, epoch: usize, micro_batch: usize) -> Option<u64> {
        let ends_here = micro_batch.is_multiple_of(self.window)
            && match epoch < self.epochs {
                true => micro_batch < self.micro_batches,
                false => epoch == self.epochs && micro_batch == 0,
            };
        let per_epoch = self.micro_batches.div_ceil(self.window);
        let steps = epoch
            .checked_mul(per_epoch)?
            .checked_add(micro_batch / self.window)?;
        ends_here.then_some(steps as u64)
    }
}

impl TrainingProgress {
    /// A training that begins.
    pub fn start(settings: &TrainSettings) -> Self {
        Self {
            loss_scale: settings.loss_scale.as_ref().map(LossScale::new),
            ..Self::default()
        }
    }

    /// Takes note of a step of so many micro-batches, of an epoch with so many.
    pub(crate) fn advance(&mut self, micro_batches: usize, in_epoch: usize) {
        self.step += 1;
        self.micro_batch += micro_batches;
        if self.micro_batch >= in_epoch {
            self.epoch += 1;
            self.micro_batch = 0;
        }
    }

    /// What makes this impossible for a training of that extent.
    pub(super) fn fault(&self, extent: &Extent) -> Option<String> {
        let place = || {
            format!(
                "micro-batch {} of epoch {}, where {} epoch(s) of {} micro-batches, {} a step, are to be done",
                self.micro_batch,
                self.epoch.saturating_add(1),
                extent.epochs,
                extent.micro_batches,
                extent.window
            )
        };
        let Some(steps) = extent.steps_at(self.epoch, self.micro_batch) else {
            return Some(format!("`progress` stands at {}", place()));
        };
        if steps != self.step {
            return Some(format!(
                "`progress` counts {} steps at {}",
                self.step,
                place()
            ));
        }
        if self.updates > self.step {
            return Some(format!(
                "`progress` counts {} updates in {} steps",
                self.updates, self.step
            ));
        }
        let standing = self
            .validation
            .and_then(|standing| standing.fault(self.step));
        self.scale_fault(extent).or(standing)
    }

    fn scale_fault(&self, extent: &Extent) -> Option<String> {
        match self.loss_scale {
            Some(_) if !extent.scales_loss => {
                Some("`progress` has a loss scale, this training has none".to_string())
            }
            None if extent.scales_loss => {
                Some("`progress` lacks the loss scale of this training".to_string())
            }
            Some(LossScale { scale, .. }) if !(scale.is_finite() && scale > 0.0) => Some(format!(
                "the loss scale of `progress` is {scale}, must be a positive number"
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::{Best, Metric};

    const EXTENT: Extent = Extent {
        epochs: 2,
        micro_batches: 14,
        window: 4,
        scales_loss: false,
    };

    fn at(epoch: usize, micro_batch: usize, step: u64) -> TrainingProgress {
        TrainingProgress {
            step,
            updates: step,
            epoch,
            micro_batch,
            loss_scale: None,
            validation: None,
        }
    }

    /// Of all places, those that the loop can stand at between two steps, and no others.
    #[test]
    fn possible_is_what_the_loop_passes() {
        let mut passed = Vec::new();
        let (mut step, mut epoch, mut micro_batch) = (0, 0, 0);
        while epoch < EXTENT.epochs {
            passed.push(at(epoch, micro_batch, step));
            step += 1;
            micro_batch = (micro_batch + EXTENT.window).min(EXTENT.micro_batches);
            if micro_batch == EXTENT.micro_batches {
                (epoch, micro_batch) = (epoch + 1, 0);
            }
        }
        passed.push(at(epoch, micro_batch, step));
        for epoch in (0..5).chain([usize::MAX]) {
            for micro_batch in (0..20).chain([usize::MAX - 3, usize::MAX]) {
                for step in (0..12).chain([u64::MAX]) {
                    let progress = at(epoch, micro_batch, step);
                    let possible = progress.fault(&EXTENT).is_none();
                    assert_eq!(possible, passed.contains(&progress), "{progress:?}");
                }
            }
        }
        let more = TrainingProgress {
            updates: 3,
            ..at(0, 8, 2)
        };
        assert!(more.fault(&EXTENT).is_some());
    }

    #[test]
    fn the_best_validation_is_of_a_step_that_was_taken() {
        let fault = |step: u64, value: f64| {
            let standing = Standing {
                best: Some(Best {
                    step,
                    epoch: 1,
                    value,
                }),
                metric: Metric::Loss,
                rows: 7,
                without_improvement: 0,
            };
            let progress = TrainingProgress {
                validation: Some(standing),
                ..at(0, 8, 2)
            };
            progress.fault(&EXTENT)
        };
        assert_eq!(fault(2, 0.5), None);
        assert!(fault(3, 0.5).is_some_and(|fault| fault.contains("step 3")));
        assert!(fault(0, 0.5).is_some());
        assert!(fault(1, f64::NAN).is_some());
    }

    #[test]
    fn a_loss_scale_is_a_positive_number_where_there_is_one() {
        let with = |scale: f64| TrainingProgress {
            loss_scale: Some(LossScale {
                scale,
                good_steps: 0,
                tolerated: 1,
            }),
            ..at(0, 4, 1)
        };
        let scaled = Extent {
            scales_loss: true,
            ..EXTENT
        };
        assert_eq!(with(1024.0).fault(&scaled), None);
        assert!(with(1024.0).fault(&EXTENT).is_some());
        assert!(at(0, 4, 1).fault(&scaled).is_some());
        for scale in [0.0, -1.0, f64::INFINITY, f64::NAN] {
            assert!(with(scale).fault(&scaled).is_some(), "{scale}");
        }
    }
}

//! One optimizer step.

use std::time::Instant;

use burn::backend::Autodiff;
use glmtune_model::CausalLm;
use glmtune_model::device_health;
use glmtune_model::layers::DropoutSource;

use super::Trainer;
use crate::backward::{Activations, GradientBoundary};
use crate::data::{Sequences, collate};
use crate::error::Result;
use crate::observer::Observer;
use crate::optim::Update;
use crate::optim::ops::TrainingBackend;
use crate::parallel::WindowItem;
use crate::parallel::devices::data::GradientPass;
use crate::report::StepRecord;
use crate::window::{WindowPlan, window as window_sum};

impl<B: TrainingBackend> Trainer<B> {
    /// The mean gradient over a window's micro-batches, clipped, applied.
    pub(super) fn step(
        &mut self,
        model: CausalLm<Autodiff<B>>,
        window: &[Sequences],
        observer: &mut dyn Observer,
    ) -> Result<(CausalLm<Autodiff<B>>, StepRecord)> {
        let started = Instant::now();
        let items = self.items(window);
        let tokens = items.iter().map(|item| item.batch.real_tokens()).sum();
        let (sum, others) = match self.group.ranks() {
            None => {
                let (sum, others) = window_sum(&model, &items, &self.plan(&model)?)?;
                if self.progress.step == 0 {
                    self.check_gradients(&sum.gradients)?;
                }
                (sum, others)
            }
            Some(ranks) => {
                let own = (&*self.group.own(items), window.len());
                (self.shared_window(&model, own, ranks)?, Vec::new())
            }
        };
        let numbers = sum.numbers()?;
        device_health::settled()?;
        let gradients = (sum.gradients, others);
        let numbers = self.group.sum(&[numbers.loss, numbers.squares])?;
        let loss = numbers[0] / window.len() as f64;
        let scale = self.loss_scale() * window.len() as f64;
        let norm = numbers[1].sqrt() / scale;
        // As in DeepSpeed, the schedule moves on with the updates: a step that is left out does not count.
        let schedule = self.settings.schedule(self.sequences);
        let lr = schedule.rate(self.progress.updates);
        let is_finite = loss.is_finite() && norm.is_finite();
        let model = if is_finite {
            self.progress.updates += 1;
            let limit = self.settings.max_grad_norm.unwrap_or(f64::INFINITY);
            let update = Update {
                lr,
                number: self.progress.updates,
                grad_scale: (limit / norm.max(1e-6)).min(1.0) / scale,
            };
            let (host, optimizer) = (&mut self.host, self.optimizer.as_mut());
            let replicas = &mut self.replicas;
            replicas.update(model, gradients, host, optimizer, update)?
        } else {
            // A lower loss scale mends gradients, but not a loss.
            if !(loss.is_finite() && self.can_scale_down()) {
                self.not_finite(window, (loss, norm), observer)?;
            }
            model
        };
        self.check_offloaded(&model)?;
        self.update_loss_scale(!is_finite, observer);
        let record = StepRecord {
            step: self.progress.step + 1,
            epoch: self.progress.epoch + 1,
            loss,
            lr,
            grad_norm: norm,
            tokens,
            seconds: started.elapsed().as_secs_f64(),
            memory_bytes: memory_in_use::<B>(&model.device()),
        };
        Ok((model, record))
    }

    /// The micro-batches of a window.
    fn items(&self, window: &[Sequences]) -> Vec<WindowItem> {
        let first = self.progress.micro_batch;
        let items = window.iter().enumerate().map(|(index, sequences)| {
            // Every micro-batch of the run has its own masks, whichever was resumed or skipped before.
            let place = (self.progress.epoch as u64) << 32 | (first + index) as u64;
            WindowItem {
                batch: collate(&self.dataset, sequences, self.pad_id),
                dropout: DropoutSource::new(self.settings.seed, place),
            }
        });
        items.collect()
    }

    pub(super) fn plan(&self, model: &CausalLm<Autodiff<B>>) -> Result<WindowPlan<'_, B>> {
        let trained = self.trainable.keys().map(String::as_str);
        let boundary = GradientBoundary::of(model.segments(), trained)?;
        Ok(WindowPlan {
            pass: GradientPass {
                activations: match self.settings.recomputes() {
                    true => Activations::Recomputed(boundary),
                    false => Activations::Kept,
                },
                scale: self.loss_scale(),
                to_host: self.optimizer.wants_host_gradients(),
            },
            devices: &self.devices,
            replicas: &self.replicas,
            stages: self.stages.as_ref(),
            boundary,
        })
    }

    /// What the loss is multiplied with before the backward pass.
    fn loss_scale(&self) -> f64 {
        self.progress.loss_scale.map_or(1.0, |scale| scale.scale)
    }

    /// Whether an overflow is met by a lower loss scale.
    fn can_scale_down(&self) -> bool {
        let (Some(settings), Some(scale)) = (&self.settings.loss_scale, self.progress.loss_scale)
        else {
            return false;
        };
        !{ scale }.update(settings, true)
    }

    fn update_loss_scale(&mut self, overflowed: bool, observer: &mut dyn Observer) {
        let (Some(settings), Some(scale)) =
            (&self.settings.loss_scale, self.progress.loss_scale.as_mut())
        else {
            return;
        };
        scale.update(settings, overflowed);
        if overflowed {
            let step = self.progress.step + 1;
            observer.note(&format!(
                "step {step}: overflowed half precision and was left out; loss scale now {}",
                scale.scale
            ));
        }
    }
}

/// Memory of the device, or of the process where it computes on the CPU.
fn memory_in_use<B: TrainingBackend>(device: &B::Device) -> u64 {
    let process = || memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem as u64);
    B::glm_memory_in_use(device).unwrap_or_else(process)
}

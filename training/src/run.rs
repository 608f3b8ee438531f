//! The loop of a training.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burn::backend::Autodiff;
use glmtune_model::device_health;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::layers::DropoutSource;
use glmtune_model::{CausalLm, GlmBackend};

use crate::backward::{Activations, GradientBoundary};
use crate::checkpoint::{Checkpoints, TrainingProgress};
use crate::data::{Dataset, batches, collate, epoch_order};
use crate::device_failure::StoppedByDevice;
use crate::error::{Error, Result};
use crate::gradients::Gradients;
use crate::micro_batch::MicroBatch;
use crate::observer::{Event, Observer, Request, RunDescription, RunLabels, Split};
use crate::optim::ops::TrainingBackend;
use crate::optim::{Optimizer, Update, apply};
use crate::parallel::WindowItem;
use crate::parallel::data::GradientPass;
use crate::parallel::pipeline::Stages;
use crate::parallel::ranks::ProcessGroup;
use crate::report::StepRecord;
use crate::saving::Outputs;
use crate::schedule::WarmupDecay;
use crate::settings::{OnNan, TrainSettings};
use crate::weights::Weights;
use crate::window::{WindowPlan, window as window_sum};

/// Rows that an error names at most.
const NAMED_ROWS: usize = 8;

/// Everything that a training works with, but the model.
pub struct Training<B: GlmBackend> {
    /// The settings.
    pub settings: TrainSettings,
    /// The rows.
    pub dataset: Arc<Dataset>,
    /// The devices; the model is on the first.
    pub devices: Vec<B::Device>,
    /// The stages of a pipeline over these devices, where there is one.
    pub stages: Option<Stages<B>>,
    /// The weights that live in the host's memory.
    pub host: HostWeights,
    /// Id that fills up short rows.
    pub pad_id: u32,
    /// Paths of the trained parameters, and their elements.
    pub trainable: BTreeMap<String, usize>,
    /// The update rule with its state.
    pub optimizer: Box<dyn Optimizer<B>>,
    /// Where checkpoints go.
    pub checkpoints: Checkpoints,
    /// Where outputs go.
    pub outputs: Outputs,
    /// What the run is called where it is shown.
    pub labels: RunLabels,
    /// This process among several.
    pub group: ProcessGroup,
    /// Where the training stands.
    pub progress: TrainingProgress,
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The last output written, if any.
    pub output: Option<PathBuf>,
    /// Steps done, those before a resume included.
    pub steps: u64,
    /// Steps done when the last checkpoint was written: those after it are lost.
    pub saved_steps: u64,
    /// Whether the user stopped it before its end.
    pub interrupted: bool,
}

impl<B: TrainingBackend> Training<B> {
    /// Trains to the end, to the step limit, or until the observer asks to stop.
    ///
    /// # Errors
    /// If a loss is not finite and that is to stop the run, a trainable parameter gets no gradient in the
    /// first step, a row cannot be used, or the disk or the device fails.
    pub fn run(
        &mut self,
        model: CausalLm<Autodiff<B>>,
        observer: &mut dyn Observer,
    ) -> Result<(CausalLm<Autodiff<B>>, Outcome)> {
        let outcome = device_health::guard(|| self.run_steps(model, observer));
        match device_health::failure() {
            None => outcome,
            // Whatever else went wrong came of it.
            Some(failure) => Err(Error::Device(StoppedByDevice {
                failure: failure.clone(),
                step: Some(self.progress.step),
                checkpoint: Checkpoints::last(&self.outputs.dir),
            })),
        }
    }

    fn run_steps(
        &mut self,
        mut model: CausalLm<Autodiff<B>>,
        observer: &mut dyn Observer,
    ) -> Result<(CausalLm<Autodiff<B>>, Outcome)> {
        let dataset = self.dataset.clone();
        let (mut output, mut request) = (None, Request::GoOn);
        let mut saved_steps = self.progress.step;
        observer.notice(&Event::Started(&self.description()));
        while self.progress.epoch < self.settings.num_train_epochs && !self.limit_reached() {
            let order = self.order(self.progress.epoch);
            let batches: Vec<&[usize]> =
                batches(&order, self.settings.per_device_train_batch_size).collect();
            let rest = &batches[self.progress.micro_batch.min(batches.len())..];
            for window in rest.chunks(self.settings.window()) {
                let record;
                (model, record) = self.step(model, &dataset, window, observer)?;
                self.advance(window.len(), batches.len());
                observer.notice(&Event::Step(Split::Train, &record));
                request = self.common_request(observer.request());
                if request == Request::Discard {
                    break;
                }
                if self.output_is_due(record.epoch) {
                    output = Some(self.save(&model, record.epoch, observer)?);
                    saved_steps = self.progress.step;
                } else if request == Request::SaveAndStop {
                    self.save_checkpoint(&model)?;
                    saved_steps = self.progress.step;
                }
                if request == Request::SaveAndStop || self.limit_reached() {
                    break;
                }
            }
            if self.progress.micro_batch == 0 {
                observer.notice(&Event::EpochEnd(self.progress.epoch));
            }
            if request != Request::GoOn {
                break;
            }
        }
        let is_complete =
            self.progress.epoch >= self.settings.num_train_epochs || self.limit_reached();
        let outcome = Outcome {
            output,
            steps: self.progress.step,
            saved_steps,
            interrupted: !is_complete || saved_steps < self.progress.step,
        };
        observer.notice(&Event::Finished(&outcome));
        Ok((model, outcome))
    }

    /// What the processes together are asked for.
    fn common_request(&self, own: Request) -> Request {
        if !self.group.any(own != Request::GoOn) {
            return Request::GoOn;
        }
        match self.group.any(own == Request::Discard) {
            true => Request::Discard,
            false => Request::SaveAndStop,
        }
    }

    /// Steps of all epochs: a last partial window counts.
    pub fn total_steps(&self) -> u64 {
        let settings = &self.settings;
        let batches = self
            .dataset
            .len()
            .div_ceil(settings.per_device_train_batch_size);
        let per_epoch = batches.div_ceil(settings.window());
        (per_epoch * settings.num_train_epochs) as u64
    }

    /// The learning rates.
    pub fn schedule(&self) -> WarmupDecay {
        let settings = &self.settings;
        let total_steps = settings.schedule_steps.unwrap_or(self.total_steps());
        let share = (settings.warmup_ratio * total_steps as f64) as u64;
        WarmupDecay {
            min: settings
                .min_learning_rate
                .unwrap_or(settings.learning_rate / 10.0),
            max: settings.learning_rate,
            warmup_steps: settings.warmup_steps.unwrap_or(share),
            total_steps,
            warmup: settings.warmup,
            decay: settings.decay,
        }
    }

    /// What is known of the run when it starts.
    pub fn description(&self) -> RunDescription {
        let limit = self.settings.max_steps.unwrap_or(u64::MAX);
        RunDescription {
            labels: self.labels.clone(),
            trained: self.trainable.values().sum(),
            total_steps: self.total_steps().min(limit),
            epochs: self.settings.num_train_epochs,
            done_steps: self.progress.step,
        }
    }

    fn limit_reached(&self) -> bool {
        let limit = self.settings.max_steps;
        limit.is_some_and(|limit| self.progress.step >= limit)
    }

    fn order(&self, epoch: usize) -> Vec<usize> {
        let (rows, settings) = (self.dataset.len(), &self.settings);
        let mut order = epoch_order(rows, settings.seed, epoch, settings.shuffle);
        if settings.longest_first && epoch == 0 {
            let longest = (0..rows).max_by_key(|&place| self.dataset.ids(order[place]).len());
            order.swap(0, longest.unwrap_or(0));
        }
        order
    }

    fn advance(&mut self, micro_batches: usize, in_epoch: usize) {
        self.progress.step += 1;
        self.progress.micro_batch += micro_batches;
        if self.progress.micro_batch >= in_epoch {
            self.progress.epoch += 1;
            self.progress.micro_batch = 0;
        }
    }

    /// One optimizer step: the mean over the window's micro-batches, clipped, applied.
    fn step(
        &mut self,
        model: CausalLm<Autodiff<B>>,
        dataset: &Dataset,
        window: &[&[usize]],
        observer: &mut dyn Observer,
    ) -> Result<(CausalLm<Autodiff<B>>, StepRecord)> {
        let started = Instant::now();
        let items = self.items(dataset, window);
        let tokens = items.iter().map(|item| item.batch.real_tokens()).sum();
        let own = self.group.own(items);
        let sum = window_sum(&model, &own, &self.plan(&model)?)?;
        if self.progress.step == 0 && !own.is_empty() {
            self.check_gradients(&sum.gradients)?;
        }
        let sum = self.group.reduce(sum, &self.trainable)?;
        let (loss, gradients) = (sum.loss / window.len() as f64, sum.gradients);
        let scale = self.loss_scale() * window.len() as f64;
        let norm = self.group.sum(&[gradients.squares()?])[0].sqrt() / scale;
        // Reading the norm has waited for the devices already.
        device_health::settle::<B>(&self.devices)?;
        // As in DeepSpeed, the schedule moves on with the updates: a step that is left out does not count.
        let lr = self.schedule().rate(self.progress.updates);
        let is_finite = loss.is_finite() && norm.is_finite();
        let model = if is_finite {
            self.progress.updates += 1;
            let limit = self.settings.max_grad_norm.unwrap_or(f64::INFINITY);
            let update = Update {
                lr,
                number: self.progress.updates,
                grad_scale: (limit / norm.max(1e-6)).min(1.0) / scale,
            };
            let optimizer = self.optimizer.as_mut();
            apply(gradients, model, &mut self.host, optimizer, update)?
        } else {
            // A lower loss scale mends gradients, but not a loss.
            if !(loss.is_finite() && self.can_scale_down()) {
                self.not_finite(dataset, window, (loss, norm), observer)?;
            }
            model
        };
        self.check_hosted(&model)?;
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
    fn items(&self, dataset: &Dataset, window: &[&[usize]]) -> Vec<WindowItem> {
        let first = self.progress.micro_batch;
        let items = window.iter().enumerate().map(|(index, rows)| {
            let batch = collate(dataset, rows);
            // Every micro-batch of the run has its own masks, whichever was resumed or skipped before.
            let place = (self.progress.epoch as u64) << 32 | (first + index) as u64;
            WindowItem {
                batch: MicroBatch::new(batch.ids, batch.labels, self.pad_id),
                dropout: DropoutSource::new(self.settings.seed, place),
            }
        });
        items.collect()
    }

    fn plan(&self, model: &CausalLm<Autodiff<B>>) -> Result<WindowPlan<'_, B>> {
        let trained = self.trainable.keys().map(String::as_str);
        let boundary = GradientBoundary::of(model.segments(), trained)?;
        Ok(WindowPlan {
            pass: GradientPass {
                // The graph of a plain pass would hold the visiting weights of all blocks at once.
                activations: match self.settings.gradient_checkpointing
                    || self.settings.offload_param
                {
                    true => Activations::Recomputed(boundary),
                    false => Activations::Kept,
                },
                scale: self.loss_scale(),
                to_host: self.optimizer.wants_host_gradients(),
            },
            devices: &self.devices,
            stages: self.stages.as_ref(),
            boundary,
            host: &self.host,
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

    /// A weight in the host's memory that something has read outside a pass would silently stay on the device.
    fn check_hosted(&self, model: &CausalLm<Autodiff<B>>) -> Result<()> {
        let strays = self.host.strays(model);
        match strays.is_empty() {
            true => Ok(()),
            false => Err(Error::NotOffloaded(strays.join(", "))),
        }
    }

    /// A trainable parameter without a gradient would silently stay as it is.
    fn check_gradients(&self, gradients: &Gradients<B>) -> Result<()> {
        let missing: Vec<&str> = self
            .trainable
            .keys()
            .filter(|path| !gradients.contains(path))
            .map(String::as_str)
            .collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(Error::NoGradient(missing.join(", "))),
        }
    }

    fn not_finite(
        &self,
        dataset: &Dataset,
        window: &[&[usize]],
        (loss, norm): (f64, f64),
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let lines = window.iter().copied().flatten();
        let lines: Vec<String> = lines.map(|&row| dataset.line(row).to_string()).collect();
        let more = lines.len().saturating_sub(NAMED_ROWS);
        let mut rows = lines[..lines.len() - more].join(", ");
        if more > 0 {
            rows.push_str(&format!(" and {more} more"));
        }
        let step = self.progress.step + 1;
        let what = format!("step {step}: loss {loss}, gradient norm {norm}; rows of line {rows}");
        match self.settings.on_nan {
            OnNan::Stop => Err(Error::NotFinite(what)),
            OnNan::Skip => {
                observer.note(&format!("{what}: skipped"));
                Ok(())
            }
        }
    }

    /// An output is due every so many steps, at the end of an epoch, and at the end of the run.
    fn output_is_due(&self, epoch: usize) -> bool {
        let every = self.settings.save_model_step;
        let by_step = every.is_some_and(|every| self.progress.step.is_multiple_of(every));
        by_step || self.progress.epoch >= epoch || self.limit_reached()
    }

    fn save(
        &self,
        model: &CausalLm<Autodiff<B>>,
        epoch: usize,
        observer: &mut dyn Observer,
    ) -> Result<PathBuf> {
        device_health::settle::<B>(&self.devices)?;
        let step = self.progress.step;
        let weights = Weights::new(model, self.optimizer.as_ref());
        let path = match self.group.is_first() {
            true => self.outputs.save(epoch, step, &weights)?,
            false => {
                weights.hand_over()?;
                self.outputs.path(epoch, step)
            }
        };
        self.save_checkpoint(model)?;
        observer.notice(&Event::Saved(step, &path));
        Ok(path)
    }

    fn save_checkpoint(&self, model: &CausalLm<Autodiff<B>>) -> Result<()> {
        device_health::settle::<B>(&self.devices)?;
        let is_trained = |path: &str| self.trainable.contains_key(path);
        let weights = Weights::new(model, self.optimizer.as_ref());
        let state = self.optimizer.state();
        // All processes hand over their parts, the first one writes.
        match self.group.is_first() {
            true => self
                .checkpoints
                .save(self.progress, &weights, &is_trained, &state)?,
            false => {
                weights.hand_over()?;
                state.iter().for_each(|tensor| drop((tensor.fetch)()));
            }
        }
        // None goes on before the checkpoint is complete.
        self.group.any(false);
        Ok(())
    }
}

/// Memory of the device, or of the process where it computes on the CPU.
fn memory_in_use<B: TrainingBackend>(device: &B::Device) -> u64 {
    let process = || memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem as u64);
    B::glm_memory_in_use(device).unwrap_or_else(process)
}

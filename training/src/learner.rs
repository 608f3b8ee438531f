//! The loop as a learning strategy of burn-train, which brings metrics, loggers and the dashboard.
//!
//! burn-train's own loop would step the learning rate per micro-batch, sum gradients instead of
//! averaging them, drop a last partial window and clip each parameter by itself; [`Training::run`] does
//! none of that. The learner is the carrier of the model; optimizer and checkpoints stay with the loop,
//! because the learner's optimizer step keeps a second copy of the weights.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use burn::backend::Autodiff;
use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::module::Module;
use burn::tensor::backend::Backend;
use burn_optim::adaptor::OptimizerAdaptor;
use burn_optim::{AdamW, AdamWConfig, GradientsParams};
use burn_train::renderer::MetricsRenderer;
use burn_train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent,
    LearningComponentsMarker, LearningResult, SupervisedLearningStrategy, SupervisedTraining,
    SupervisedTrainingEventProcessor, TrainLoader, TrainOutput, TrainStep, TrainingComponents,
    TrainingItem, TrainingStrategy, ValidLoader,
};
use glmtune_model::{BuildOptions, CausalLm, GlmBackend, ModelConfig};

use crate::data::{Dataset, collate};
use crate::error::{Error, Result};
use crate::report::{EventLogger, StepMetric, StepRecord};
use crate::run::{Observer, Outcome, Place, Training};
use crate::walk::{MicroBatch, mean_loss, scalar};

/// A model as burn-train's learner carries it.
#[derive(Module, Debug)]
pub struct FineTuned<B: Backend> {
    model: CausalLm<B>,
}

/// burn-train's types for this training; the schedule and the optimizer are the loop's own.
type Components<B> = LearningComponentsMarker<
    Autodiff<B>,
    f64,
    FineTuned<Autodiff<B>>,
    OptimizerAdaptor<AdamW, FineTuned<Autodiff<B>>, Autodiff<B>>,
>;

impl<B: GlmBackend> TrainStep for FineTuned<Autodiff<B>> {
    type Input = MicroBatch;
    type Output = StepRecord;

    /// Loss and gradients of one micro-batch by the plain walk, without dropout. A batch that cannot be
    /// used has a loss that is not a number and no gradients.
    fn step(&self, batch: MicroBatch) -> TrainOutput<StepRecord> {
        let result = mean_loss(&self.model, &batch, None).and_then(|loss| {
            let value = scalar(loss.clone().inner())?;
            Ok((loss, value))
        });
        match result {
            Ok((loss, value)) => TrainOutput::new(self, loss.backward(), of_loss(value)),
            Err(error) => {
                tracing::error!("{error}");
                TrainOutput {
                    grads: GradientsParams::new(),
                    item: of_loss(f64::NAN),
                }
            }
        }
    }
}

impl<B: GlmBackend> InferenceStep for FineTuned<B> {
    type Input = MicroBatch;
    type Output = StepRecord;

    /// The loss of one micro-batch.
    fn step(&self, batch: MicroBatch) -> StepRecord {
        let loss = mean_loss(&self.model, &batch, None).and_then(scalar);
        of_loss(loss.unwrap_or_else(|error| {
            tracing::error!("{error}");
            f64::NAN
        }))
    }
}

/// A record that knows a loss only.
fn of_loss(loss: f64) -> StepRecord {
    StepRecord {
        loss,
        ..StepRecord::default()
    }
}

/// Runs a training under burn-train: `renderer` shows it, `events` receives TensorBoard files.
///
/// `interrupter` stops it after the step at hand; `notes` receives lines worth telling.
///
/// # Errors
/// As [`Training::run`].
pub fn train<B: GlmBackend>(
    training: Training<B>,
    model: CausalLm<Autodiff<B>>,
    renderer: impl MetricsRenderer + 'static,
    interrupter: Interrupter,
    notes: Arc<dyn Fn(&str) + Send + Sync>,
) -> Result<Outcome> {
    let events = match training.shard.is_first() {
        true => EventLogger::create(&training.outputs.dir, training.progress.step)?,
        false => EventLogger::silent(),
    };
    let directory = training.outputs.dir.clone();
    let train = RowLoader::new(training.dataset.clone(), &training);
    let valid = RowLoader {
        range: 0..0,
        ..train.clone()
    };
    let strategy = Arc::new(Strategy {
        config: training.config.clone(),
        training: Mutex::new(Some(training)),
        outcome: Mutex::new(None),
        notes,
    });
    let optimizer = AdamWConfig::new().init();
    let learner: Learner<Components<B>> = Learner::new(FineTuned { model }, optimizer, 0.0);
    let [loss, lr, norm, speed, memory] = StepMetric::all();
    SupervisedTraining::<Components<B>>::new(&directory, Arc::new(train), Arc::new(valid))
        .metric_train_numeric(loss)
        .metric_train_numeric(lr)
        .metric_train_numeric(norm)
        .metric_train_numeric(speed)
        .metric_train_numeric(memory)
        .with_metric_logger(events)
        .with_application_logger(None)
        .renderer(renderer)
        .with_interrupter(interrupter)
        .with_training_strategy(TrainingStrategy::Custom(strategy.clone()))
        .launch(learner);
    let outcome = strategy
        .outcome
        .lock()
        .ok()
        .and_then(|mut slot| slot.take());
    outcome.unwrap_or_else(|| Err(Error::Request("the training did not run".to_string())))
}

/// The rows of a data set in file order, for burn-train's own loops; [`Training::run`] reads its rows
/// itself, in an order that can be resumed.
#[derive(Debug, Clone)]
pub struct RowLoader {
    dataset: Arc<Dataset>,
    batch_size: usize,
    pad_id: u32,
    range: Range<usize>,
}

impl RowLoader {
    fn new<B: GlmBackend>(dataset: Arc<Dataset>, training: &Training<B>) -> Self {
        Self {
            range: 0..dataset.len(),
            dataset,
            batch_size: training.settings.per_device_train_batch_size,
            pad_id: training.pad_id,
        }
    }
}

impl<B: Backend> DataLoader<B, MicroBatch> for RowLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<MicroBatch> + 'a> {
        Box::new(RowIterator {
            loader: self,
            next: self.range.start,
        })
    }

    fn num_items(&self) -> usize {
        self.range.len()
    }

    fn to_device(&self, _: &B::Device) -> Arc<dyn DataLoader<B, MicroBatch>> {
        // Rows are on the host until the walk takes them.
        Arc::new(self.clone())
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<B, MicroBatch>> {
        let within = |index: usize| (self.range.start + index).min(self.range.end);
        Arc::new(Self {
            range: within(start)..within(end),
            ..self.clone()
        })
    }
}

struct RowIterator<'a> {
    loader: &'a RowLoader,
    next: usize,
}

impl Iterator for RowIterator<'_> {
    type Item = MicroBatch;

    fn next(&mut self) -> Option<MicroBatch> {
        let end = (self.next + self.loader.batch_size).min(self.loader.range.end);
        let rows: Vec<usize> = (self.next..end).collect();
        self.next = end;
        (!rows.is_empty()).then(|| {
            let batch = collate(&self.loader.dataset, &rows);
            MicroBatch::new(batch.ids, batch.labels, self.loader.pad_id)
        })
    }
}

impl DataLoaderIterator<MicroBatch> for RowIterator<'_> {
    fn progress(&self) -> Progress {
        let range = &self.loader.range;
        Progress::new(self.next - range.start, range.len())
    }
}

/// The loop in burn-train's place for it.
struct Strategy<B: GlmBackend> {
    config: ModelConfig,
    /// Taken when the run starts.
    training: Mutex<Option<Training<B>>>,
    /// Left when it ends; burn-train's signature has no room for an error.
    outcome: Mutex<Option<Result<Outcome>>>,
    notes: Arc<dyn Fn(&str) + Send + Sync>,
}

impl<B: GlmBackend> SupervisedLearningStrategy<Components<B>> for Strategy<B> {
    fn fit(
        &self,
        components: TrainingComponents<Components<B>>,
        learner: Learner<Components<B>>,
        _: TrainLoader<Components<B>>,
        _: ValidLoader<Components<B>>,
        _: usize,
    ) -> (
        FineTuned<Autodiff<B>>,
        SupervisedTrainingEventProcessor<Components<B>>,
    ) {
        let FineTuned { model } = learner.model();
        let device = model.device();
        // The loop must own the weights alone, or no update could happen in place.
        drop(learner);
        let mut dashboard = Dashboard::<B> {
            processor: components.event_processor,
            interrupter: components.interrupter,
            notes: self.notes.clone(),
        };
        let training = self.training.lock().ok().and_then(|mut slot| slot.take());
        if let Some(mut training) = training {
            let outcome = training.run(model, &mut dashboard);
            if let Ok(mut slot) = self.outcome.lock() {
                *slot = Some(outcome.map(|(_, outcome)| outcome));
            }
        }
        (self.unset(&device), dashboard.processor)
    }

    /// As burn-train's own, without a model in the result: what was learned is on disk.
    fn train(
        &self,
        learner: Learner<Components<B>>,
        train: TrainLoader<Components<B>>,
        valid: ValidLoader<Components<B>>,
        mut components: TrainingComponents<Components<B>>,
    ) -> LearningResult<FineTuned<B>> {
        let device = learner.model().model.device();
        components
            .event_processor
            .process_train(LearnerEvent::Start);
        let (_, mut processor) = self.fit(components, learner, train, valid, 1);
        processor.process_train(LearnerEvent::End(None));
        LearningResult {
            model: self.unset(&device),
            renderer: processor.renderer(),
        }
    }
}

impl<B: GlmBackend> Strategy<B> {
    /// A model without values, which takes no memory: burn-train wants one back even when the loop fails
    /// and its own is gone.
    fn unset<A: Backend<Device = B::Device>>(&self, device: &B::Device) -> FineTuned<A> {
        FineTuned {
            model: CausalLm::unset(&self.config, &BuildOptions::float32(), device),
        }
    }
}

/// What burn-train shows of the loop.
struct Dashboard<B: GlmBackend> {
    processor: SupervisedTrainingEventProcessor<Components<B>>,
    interrupter: Interrupter,
    notes: Arc<dyn Fn(&str) + Send + Sync>,
}

impl<B: GlmBackend> Observer for Dashboard<B> {
    fn step(&mut self, record: &StepRecord, place: Place) {
        let item = TrainingItem::new(
            *record,
            Progress::new(record.step as usize, place.total_steps as usize),
            Progress::new(record.epoch, place.epochs),
            Some(record.step as usize),
            Some(record.lr),
        );
        self.processor
            .process_train(LearnerEvent::ProcessedItem(item));
    }

    fn epoch_end(&mut self, epoch: usize) {
        self.processor.process_train(LearnerEvent::EndEpoch(epoch));
    }

    fn note(&mut self, text: &str) {
        (self.notes)(text);
    }

    fn asks_to_stop(&self) -> bool {
        self.interrupter.should_stop()
    }
}

//! Steps of a training: the library's own, on rows of ids, watched by an observer that ends it.

use std::time::Instant;

use glmtune_model::checkpoint::AtomicFile;
use glmtune_model::rows::LayoutLimits;
use glmtune_training::data::{Dataset, ReadOptions};
use glmtune_training::observer::{Event, Observer, Request};
use glmtune_training::saving::OutputDir;
use glmtune_training::settings::{OnNan, TrainSettings};
use glmtune_training::{Training, TrainingBackend, TrainingRequest};

use super::case::TrainCase;
use super::clock::{Clock, MOST};
use super::measured::Found;
use super::place::Place;
use super::rows;
use crate::commands::error::Result;
use crate::commands::work::Matrices;

/// Low enough that random weights stay finite.
const LEARNING_RATE: f64 = 1e-5;

/// Measures the steps of a training.
///
/// # Errors
/// If the training fails.
pub fn measure<B: TrainingBackend>(place: &Place<'_, B>, case: &TrainCase) -> Result<Found> {
    let config = &place.info.config;
    let settings = settings(place, case)?;
    let of_step = case.batch_size * place.devices.len();
    // More than there will be steps: at an epoch's end a training saves.
    let (text, targets) = rows::rows(config, case.max_len, of_step * (MOST + 2));
    let path = place.folder.join("rows.jsonl");
    AtomicFile::write(&path, text.as_bytes())?;
    let options = ReadOptions::default();
    let dataset = Dataset::read(&path, place.info, &settings, options, &|_, _| ())?;
    let output = OutputDir::open(place.folder.join("output"))?;
    let device = place.device().clone();
    let recomputes = settings.recomputes();
    let mut request = TrainingRequest::<B>::new(place.info, settings, dataset, output, device);
    request.devices = place.devices.to_vec();
    request.device_names = place.selected.iter().map(ToString::to_string).collect();
    let training = Training::prepare(request, &mut |_| ())?;
    let trained = training.description().trained;
    let mut steps = Steps::new(place.clock);
    training.run(&mut steps)?;
    let matrices = Matrices::of(config, &place.parameters());
    let tokens = of_step * case.max_len;
    let products = matrices.training(
        tokens as f64,
        (of_step * targets) as f64,
        trained as f64,
        recomputes,
    );
    let found = Found::of("", &steps.seconds).tokens(tokens);
    Ok(found.products(products))
}

fn settings<B: TrainingBackend>(place: &Place<'_, B>, case: &TrainCase) -> Result<TrainSettings> {
    let (info, blocks) = (place.info, place.info.config.common().num_layers);
    Ok(TrainSettings {
        limits: LayoutLimits::new(info.mode, case.max_len, None),
        per_device_train_batch_size: case.batch_size,
        learning_rate: LEARNING_RATE,
        gradient_checkpointing: case.gradient_checkpointing,
        offload_optimizer: case.offload_optimizer,
        offload_param: case.offload_param,
        dtype: place.dtype.try_into()?,
        // Speed and memory do not depend on it.
        on_nan: OnNan::Skip,
        ..TrainSettings::new(info.mode, case.method(blocks)?)
    })
}

/// Takes the time from step to step, and ends the training when it is up.
struct Steps {
    clock: Clock,
    since: Instant,
    seconds: Vec<f64>,
}

impl Steps {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            since: Instant::now(),
            seconds: Vec::new(),
        }
    }
}

impl Observer for Steps {
    fn notice(&mut self, event: &Event<'_>) {
        if let Event::Step(_) = event {
            self.seconds.push(self.since.elapsed().as_secs_f64());
        }
        if let Event::Step(_) | Event::Started(_) = event {
            self.since = Instant::now();
        }
    }

    fn request(&self) -> Request {
        match self.clock.goes_on(&self.seconds) {
            true => Request::GoOn,
            false => Request::Discard,
        }
    }
}

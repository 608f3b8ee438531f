//! `glmtune train --dry_run`: everything up to the first step, and nothing written.

use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::{DType, Distribution, Tensor};
use glmtune_model::layers::linear;
use glmtune_model::parameters::parameters;
use glmtune_model::rows::IGNORED;
use glmtune_model::tokenizer::{SpecialToken, Tokenizer};
use glmtune_model::{BuildOptions, CausalLm, GlmBackend};
use glmtune_training::data::{Dataset, Fullness};
use glmtune_training::optim::ops::TrainingBackend;
use glmtune_training::run::load;
use glmtune_training::settings::TrainSettings;

use super::preparation;
use super::request::Request;
use crate::backend::AnyBackend;
use crate::commands::error::Result;
use crate::commands::plan::{Case, Planned};
use crate::commands::report::{Report, duration};
use crate::commands::work::Matrices;

/// What stands around the targets of the row that is shown.
const TARGETS: (&str, &str) = ("⟦", "⟧");
/// Rows of the product that is timed, and how often.
const TRIAL_ROWS: usize = 512;
const TRIALS: usize = 3;

/// Shows what the training would do.
pub fn run<B: TrainingBackend>(request: &Request<'_, B>) -> Result<()> {
    let (places, info) = (&request.args.model, request.info);
    let device = &request.devices[0];
    let settings = request.settings()?;
    request.say_devices(&settings);
    request.probe(&settings)?;
    let rows = request.rows(&settings)?;
    let (dataset, _) = request.validation(&settings, rows)?;
    let fullness = Fullness::of(&dataset, &settings);
    request.say(fullness.to_string());
    request.abilities(&settings)?;
    request.say(first_row(&dataset, info.tokenizer.as_ref()));
    let model = CausalLm::<AnyBackend>::uninitialized(
        &info.config,
        &BuildOptions::float32(),
        &Default::default(),
    );
    let infos = parameters(&model);
    let planned = Planned {
        config: &info.config,
        parameters: &infos,
    };
    let case = Case {
        processes: request.group.size(),
        devices: request.devices.len(),
        ..Case::of(&settings, fullness.longest, fullness.most_targets)
    };
    let memory = Report::new().with(
        format!("memory of {}", case.title()),
        planned.details(&case)?,
    );
    request.say(memory.to_string().trim_end());
    let prepared = load::<B>(
        &places.model_name_or_path,
        places.adapter.first().map(PathBuf::as_path),
        &settings,
        (request.devices, request.group),
        &mut preparation::loading(),
    )?;
    request.say(preparation::trained(&prepared.trainable, prepared.total));
    let trained = planned.plan(&case, true)?.trained;
    let work = Work {
        settings: &settings,
        dataset: &dataset,
        sequences: fullness.sequences,
        matrices: Matrices::of(&info.config, &infos),
        trained,
    };
    let speed = products_per_second::<B>(
        device,
        settings.dtype.into(),
        info.config.common().hidden_size,
    );
    request.say(work.describe(speed));
    request.say("dry run: nothing was written");
    Ok(())
}

/// The first row as text, its targets marked.
fn first_row(dataset: &Dataset, tokenizer: Option<&Tokenizer>) -> String {
    if dataset.is_empty() {
        return "no row".to_string();
    }
    let (ids, labels) = (dataset.ids(0), dataset.labels(0));
    let mut text = String::new();
    let mut start = 0;
    while start < ids.len() {
        let is_target = labels[start] != IGNORED;
        let same = labels[start..]
            .iter()
            .take_while(|label| (**label != IGNORED) == is_target);
        let end = start + same.count();
        let part = shown(&ids[start..end], tokenizer);
        match is_target {
            true => text.push_str(&format!("{}{part}{}", TARGETS.0, TARGETS.1)),
            false => text.push_str(&part),
        }
        start = end;
    }
    format!(
        "first row (line {}), targets in {}{}:\n{text}",
        dataset.line(0),
        TARGETS.0,
        TARGETS.1
    )
}

/// Ids as text; special tokens by their names.
fn shown(ids: &[u32], tokenizer: Option<&Tokenizer>) -> String {
    let Some(tokenizer) = tokenizer else {
        return format!("{ids:?}");
    };
    let name = |id: u32| {
        let mut all = SpecialToken::ALL.into_iter();
        let found = all.find(|token| tokenizer.special(*token) == Some(id))?;
        found.names().first().copied()
    };
    let (mut text, mut plain) = (String::new(), Vec::new());
    for &id in ids {
        match name(id) {
            None => plain.push(id),
            Some(name) => {
                text.push_str(&tokenizer.decode(&plain));
                text.push_str(name);
                plain.clear();
            }
        }
    }
    text + &tokenizer.decode(&plain)
}

/// What a training computes.
struct Work<'a> {
    settings: &'a TrainSettings,
    dataset: &'a Dataset,
    /// Sequences of an epoch.
    sequences: usize,
    matrices: Matrices,
    /// Elements that are trained.
    trained: u64,
}

impl Work<'_> {
    /// Steps and their time, for so many multiplications with additions per second.
    fn describe(&self, speed: f64) -> String {
        let (settings, sequences) = (self.settings, self.sequences);
        let of_step = settings.per_device_train_batch_size
            * settings.gradient_accumulation_steps
            * settings.data_parallel;
        let per_epoch = sequences.div_ceil(of_step.max(1)) as u64;
        let steps = per_epoch * settings.num_train_epochs as u64;
        let steps = settings.max_steps.map_or(steps, |most| most.min(steps));
        let rows_each = self.dataset.len() as f64 / sequences.max(1) as f64;
        let each_device = of_step.min(sequences) as f64 / settings.data_parallel.max(1) as f64;
        let rows_of_step = rows_each * each_device;
        let seconds = rows_of_step * self.row() / speed;
        format!(
            "{steps} steps, {per_epoch} an epoch; about {} a step and {} in all, if products are all that takes \
             time (a trial gave {:.1} GFLOP/s)",
            duration(seconds),
            duration(seconds * steps as f64),
            2.0 * speed / 1e9
        )
    }

    /// Multiplications with additions for a mean row.
    fn row(&self) -> f64 {
        let summary = self.dataset.summary();
        let mean = |all: usize| all as f64 / summary.rows.max(1) as f64;
        let (tokens, targets) = (mean(summary.tokens), mean(summary.targets));
        let again = self.settings.recomputes();
        self.matrices
            .training(tokens, targets, self.trained as f64, again)
    }
}

/// Multiplications with additions that the device's products make in a second, by a trial.
fn products_per_second<B: GlmBackend>(device: &B::Device, dtype: DType, width: usize) -> f64 {
    let random = |shape: [usize; 2]| {
        Tensor::<B, 2>::random(shape, Distribution::Default, device).cast(dtype)
    };
    let (x, weight) = (random([TRIAL_ROWS, width]), random([4 * width, width]));
    let product = || {
        // Reading a number back waits for the device.
        linear(x.clone(), weight.clone(), None)
            .narrow(0, 0, 1)
            .into_data()
    };
    product();
    let started = Instant::now();
    for _ in 0..TRIALS {
        product();
    }
    let work = (TRIALS * TRIAL_ROWS * width * 4 * width) as f64;
    work / started.elapsed().as_secs_f64().max(1e-9)
}

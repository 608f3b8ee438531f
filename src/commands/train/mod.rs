//! `glmtune train`: fine-tune a model on a file of rows.

mod continued;
mod devices;
mod dry_run;
mod labels;
mod output_dir;
pub mod quick_start;
mod ranks;
mod settings;
mod watch;

use std::path::PathBuf;

use burn::backend::Autodiff;
use burn::tensor::DType;
use glmtune_model::adapters::{AdapterMeta, FileFormat};
use glmtune_model::checkpoint::{Fingerprint, parse_size};
use glmtune_model::device_health::{self, settle};
use glmtune_model::parameters::ParameterInfo;
use glmtune_model::pretrained::{Placement, Pretrained};
use glmtune_model::tokenizer::{Mode, tokenizer_files};
use glmtune_model::{CausalLm, FloatType, GlmBackend};
use glmtune_training::TrainingBackend;
use glmtune_training::checkpoint::{
    Checkpoints, Extent, Identity, Resume, Saved, TrainingProgress,
};
use glmtune_training::data::{DataSettings, Dataset, prepare as prepare_rows};
use glmtune_training::deepspeed::DeepSpeedConfig;
use glmtune_training::digest::file_digest;
use glmtune_training::method::{Masters, Prepared, prepare};
use glmtune_training::optim::{AdamW, OffloadedAdamW, Optimizer};
use glmtune_training::parallel::pipeline::Stages;
use glmtune_training::parallel::ranks::ProcessGroup;
use glmtune_training::precision::LossScale;
use glmtune_training::run::{Outcome, Training};
use glmtune_training::saving::{Outputs, RunId};
use glmtune_training::settings::TrainSettings;

use self::output_dir::OutputDir;
use super::console::{grouped, note, progress_bar, say};
use super::error::{Error, Result};
use super::session::{ModelInfo, type_name};
use crate::backend::types::Devices;
use crate::backend::{Selected, probe};
use crate::cli::TrainArgs;
use crate::on_devices;

/// Runs the command.
pub fn run(args: &TrainArgs) -> Result<()> {
    let group = ranks::join()?;
    let result = device_health::guard(|| run_rank(args, &group));
    let result = result.map_err(|error| devices::explain(error, args));
    if let Err(error) = &result
        && group.size() > 1
        && !matches!(error, Error::Interrupted(_))
    {
        crate::print::error(error);
        group.abort(error.exit_status().into());
    }
    result
}

fn run_rank(args: &TrainArgs, group: &ProcessGroup) -> Result<()> {
    check_request(args, group)?;
    output_dir::check_settings(args)?;
    // A dry run writes nothing, not even a lock.
    let _output_dir = (group.is_first() && !args.dry_run)
        .then(|| OutputDir::open(&args.output_dir))
        .transpose()?;
    if args.quick_start {
        quick_start::make(args)?;
    }
    let info = ModelInfo::new(&args.model)?;
    let args = &continued::resolve(args)?;
    let file = args.deepspeed_file().map(DeepSpeedConfig::read);
    let file = file.transpose()?;
    let selected = devices::select(args, group)?;
    let outcome = on_devices!(&selected, |devices: B| {
        let request = Request {
            args,
            info: &info,
            file: file.as_ref(),
            selected: &selected,
            device: &devices[0],
            devices: &devices,
            group,
        };
        match args.dry_run {
            true => dry_run::run::<B>(&request).map(|()| None),
            false => train::<B>(request).map(Some),
        }
    })?;
    let Some(outcome) = outcome else {
        return Ok(());
    };
    if args.quick_start && !outcome.interrupted {
        quick_start::show(args, &outcome)?;
    }
    finish(args, &outcome, group)
}

fn check_request(args: &TrainArgs, group: &ProcessGroup) -> Result<()> {
    if args.quick_start && args.dry_run {
        return Err(Error::Request(
            "--dry_run writes nothing, and --quick_start makes its model and rows first; give one of them"
                .to_string(),
        ));
    }
    if args.quick_start && group.size() > 1 {
        return Err(Error::Request(
            "--quick_start is for one process".to_string(),
        ));
    }
    if args.model.adapter.len() > 1 {
        return Err(Error::Request(
            "a training starts from one --adapter at most; `glmtune merge` folds several into a base"
                .to_string(),
        ));
    }
    if !args.save_safetensors && !args.train_type.is_adapter() {
        return Err(Error::Request(
            "--save_safetensors false is for adapters (--train_type lora or ptuning); whole models are written as \
             safetensors, which transformers and the published code load"
                .to_string(),
        ));
    }
    let (stages, devices) = (args.pipeline_stages, args.model.devices.len());
    if stages == 0 || (stages > 1 && devices > 1 && devices != stages) {
        return Err(Error::Request(format!(
            "--pipeline_stages is {stages} and --devices names {devices}; give as many devices as stages, \
             or one"
        )));
    }
    Ok(())
}

/// The settings of a training in one process, for those who plan it.
pub(super) fn resolved_settings(
    args: &TrainArgs,
    file: Option<&DeepSpeedConfig>,
    mode: Mode,
    dtype: DType,
) -> TrainSettings {
    let computing = settings::Computing {
        dtype,
        devices: args.model.devices.len().max(1),
        ranks: 1,
    };
    settings::settings(args, file, mode, computing)
}

/// What a training is asked to do, and where.
struct Request<'a, B: GlmBackend> {
    args: &'a TrainArgs,
    info: &'a ModelInfo,
    file: Option<&'a DeepSpeedConfig>,
    /// The devices as they were selected.
    selected: &'a [Selected],
    /// The device of the model.
    device: &'a B::Device,
    /// All devices of the run, that one first.
    devices: &'a [B::Device],
    /// This process among several.
    group: &'a ProcessGroup,
}

fn train<B: TrainingBackend>(request: Request<'_, B>) -> Result<Outcome> {
    let Request { args, info, .. } = request;
    let dtype = request.dtype()?;
    tracing::info!("mode {}, type {}", info.mode, type_name(dtype));
    let computing = request.computing(dtype);
    let settings = settings::settings(args, request.file, info.mode, computing);
    settings.validate()?;
    request.say(devices::line(args, request.selected, dtype));
    if let Some(line) = devices::step(&settings) {
        request.say(line);
    }
    probe::<B>(request.selected, request.devices, dtype)?;
    if let Some(file) = request.file {
        for line in settings::unmet(file, computing) {
            request.say(format!("ds_file: {line}"));
        }
    }
    let dataset = request.rows(&settings)?;
    request.say(dataset.summary().to_string().trim_end());
    let mut run = RunId::new();
    let mut checkpoints = Checkpoints::new(
        &args.output_dir,
        Identity {
            settings: settings.trajectory_settings(),
            data: dataset.fingerprint().to_string(),
            model: file_digest(&args.model.model_name_or_path.join("config.json"))?,
        },
        Extent::new(&settings, dataset.len()),
        run.clone(),
    );
    let saved = request.saved(&checkpoints)?;
    if let Some(saved) = &saved {
        checkpoints.go_on(saved);
        run = saved.run.clone();
    }
    let prepared = request.model(&settings, dtype)?;
    settle::<B>(request.devices)?;
    request.say(trainable_lines(&prepared));

    let (mut model, mut host) = (prepared.model, prepared.host);
    let mut optimizer: Box<dyn Optimizer<B>> = match settings.offload_optimizer {
        true => {
            let group = request.group.clone();
            Box::new(OffloadedAdamW::new(settings.optimizer, group))
        }
        false => Box::new(AdamW::new(settings.optimizer)),
    };
    for (path, values) in prepared.masters {
        optimizer.set_master(&path, values);
    }
    let mut progress = TrainingProgress {
        loss_scale: settings.loss_scale.as_ref().map(LossScale::new),
        ..TrainingProgress::default()
    };
    if let Some(saved) = saved {
        model = saved.restore_weights(model, &mut host, &prepared.trainable)?;
        saved.restore_optimizer(optimizer.as_mut(), request.device)?;
        progress = saved.progress;
        request.say(format!("going on after step {}", progress.step));
    }
    let stages = request.stages(&model);
    if let Some(stages) = &stages {
        model = stages.place(model, &host)?;
    }
    if request.group.is_first() {
        output_dir::save_settings(args, info.mode, &settings)?;
    }
    let meta = adapter_meta(args, info, &settings)?;
    let labels = labels::labels(
        args,
        (&settings.method, &prepared.output),
        request.selected,
        (type_name(dtype), prepared.total),
    );
    let mut training = Training {
        dataset: dataset.into(),
        devices: request.devices.to_vec(),
        stages,
        host,
        pad_id: info.config.common().pad_token_id,
        trainable: prepared
            .trainable
            .into_iter()
            .map(|info| (info.path.clone(), info.elements()))
            .collect(),
        optimizer,
        checkpoints,
        outputs: Outputs {
            dir: args.output_dir.clone(),
            run,
            base: args.model.model_name_or_path.clone(),
            kind: prepared.output,
            meta,
            dtype,
            format: match args.save_safetensors {
                true => FileFormat::Safetensors,
                false => FileFormat::PyTorch,
            },
            with_tokenizer: args.save_tokenizer,
            max_shard_size: parse_size(&args.max_shard_size)?,
            limit: args.save_total_limit,
        },
        labels,
        group: request.group.clone(),
        progress,
        settings,
    };
    let mut observers = watch::observers(args, &training)?;
    let (_, outcome) = training.run(model, &mut observers)?;
    Ok(outcome)
}

impl<B: GlmBackend> Request<'_, B> {
    /// Prints a line, once for all processes.
    fn say(&self, text: impl AsRef<str>) {
        if self.group.is_first() {
            say(text);
        }
    }

    /// The checkpoint to go on from, and an output directory that is ready for what follows.
    fn saved(&self, checkpoints: &Checkpoints) -> Result<Option<Saved>> {
        let dir = &self.args.output_dir;
        let is_first = self.group.is_first();
        let Some(step) = self.args.resume else {
            let moved = is_first.then(|| output_dir::start(dir)).transpose()?;
            moved.flatten().iter().for_each(|line| self.say(line));
            return Ok(None);
        };
        let saved = checkpoints.find(step.map_or(Resume::Last, Resume::Step))?;
        // The first process moves nothing before all have looked.
        self.group.any(false);
        if !is_first {
            return Ok(saved);
        }
        let moved = match &saved {
            Some(_) => output_dir::go_on(dir)?,
            None => output_dir::restart(dir)?,
        };
        moved.iter().for_each(|line| self.say(line));
        if saved.is_none() {
            self.say("no checkpoint yet: starting from the beginning");
        }
        Ok(saved)
    }

    fn computing(&self, dtype: DType) -> settings::Computing {
        settings::Computing {
            dtype,
            devices: self.devices.len(),
            ranks: self.group.size(),
        }
    }

    /// The flag decides; then the DeepSpeed file's bf16; then the published type, where half precision
    /// becomes bf16 if the backend has it, which needs no loss scale, and else f16.
    fn dtype(&self) -> Result<DType> {
        let devices = Devices::<B> {
            selected: self.selected,
            devices: self.devices,
        };
        if let Some(precision) = self.args.model.dtype {
            return Ok(devices.require(precision.into())?);
        }
        let published = self.info.config.common().torch_dtype;
        let is_half = published.is_some_and(FloatType::is_half);
        let wants_half = self.file.is_some_and(|file| file.bf16) || is_half;
        Ok(match wants_half {
            true => devices.first_of(&[DType::BF16, DType::F16]),
            false => DType::F32,
        })
    }

    /// The stages of a pipeline, if one was asked for.
    fn stages(&self, model: &CausalLm<Autodiff<B>>) -> Option<Stages<B>> {
        let count = self.args.pipeline_stages;
        let devices = match self.devices {
            [device] => vec![device.clone(); count],
            devices => devices.to_vec(),
        };
        (count > 1).then(|| Stages::new(devices, model.num_blocks()))
    }

    fn rows(&self, settings: &TrainSettings) -> Result<Dataset> {
        let args = self.args;
        let bar = progress_bar("encoding rows");
        let data = DataSettings {
            path: &args.train_path,
            mode: settings.mode,
            format: args.layout.format(),
            limits: settings.limits,
            is_skip: settings.is_skip,
            vocabulary: self.info.config.common().vocab_size,
            cache: (!args.no_cache && !args.dry_run)
                .then(|| args.cache_dir.clone().or_else(default_cache))
                .flatten(),
            tokenizer_files: tokenizer_files(&args.model.model_name_or_path),
        };
        let dataset = prepare_rows(&data, self.info.tokenizer.as_ref(), &|done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        dataset.check(&args.train_path, &|ids| self.info.config.row_fault(ids))?;
        Ok(dataset)
    }

    fn model(&self, settings: &TrainSettings, dtype: DType) -> Result<Prepared<B>> {
        let bar = progress_bar("loading");
        let mut progress = |_: &str, index: usize, count: usize| {
            bar.set_length(count as u64);
            bar.set_position(index as u64);
        };
        let placement = match settings.offload_param {
            true => Placement::Host,
            false => Placement::Device,
        };
        let pretrained = Pretrained::<Autodiff<B>>::load_to(
            placement,
            &self.args.model.model_name_or_path,
            Some(self.info.mode),
            dtype,
            self.device,
            &mut progress,
        )?;
        bar.finish_and_clear();
        let adapter = self.args.model.adapter.first().map(PathBuf::as_path);
        let masters = match settings.offload_optimizer {
            true => Masters::WithOptimizer,
            false => Masters::InModel,
        };
        let (method, seed) = (&settings.method, settings.seed);
        Ok(prepare(pretrained, method, adapter, masters, seed)?)
    }
}

/// `glmtune/tokens` in the user's cache folder.
pub(super) fn default_cache() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = folder("XDG_CACHE_HOME")
        .or_else(|| folder("LOCALAPPDATA"))
        .map(PathBuf::from)
        .or_else(|| folder("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("glmtune/tokens"))
}

/// As the Python ancestor prints them.
fn trainable_lines<B: GlmBackend>(prepared: &Prepared<B>) -> String {
    let mut text = String::new();
    for ParameterInfo { path, shape } in &prepared.trainable {
        // PEFT's name of a factor: the step into the adapter is ours.
        text.push_str(&format!("{} {shape:?}\n", path.replace(".lora.", ".")));
    }
    let (trained, total) = (prepared.trained(), prepared.total);
    text.push_str(&format!(
        "trainable params: {} || all params: {} || trainable%: {:.4}",
        grouped(trained),
        grouped(total),
        100.0 * trained as f64 / total as f64
    ));
    text
}

/// The settings and the prompt mode travel with every output.
fn adapter_meta(
    args: &TrainArgs,
    info: &ModelInfo,
    settings: &TrainSettings,
) -> Result<AdapterMeta> {
    let base = &args.model.model_name_or_path;
    let training = serde_json::Value::Object(settings.to_map());
    // A whole model needs no other one.
    let fingerprint = settings.method.is_adapter().then(|| Fingerprint::of(base));
    let prompt_text = args.layout.prompt_text.clone();
    Ok(AdapterMeta {
        mode: Some(info.mode.to_string()),
        base_model: Some(base.display().to_string()),
        base: fingerprint.transpose()?,
        prompt_text: prompt_text.filter(|text| !text.is_empty()),
        other: [("training".to_string(), training)].into_iter().collect(),
    })
}

fn stopped(outcome: &Outcome) -> String {
    let Outcome {
        steps, saved_steps, ..
    } = outcome;
    match saved_steps == steps {
        true => {
            format!("stopped and saved after step {steps}; the same command with --resume goes on")
        }
        false if *saved_steps == 0 => format!("stopped after step {steps}; nothing was saved"),
        false => format!(
            "stopped after step {steps}; the same command with --resume goes on after step {saved_steps}"
        ),
    }
}

fn finish(args: &TrainArgs, outcome: &Outcome, group: &ProcessGroup) -> Result<()> {
    if outcome.interrupted {
        return Err(Error::Interrupted(stopped(outcome)));
    }
    if !group.is_first() {
        return Ok(());
    }
    if group.size() > 1 {
        note(format!(
            "{} bytes sent by this rank of {}",
            grouped(group.bytes_sent() as usize),
            group.size()
        ));
    }
    note(format!(
        "{} steps done; outputs in {}",
        outcome.steps,
        args.output_dir.display()
    ));
    Ok(())
}

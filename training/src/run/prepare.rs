//! From a request to a training that can take its first step.

use std::collections::BTreeSet;
use std::path::Path;

use burn::backend::Autodiff;
use glmtune_model::adapters::AdapterMeta;
use glmtune_model::checkpoint::Fingerprint;
use glmtune_model::device_health::settle;
use glmtune_model::digest::file_digest;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::{CausalLm, ModelConfig};

use super::labels::labels;
use super::load::load;
use super::{Preparation, Trainer, Training, TrainingRequest};
use crate::checkpoint::{Checkpoints, Extent, Identity, Resume, Saved, TrainingProgress};
use crate::data::count_sequences;
use crate::error::{Error, Result};
use crate::method::{OutputKind, Prepared};
use crate::optim::ops::TrainingBackend;
use crate::optim::{AdamW, OffloadedAdamW, Optimizer, SharedAdamW};
use crate::parallel::devices::replicas::Replicas;
use crate::parallel::pipeline::Stages;
use crate::saving::{Outputs, RunId, output_dir};
use crate::settings::{TrainSettings, check_shards, check_stages};
use crate::validation::{Best, Metric, Standing, Validation, ValidationSettings};

/// Who shows what happens.
type Show<'a> = &'a mut dyn FnMut(Preparation<'_>);

impl<B: TrainingBackend> Training<B> {
    /// Makes everything ready for the first step: settings are checked, the checkpoint is found and the output
    /// directory made ready, the model loaded, the method's parameters attached, weights and state restored
    /// and placed. `show` learns of each part; `&mut |_| ()` shows nothing.
    ///
    /// # Errors
    /// If the settings are wrong or do not fit the model, the checkpoint is another training's or damaged, a
    /// file cannot be read, or a device or the disk fails.
    pub fn prepare(mut request: TrainingRequest<B>, show: Show<'_>) -> Result<Self> {
        let (devices, processes) = (request.devices.len(), request.group.size());
        request.settings = request.settings.resolved(devices, processes);
        request.settings.validate()?;
        settle_validation(&mut request)?;
        check_stages(request.settings.pipeline_stages, devices)?;
        check_shards(&request.settings, devices, processes)?;
        let device = request.devices.first().cloned();
        let device = device.ok_or_else(|| Error::Request("no device was given".to_string()))?;
        let run = RunId::new();
        let sequences = count_sequences(&request.dataset, &request.settings);
        let mut checkpoints = checkpoints(&request, run.clone(), sequences)?;
        let saved = saved(&request, &checkpoints, show)?;
        if let Some(saved) = &saved {
            checkpoints.go_on(saved);
        }
        let run = saved.as_ref().map_or(run, |saved| saved.run.clone());
        let pad_id = ModelConfig::from_dir(&request.base)?.common().pad_token_id;
        let prepared = load(
            &request.base,
            request.adapter.as_deref(),
            &request.settings,
            (&request.devices, &request.group),
            &mut |index, count| show(Preparation::Loading(index, count)),
        )?;
        settle::<B>(&request.devices)?;
        show(Preparation::Prepared {
            trainable: &prepared.trainable,
            total: prepared.total,
        });
        let mut optimizer = optimizer(&request, &prepared);
        for (path, values) in prepared.masters {
            optimizer.set_master(&path, values);
        }
        let (mut model, mut host) = (prepared.model, prepared.host);
        let mut progress = TrainingProgress::start(&request.settings);
        if let Some(saved) = &saved {
            model = saved.restore_weights(model, &mut host, &prepared.trainable)?;
            saved.restore_optimizer(optimizer.as_mut(), &device)?;
            progress = saved.progress;
            show(Preparation::Resumed(progress.step));
        }
        let (standing, is_new) = standing(&request, progress.validation);
        progress.validation = standing;
        if is_new {
            show(Preparation::BestForgotten);
        }
        let stages = stages(&request, &model);
        if let Some(stages) = &stages {
            model = stages.place(model, &host)?;
        }
        let mut replicas = match stages {
            None => replicas(&request, &model, &host, optimizer.as_ref()),
            Some(_) => Replicas::default(),
        };
        if let Some(saved) = &saved {
            replicas.each_optimizer(&mut |optimizer, device| {
                saved.restore_optimizer(optimizer, device)
            })?;
        }
        let labels = labels(
            request.output_dir.path(),
            &request.base,
            (&request.settings.method, &prepared.output),
            (&request.device_names, request.settings.dtype),
            prepared.total,
        );
        let outputs = outputs(&request, prepared.output, run)?;
        let trainable = prepared.trainable.into_iter();
        let trainer = Trainer {
            dataset: request.dataset,
            sequences,
            validation: request.validation,
            abilities: request.abilities,
            devices: request.devices,
            replicas,
            stages,
            host,
            pad_id,
            trainable: trainable
                .map(|info| (info.path.clone(), info.elements()))
                .collect(),
            optimizer,
            checkpoints,
            outputs,
            output_dir: request.output_dir,
            labels,
            group: request.group,
            progress,
            settings: request.settings,
        };
        Ok(Self { model, trainer })
    }
}

/// Rows to validate on and the settings of it come together.
fn settle_validation<B: TrainingBackend>(request: &mut TrainingRequest<B>) -> Result<()> {
    let batch_size = request.settings.per_device_train_batch_size;
    let refuse = |what: &str| Err(Error::Request(what.to_string()));
    match (&request.validation, &mut request.settings.validation) {
        (None, Some(_)) => refuse("there are settings of a validation, and no rows for it"),
        (Some(_), settings @ None) => {
            *settings = Some(ValidationSettings::new(batch_size));
            Ok(())
        }
        (Some(Validation { scorer: None, .. }), Some(settings))
            if settings.metric_for_best_model == Metric::Score =>
        {
            refuse("metric_for_best_model is score, and no answers are scored (--eval_task)")
        }
        _ => Ok(()),
    }
}

/// What validations have shown so far, if there are any, and whether it was measured otherwise before, so that it
/// does not compare. A best model that was not saved cannot be ended with.
fn standing<B: TrainingBackend>(
    request: &TrainingRequest<B>,
    saved: Option<Standing>,
) -> (Option<Standing>, bool) {
    let (Some(validation), Some(settings)) = (&request.validation, &request.settings.validation)
    else {
        return (None, false);
    };
    let new = Standing::new(settings.metric_for_best_model, &validation.dataset);
    let Some(saved) = saved else {
        return (Some(new), false);
    };
    let steps = Checkpoints::steps(request.output_dir.path());
    let is_saved = |best: Best| steps.contains(&best.step);
    let is_there = !settings.load_best_model_at_end || saved.best.is_none_or(is_saved);
    match saved.compares_with(&new) && is_there {
        true => (Some(saved), false),
        false => (Some(new), true),
    }
}

/// The checkpoints of a training that would be this one.
fn checkpoints<B: TrainingBackend>(
    request: &TrainingRequest<B>,
    run: RunId,
    sequences: usize,
) -> Result<Checkpoints> {
    let settings = &request.settings;
    let identity = Identity {
        settings: settings.trajectory_settings(),
        data: request.dataset.fingerprint().to_string(),
        model: file_digest(&request.base.join("config.json"))?,
    };
    let extent = Extent::new(settings, sequences);
    let dir = request.output_dir.path();
    Ok(Checkpoints::new(dir, identity, extent, run))
}

/// The checkpoint to go on from, and an output directory that is ready for what follows.
fn saved<B: TrainingBackend>(
    request: &TrainingRequest<B>,
    checkpoints: &Checkpoints,
    show: Show<'_>,
) -> Result<Option<Saved>> {
    let found = request
        .resume
        .map(|resume| find(request, checkpoints, resume));
    let saved = found.transpose()?.flatten();
    if request.group.is_first() {
        make_ready(request, saved.is_some(), show)?;
    }
    Ok(saved)
}

fn find<B: TrainingBackend>(
    request: &TrainingRequest<B>,
    checkpoints: &Checkpoints,
    resume: Resume,
) -> Result<Option<Saved>> {
    let saved = checkpoints.find(resume)?;
    // The first process moves nothing before all have looked.
    request.group.any(false)?;
    Ok(saved)
}

fn make_ready<B: TrainingBackend>(
    request: &TrainingRequest<B>,
    goes_on: bool,
    show: Show<'_>,
) -> Result<()> {
    let dir = request.output_dir.path();
    if goes_on {
        if let Some(earlier) = output_dir::go_on(dir)? {
            show(Preparation::LinksSetAside(&earlier));
        }
        return Ok(());
    }
    let earlier = match request.resume {
        Some(_) => output_dir::restart(dir)?,
        None => output_dir::start(dir)?,
    };
    if let Some(earlier) = earlier {
        show(Preparation::EarlierRunSetAside(&earlier));
    }
    if request.resume.is_some() {
        show(Preparation::NoCheckpoint);
    }
    Ok(())
}

fn optimizer<B: TrainingBackend>(
    request: &TrainingRequest<B>,
    prepared: &Prepared<B>,
) -> Box<dyn Optimizer<B>> {
    let settings = request.settings.optimizer;
    if request.settings.offload_optimizer {
        return Box::new(OffloadedAdamW::new(settings, request.group.clone()));
    }
    let trained = prepared.trainable.iter().map(|info| &info.path);
    let shared: BTreeSet<String> = trained
        .filter(|path| prepared.host.get(path).is_some())
        .cloned()
        .collect();
    match shared.is_empty() {
        true => Box::new(AdamW::new(settings)),
        false => {
            let (devices, dtype) = (request.devices.clone(), request.settings.dtype.into());
            Box::new(SharedAdamW::new(settings, shared, devices, dtype))
        }
    }
}

/// The model on the devices beside the first.
fn replicas<B: TrainingBackend>(
    request: &TrainingRequest<B>,
    model: &CausalLm<Autodiff<B>>,
    host: &HostWeights,
    optimizer: &dyn Optimizer<B>,
) -> Replicas<B> {
    let (devices, dtype) = (&request.devices, request.settings.dtype);
    Replicas::of(model, devices, host, optimizer, dtype)
}

/// The stages of a pipeline, if one was asked for: one per device, or all on one.
fn stages<B: TrainingBackend>(
    request: &TrainingRequest<B>,
    model: &CausalLm<Autodiff<B>>,
) -> Option<Stages<B>> {
    let count = request.settings.pipeline_stages;
    let devices = match request.devices.as_slice() {
        [device] => vec![device.clone(); count],
        devices => devices.to_vec(),
    };
    (count > 1).then(|| Stages::new(devices, model.num_blocks()))
}

fn outputs<B: TrainingBackend>(
    request: &TrainingRequest<B>,
    kind: OutputKind,
    run: RunId,
) -> Result<Outputs> {
    let like = &request.outputs;
    let prompt_text = request.dataset.prompt_text();
    let meta = meta(&request.settings, &request.base, prompt_text)?;
    Ok(Outputs {
        dir: request.output_dir.path().to_path_buf(),
        run,
        base: request.base.clone(),
        kind,
        meta,
        dtype: request.settings.dtype.into(),
        format: like.format,
        with_tokenizer: like.with_tokenizer,
        max_shard_size: like.max_shard_size,
        limit: request.settings.save_total_limit,
    })
}

/// The settings and the prompt mode travel with every output.
fn meta(settings: &TrainSettings, base: &Path, prompt_text: &str) -> Result<AdapterMeta> {
    let training = serde_json::Value::Object(settings.to_map());
    // A whole model needs no other one.
    let fingerprint = settings.method.is_adapter().then(|| Fingerprint::of(base));
    Ok(AdapterMeta {
        mode: Some(settings.mode.to_string()),
        base_model: Some(base.display().to_string()),
        base: fingerprint.transpose()?,
        prompt_text: Some(prompt_text.to_string()).filter(|text| !text.is_empty()),
        other: [("training".to_string(), training)].into_iter().collect(),
    })
}

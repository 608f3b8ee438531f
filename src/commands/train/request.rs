//! What a training is asked to do on the command line, and what follows before a model is loaded.

use std::path::{Path, PathBuf};

use burn::tensor::DType;
use glmtune_model::adapters::FileFormat;
use glmtune_model::checkpoint::parse_size;
use glmtune_model::{FloatType, GlmBackend, ModelInfo};
use glmtune_training::TrainingRequest;
use glmtune_training::checkpoint::Resume;
use glmtune_training::data::{Dataset, ReadOptions};
use glmtune_training::deepspeed::DeepSpeedConfig;
use glmtune_training::parallel::processes::ranks::ProcessGroup;
use glmtune_training::run::OutputSettings;
use glmtune_training::saving::OutputDir;
use glmtune_training::settings::TrainSettings;

use super::{devices, settings};
use crate::backend::types::Devices;
use crate::backend::{Selected, probe};
use crate::cache_folder::cache_folder;
use crate::cli::TrainArgs;
use crate::commands::console::{progress_bar, say};
use crate::commands::error::Result;

/// What a training is asked to do, and where.
pub struct Request<'a, B: GlmBackend> {
    pub args: &'a TrainArgs,
    pub info: &'a ModelInfo,
    pub file: Option<&'a DeepSpeedConfig>,
    /// The devices as they were selected.
    pub selected: &'a [Selected],
    /// The devices, the model's first.
    pub devices: &'a [B::Device],
    /// This process among several.
    pub group: &'a ProcessGroup,
}

impl<B: GlmBackend> Request<'_, B> {
    /// Prints a line, once for all processes.
    pub fn say(&self, text: impl AsRef<str>) {
        if self.group.is_first() {
            say(text);
        }
    }

    /// The settings, checked.
    pub fn settings(&self) -> Result<TrainSettings> {
        let (mode, dtype) = (self.info.mode, self.dtype()?);
        tracing::info!("mode {mode}, type {dtype}");
        let settings = settings::settings(self.args, self.file, mode, dtype)?;
        let settings = settings.resolved(self.devices.len(), self.group.size());
        settings.validate()?;
        Ok(settings)
    }

    /// The flag decides; then the DeepSpeed file's bf16; then the published type, where half precision
    /// becomes bf16 if the backend has it, which needs no loss scale, and else f16.
    fn dtype(&self) -> Result<FloatType> {
        let devices = Devices::<B> {
            selected: self.selected,
            devices: self.devices,
        };
        if let Some(precision) = self.args.model.compute.dtype {
            devices.require(precision.into())?;
            return Ok(precision.into());
        }
        let published = self.info.config.common().torch_dtype;
        let is_half = published.is_some_and(FloatType::is_half);
        let wants_half = self.file.is_some_and(|file| file.bf16) || is_half;
        Ok(match wants_half {
            true => devices.first_of(&[DType::BF16, DType::F16]).try_into()?,
            false => FloatType::F32,
        })
    }

    /// Says where a training computes.
    pub fn say_devices(&self, settings: &TrainSettings) {
        self.say(devices::line(self.args, self.selected, settings.dtype));
        if let Some(line) = devices::step(settings) {
            self.say(line);
        }
    }

    /// Lets the devices compute something before a run depends on them.
    pub fn probe(&self, settings: &TrainSettings) -> Result<()> {
        Ok(probe::<B>(
            self.selected,
            self.devices,
            settings.dtype.into(),
        )?)
    }

    /// Says what the DeepSpeed file asks for and does not get.
    pub fn say_unmet(&self, settings: &TrainSettings) {
        let devices = (self.devices.len(), self.group.size());
        let unmet = |file| settings::unmet(file, settings.dtype, devices);
        for line in self.file.map(unmet).unwrap_or_default() {
            self.say(format!("ds_file: {line}"));
        }
    }

    /// The rows of the training, and what is worth knowing of them.
    pub fn rows(&self, settings: &TrainSettings) -> Result<Dataset> {
        let dataset = self.dataset(&self.args.train_path, settings)?;
        self.say(dataset.summary().to_string().trim_end());
        Ok(dataset)
    }

    /// The rows of a file, as they are trained on.
    pub fn dataset(&self, path: &Path, settings: &TrainSettings) -> Result<Dataset> {
        let args = self.args;
        let bar = progress_bar("encoding rows");
        let options = ReadOptions {
            format: args.layout.format(),
            cache: (!args.no_cache && !args.dry_run)
                .then(|| args.cache_dir.clone().or_else(default_cache))
                .flatten(),
        };
        let dataset = Dataset::read(path, self.info, settings, options, &|done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        Ok(dataset)
    }

    /// The request to the library.
    pub fn training(
        &self,
        settings: &TrainSettings,
        dataset: Dataset,
        output_dir: OutputDir,
    ) -> Result<TrainingRequest<B>> {
        let args = self.args;
        Ok(TrainingRequest {
            base: args.model.model_name_or_path.clone(),
            adapter: args.model.adapter.first().cloned(),
            settings: settings.clone(),
            dataset,
            output_dir,
            outputs: OutputSettings {
                format: match args.save_safetensors {
                    true => FileFormat::Safetensors,
                    false => FileFormat::PyTorch,
                },
                with_tokenizer: args.save_tokenizer,
                max_shard_size: parse_size(&args.max_shard_size)?,
            },
            resume: args
                .resume
                .map(|step| step.map_or(Resume::Last, Resume::Step)),
            devices: self.devices.to_vec(),
            device_names: self.selected.iter().map(ToString::to_string).collect(),
            group: self.group.clone(),
            validation: None,
            abilities: None,
        })
    }
}

/// The folder of encoded rows, where none is named.
pub fn default_cache() -> Option<PathBuf> {
    cache_folder("tokens")
}

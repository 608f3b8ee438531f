//! What a training is asked to do.

use std::path::{Path, PathBuf};

use glmtune_model::adapters::FileFormat;
use glmtune_model::parameters::ParameterInfo;
use glmtune_model::{GlmBackend, ModelInfo};

use crate::checkpoint::Resume;
use crate::data::Dataset;
use crate::parallel::processes::ranks::ProcessGroup;
use crate::saving::OutputDir;
use crate::settings::TrainSettings;
use crate::validation::{Abilities, Validation};

/// What a training is asked to do, and where.
#[derive(Debug)]
pub struct TrainingRequest<B: GlmBackend> {
    /// The model directory that it starts from.
    pub base: PathBuf,
    /// An adapter to go on with. It decides over rank, alpha and modules, or over the prefix's length and form.
    pub adapter: Option<PathBuf>,
    /// The settings.
    pub settings: TrainSettings,
    /// The rows.
    pub dataset: Dataset,
    /// Rows to measure the model on while it is trained, when [`TrainSettings::validation`] says.
    pub validation: Option<Validation<B>>,
    /// What the model can do beside its task: measured before the first step and after the last.
    pub abilities: Option<Abilities<B>>,
    /// Where outputs, metrics and checkpoints go.
    pub output_dir: OutputDir,
    /// What outputs are like.
    pub outputs: OutputSettings,
    /// The checkpoint in the output directory to go on from; starts from the beginning if there is none yet.
    pub resume: Option<Resume>,
    /// The devices, the model's first: replicas, or the stages of a pipeline.
    pub devices: Vec<B::Device>,
    /// What people call them.
    pub device_names: Vec<String>,
    /// This process among several.
    pub group: ProcessGroup,
}

impl<B: GlmBackend> TrainingRequest<B> {
    /// A training of a model, or of the adapter that was opened with it, on one device, in one process, from the
    /// beginning.
    pub fn new(
        model: &ModelInfo,
        settings: TrainSettings,
        dataset: Dataset,
        output_dir: OutputDir,
        device: B::Device,
    ) -> Self {
        Self {
            base: model.dir().to_path_buf(),
            adapter: model.adapters().first().cloned(),
            settings,
            dataset,
            validation: None,
            abilities: None,
            output_dir,
            outputs: OutputSettings::default(),
            resume: None,
            device_names: vec![format!("{device:?}")],
            devices: vec![device],
            group: ProcessGroup::default(),
        }
    }
}

/// What the outputs of a training are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSettings {
    /// Format of an adapter's weights; whole models are always safetensors.
    pub format: FileFormat,
    /// Whether an adapter gets the base's tokenizer files; a whole model always does.
    pub with_tokenizer: bool,
    /// Largest file of a whole model, in bytes.
    pub max_shard_size: u64,
}

impl Default for OutputSettings {
    fn default() -> Self {
        Self {
            format: FileFormat::Safetensors,
            with_tokenizer: false,
            max_shard_size: 2_000_000_000,
        }
    }
}

/// What happens while a training is prepared, for who shows it.
#[derive(Debug, Clone, Copy)]
pub enum Preparation<'a> {
    /// Files of an earlier run were in the output directory and are now there.
    EarlierRunSetAside(&'a Path),
    /// Links stood in the place of the run's files and are now there.
    LinksSetAside(&'a Path),
    /// There is no checkpoint yet: the training starts from the beginning.
    NoCheckpoint,
    /// So many tensors, of so many, are loaded.
    Loading(usize, usize),
    /// The model is there, and the method's parameters in it.
    Prepared {
        /// What is trained, in the order of the model.
        trainable: &'a [ParameterInfo],
        /// Elements of all parameters.
        total: usize,
    },
    /// The training goes on after so many steps.
    Resumed(u64),
    /// It was validated otherwise before, so that the best so far does not compare.
    BestForgotten,
}

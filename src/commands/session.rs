//! A model with its tokenizer, ready for prompts: what `generate`, `chat` and `score` start from.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::tensor::DType;
use glmtune_model::adapters::AdapterMeta;
use glmtune_model::config::ChatGlm2Config;
use glmtune_model::device_health::settle;
use glmtune_model::pretrained::Pretrained;
use glmtune_model::rows::Prompting;
use glmtune_model::tokenizer::{Mode, PromptFormat, Tokenizer};
use glmtune_model::{CausalLm, FloatType, GlmBackend, ModelConfig};

use super::base::{check_bases, require_directory, require_model};
use super::console::{note, progress_bar};
use super::error::{Error, Result};
use crate::backend::types::Devices;
pub use crate::backend::types::type_name;
use crate::backend::{Selected, describe, probe};
use crate::cli::{ModelArgs, Precision};

impl From<Precision> for FloatType {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
            Precision::F16 => Self::F16,
        }
    }
}

impl From<Precision> for DType {
    fn from(precision: Precision) -> Self {
        FloatType::from(precision).into()
    }
}

/// What is known of a model before any of its weights is read.
#[derive(Debug)]
pub struct ModelInfo {
    /// Its configuration.
    pub config: ModelConfig,
    /// Its tokenizer; small test models come without.
    pub tokenizer: Option<Tokenizer>,
    /// Prompt and row format.
    pub mode: Mode,
    /// glmtune's notes in the adapters' directories, then in the model's.
    notes: Vec<AdapterMeta>,
}

impl ModelInfo {
    /// Reads configuration and tokenizer and checks the adapters' prompt mode.
    pub fn new(args: &ModelArgs) -> Result<Self> {
        let dir = &args.model_name_or_path;
        require_model(dir)?;
        let config = ModelConfig::from_dir(dir)?;
        let asked = args.mode.or(noted_mode(dir)?);
        let tokenizer = Tokenizer::find(dir, asked)?;
        let asked = match &tokenizer {
            None => asked.or(noted_by_one(&args.adapter)?),
            Some(_) => asked,
        };
        if let Some(tokenizer) = &tokenizer {
            tokenizer.check_fits(&config, dir)?;
        }
        let mode = choose_mode(asked, tokenizer.as_ref(), &config);
        if asked.is_none() && tokenizer.is_none() {
            say_assumed(dir, &config);
        }
        check_architecture(dir, mode, &config)?;
        check_tokenizer(dir, mode, tokenizer.as_ref())?;
        check_trained_mode(dir, mode)?;
        for adapter in &args.adapter {
            require_directory(adapter)?;
            check_trained_mode(adapter, mode)?;
        }
        check_bases(dir, &args.adapter, args.force)?;
        let noted = args.adapter.iter().chain([dir]);
        let notes: Vec<_> = noted
            .map(|dir| AdapterMeta::read(dir))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            config,
            tokenizer,
            mode,
            notes: notes.into_iter().flatten().collect(),
        })
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// If the directory has none.
    pub fn tokenizer(&self, dir: &Path) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Error::Request(format!(
                "{}: no tokenizer here (ice_text.model, tokenizer.model or tokenizer.json); \
                 only token ids can be used with this model",
                dir.display()
            ))
        })
    }

    /// How questions become prompts: as in the training if the model was tuned here, else as published, and
    /// whatever it is as `asked`.
    pub fn prompting(&self, asked: Option<PromptFormat>) -> Prompting {
        Prompting::of(self.mode, &self.notes, asked)
    }

    /// Ids that end a generation: those of the configuration and those of the prompt mode.
    pub fn stop_ids(&self) -> Vec<u32> {
        let mut ids = self.config.common().eos_token_ids.clone();
        if let Some(tokenizer) = &self.tokenizer {
            ids.extend(tokenizer.stop_ids(self.mode));
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// The mode that glmtune noted in a model directory that it made.
pub fn noted_mode(dir: &Path) -> Result<Option<Mode>> {
    let mode = AdapterMeta::read(dir)?.and_then(|meta| meta.mode);
    Ok(mode.map(|mode| mode.parse()).transpose()?)
}

/// The mode that the first of some adapters with a note was trained in.
fn noted_by_one(adapters: &[PathBuf]) -> Result<Option<Mode>> {
    let noted = adapters.iter().map(|dir| noted_mode(dir));
    noted.filter_map(Result::transpose).next().transpose()
}

/// Words of GLM-4's vocabulary, by which its configuration differs from ChatGLM3's.
const GLM4_VOCABULARY: usize = 151_552;

/// What was asked for, by the flag or by a note in the directory, decides (without a tokenizer also by one in
/// an adapter); else the tokenizer; else the
/// configuration, as far as it can tell: `rope_ratio` tells nothing, long-context members of each family
/// have it.
pub fn choose_mode(
    asked: Option<Mode>,
    tokenizer: Option<&Tokenizer>,
    config: &ModelConfig,
) -> Mode {
    let by_config = || match config {
        ModelConfig::ChatGlm(_) => Mode::Glm,
        ModelConfig::ChatGlm2(config) if is_glm4(config) => Mode::Glm4,
        ModelConfig::ChatGlm2(_) => Mode::Glm3,
    };
    asked
        .or_else(|| tokenizer.map(Tokenizer::mode))
        .unwrap_or_else(by_config)
}

fn is_glm4(config: &ChatGlm2Config) -> bool {
    config.common.vocab_size == GLM4_VOCABULARY
}

/// Says what a model is taken for where only the configuration could tell and does not.
fn say_assumed(dir: &Path, config: &ModelConfig) {
    let ModelConfig::ChatGlm2(config) = config else {
        return;
    };
    if is_glm4(config) {
        return;
    }
    let rope = match config.rope_ratio {
        Some(_) => {
            ", whose rope_ratio multiplies the rotary base (ChatGLM2 divides positions by it)"
        }
        None => "",
    };
    note(format!(
        "{}: no tokenizer and no --mode: taken for ChatGLM3{rope}; --mode glm2 or glm4 says otherwise",
        dir.display()
    ));
}

/// ChatGLM-6B has its own rows, positions and tokens, and the later families cannot do with them.
fn check_architecture(dir: &Path, mode: Mode, config: &ModelConfig) -> Result<()> {
    let (name, modes) = match config {
        ModelConfig::ChatGlm(_) => ("ChatGLM-6B", "glm"),
        ModelConfig::ChatGlm2(_) => ("ChatGLM2 or later", "glm2, glm3 or glm4"),
    };
    match matches!(config, ModelConfig::ChatGlm(_)) == (mode == Mode::Glm) {
        true => Ok(()),
        false => Err(Error::Request(format!(
            "{}: a model of {name}, which --mode {mode} does not fit; give --mode {modes}",
            dir.display()
        ))),
    }
}

/// A mode's prompts and rows need its tokens.
pub fn check_tokenizer(dir: &Path, mode: Mode, tokenizer: Option<&Tokenizer>) -> Result<()> {
    match tokenizer {
        Some(tokenizer) => Ok(tokenizer.check_mode(dir, mode)?),
        None => Ok(()),
    }
}

/// Says how questions become prompts where it is not as published.
pub fn say_prompting(prompting: &Prompting) {
    if !prompting.is_unlike_published() {
        return;
    }
    let before = match prompting.prompt_text() {
        "" => String::new(),
        text => format!(", after the text that stood before every row: {text}"),
    };
    note(format!(
        "prompts as in the training{before} (--prompt_format published for those of the published chat)"
    ));
}

/// An adapter or a tuned model speaks the prompt format that it was trained with, and no other.
fn check_trained_mode(dir: &Path, mode: Mode) -> Result<()> {
    let Some(trained) = AdapterMeta::read(dir)?.and_then(|meta| meta.mode) else {
        return Ok(());
    };
    match trained == mode.to_string() {
        true => Ok(()),
        false => Err(Error::Request(format!(
            "{}: trained with --mode {trained}, but this run is in mode {mode}; give --mode {trained}",
            dir.display()
        ))),
    }
}

/// A loaded model.
#[derive(Debug)]
pub struct Session<B: GlmBackend> {
    /// The model, adapters attached.
    pub model: CausalLm<B>,
    /// Type of weights and activations.
    pub dtype: DType,
    /// How long loading took.
    pub load_time: Duration,
}

impl<B: GlmBackend> Session<B> {
    /// Loads the weights and attaches the adapters.
    pub fn load(
        info: &ModelInfo,
        args: &ModelArgs,
        selected: &Selected,
        device: &B::Device,
    ) -> Result<Self> {
        let dtype = compute_type::<B>(info, args, selected, device)?;
        Self::load_in(dtype, info, args, selected, device)
    }

    /// Loads the weights in a type, which is that of [`compute_type`], and attaches the adapters.
    pub fn load_in(
        dtype: DType,
        info: &ModelInfo,
        args: &ModelArgs,
        selected: &Selected,
        device: &B::Device,
    ) -> Result<Self> {
        let started = Instant::now();
        let (selected, devices) = (std::slice::from_ref(selected), std::slice::from_ref(device));
        probe::<B>(selected, devices, dtype)?;
        tracing::info!("type: {}", type_name(dtype));
        let bar = progress_bar("loading");
        let mut progress = |_: &str, index: usize, count: usize| {
            bar.set_length(count as u64);
            bar.set_position(index as u64);
        };
        let dir = &args.model_name_or_path;
        let mode = Some(info.mode);
        let mut pretrained = Pretrained::<B>::load(dir, mode, dtype, device, &mut progress)?;
        for adapter in &args.adapter {
            pretrained.attach(adapter, dtype, device)?;
        }
        settle::<B>(devices)?;
        bar.finish_and_clear();
        Ok(Self {
            model: pretrained.model,
            dtype,
            load_time: started.elapsed(),
        })
    }
}

/// The type in which a session computes.
pub fn compute_type<B: GlmBackend>(
    info: &ModelInfo,
    args: &ModelArgs,
    selected: &Selected,
    device: &B::Device,
) -> Result<DType> {
    let (selected, devices) = (std::slice::from_ref(selected), std::slice::from_ref(device));
    choose_dtype::<B>(args.dtype, &info.config, &Devices { selected, devices })
}

/// The flag decides and must be possible; else the published type, or float16 and then float32 where the
/// backend lacks it.
fn choose_dtype<B: GlmBackend>(
    flag: Option<Precision>,
    config: &ModelConfig,
    devices: &Devices<'_, B>,
) -> Result<DType> {
    if let Some(precision) = flag {
        return Ok(devices.require(precision.into())?);
    }
    let published = config.common().torch_dtype.unwrap_or(FloatType::F32);
    let published = DType::from(published);
    let wanted = match published.size() < DType::F32.size() {
        true => vec![published, DType::F16],
        false => vec![DType::F32],
    };
    let dtype = devices.first_of(&wanted);
    if dtype != published {
        note(format!(
            "{} does not support {}; computing in {}",
            describe(devices.selected),
            type_name(published),
            type_name(dtype)
        ));
    }
    Ok(dtype)
}

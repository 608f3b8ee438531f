//! A model directory with random weights, in the published layout: to train from nothing, to try, to measure.
//!
//! Weights are drawn and written a tensor at a time, so that a model of any size takes the memory of its
//! largest tensor.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend;
use serde_json::{Map, Value, json};

use crate::architecture::BuildOptions;
use crate::causal_lm::CausalLm;
use crate::checkpoint::{AtomicDir, Existing, ShardPlan, ShardWriter, TensorInfo};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::float_type::FloatType;
use crate::parameters::parameters;
use crate::presets::Preset;
use crate::random_weights::{Initialization, random_weights};
use crate::tokenizer::{Mode, SpecialToken, Tokenizer, copy_tokenizer_files, small_tokenizer};

/// Rows of a vocabulary are padded to a multiple of this, as the published ones are.
const VOCABULARY_MULTIPLE: usize = 32;

/// Which model is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitSettings {
    /// Its sizes.
    pub preset: Preset,
    /// The family; by default the preset's, else the tokenizer's, else ChatGLM2.
    pub mode: Option<Mode>,
    /// The directory that gives tokenizer and vocabulary; by default a small tokenizer of bytes.
    pub tokenizer: Option<PathBuf>,
    /// Whether the vocabulary has as many rows as that of the family's published models, also where the tokenizer has
    /// fewer tokens.
    pub published_vocabulary: bool,
    /// Type of the weights; by default float32, and for published sizes the published type.
    pub dtype: Option<FloatType>,
    /// Largest file, in bytes.
    pub max_shard_size: u64,
    /// Seed of the weights.
    pub seed: u64,
}

impl InitSettings {
    /// A preset with the defaults.
    pub fn new(preset: Preset) -> Self {
        Self {
            preset,
            mode: None,
            tokenizer: None,
            published_vocabulary: false,
            dtype: None,
            max_shard_size: 2_000_000_000,
            seed: 1234,
        }
    }
}

/// The model that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Its family.
    pub mode: Mode,
    /// Type of its weights.
    pub dtype: FloatType,
    /// Elements of all parameters.
    pub parameters: usize,
}

/// Makes a model directory, which must not exist yet or be empty. `B` gives names and shapes alone and computes
/// nothing. `progress` is called with the number of tensors that are written and that of all.
///
/// # Errors
/// If preset, mode and tokenizer do not fit each other, the directory holds something, or the disk refuses.
pub fn init<B: Backend>(
    output: &Path,
    settings: &InitSettings,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Made> {
    let dir = AtomicDir::create(output, Existing::Refuse)?;
    let (tokenizer, mode) = write_tokenizer(settings, dir.path())?;
    let dtype = file_type(settings);
    let config = write_config(settings, mode, &tokenizer, dtype, dir.path())?;
    let parameters = write_weights::<B>(settings, &config, dtype, dir.path(), progress)?;
    dir.commit()?;
    Ok(Made {
        mode,
        dtype,
        parameters,
    })
}

/// The tokenizer of the directory given, or a small one, and the family.
fn write_tokenizer(settings: &InitSettings, dir: &Path) -> Result<(Tokenizer, Mode)> {
    let implied = settings.preset.mode();
    let asked = settings.mode.or(implied);
    let given = settings.tokenizer.as_deref();
    let given = given
        .map(|dir| Tokenizer::from_dir(dir, asked))
        .transpose()?;
    let mode = settings
        .mode
        .or(implied)
        .or(given.as_ref().map(Tokenizer::mode))
        .unwrap_or(Mode::Glm2);
    if let (Some(tokenizer), Some(dir)) = (&given, &settings.tokenizer) {
        tokenizer.check_mode(dir, mode)?;
    }
    if let Some(implied) = implied.filter(|&implied| implied != mode) {
        return Err(Error::Request(format!(
            "--preset {:?} is of mode {implied}, not {mode}",
            settings.preset
        )));
    }
    match &settings.tokenizer {
        Some(from) => {
            copy_tokenizer_files(from, dir)?;
        }
        None => {
            let (tokenizer, config) = small_tokenizer(mode);
            write(&dir.join("tokenizer.json"), &tokenizer)?;
            write(&dir.join("tokenizer_config.json"), &config)?;
        }
    }
    let tokenizer = match given {
        Some(tokenizer) => tokenizer,
        None => Tokenizer::from_dir(dir, Some(mode))?,
    };
    Ok((tokenizer, mode))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| Error::io(path, error))
}

/// The flag, else float16 or bfloat16 for the published sizes, as they are published.
fn file_type(settings: &InitSettings) -> FloatType {
    match (settings.dtype, settings.preset.mode()) {
        (Some(dtype), _) => dtype,
        (None, None) => FloatType::F32,
        (None, Some(Mode::Glm4)) => FloatType::Bf16,
        (None, Some(_)) => FloatType::F16,
    }
}

/// Writes `config.json`: the preset's sizes, the tokenizer's vocabulary and special tokens.
fn write_config(
    settings: &InitSettings,
    mode: Mode,
    tokenizer: &Tokenizer,
    dtype: FloatType,
    dir: &Path,
) -> Result<ModelConfig> {
    let vocabulary = match settings.tokenizer {
        Some(_) if settings.preset == Preset::Mini => {
            tokenizer.vocab_size().next_multiple_of(VOCABULARY_MULTIPLE)
        }
        Some(_) => Preset::published_vocabulary(mode).max(tokenizer.vocab_size()),
        None if settings.preset.is_published() || settings.published_vocabulary => {
            Preset::published_vocabulary(mode)
        }
        None => tokenizer.vocab_size().next_multiple_of(VOCABULARY_MULTIPLE),
    };
    let mut config = settings.preset.config(mode, vocabulary);
    set_special_tokens(&mut config, mode, tokenizer)?;
    dtype.write_to(&mut config);
    let path = dir.join("config.json");
    let text = serde_json::to_string_pretty(&config).map_err(|error| Error::json(&path, error))?;
    write(&path, &format!("{text}\n"))?;
    ModelConfig::from_dir(dir)
}

fn set_special_tokens(
    config: &mut Map<String, Value>,
    mode: Mode,
    tokenizer: &Tokenizer,
) -> Result<()> {
    let special = |token: SpecialToken| tokenizer.special(token);
    let mut set = |key: &str, value: Option<u32>| -> Result<()> {
        let id = value.ok_or_else(|| {
            Error::Request(format!(
                "the tokenizer lacks the token that mode {mode} needs for {key}"
            ))
        })?;
        config.insert(key.to_string(), json!(id));
        Ok(())
    };
    set("pad_token_id", Some(tokenizer.pad_id()))?;
    match mode {
        Mode::Glm => {
            set("bos_token_id", special(SpecialToken::Sop))?;
            set("eos_token_id", special(SpecialToken::Eop))?;
            set("mask_token_id", special(SpecialToken::Mask))?;
            set("gmask_token_id", special(SpecialToken::GMask))?;
        }
        Mode::Glm2 | Mode::Glm3 => set("eos_token_id", special(SpecialToken::Eos))?,
        Mode::Glm4 => {
            config.insert("eos_token_id".to_string(), json!(tokenizer.stop_ids(mode)));
        }
    }
    Ok(())
}

/// Draws and writes every tensor; returns the number of elements.
fn write_weights<B: Backend>(
    settings: &InitSettings,
    config: &ModelConfig,
    dtype: FloatType,
    dir: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<usize> {
    let options = BuildOptions::float32();
    let model = CausalLm::<B>::uninitialized(config, &options, &Default::default());
    let parameters = parameters(&model);
    let infos = parameters
        .iter()
        .map(|info| TensorInfo::new(info.path.clone(), dtype.into(), info.shape.clone()));
    let plan = ShardPlan::new(infos, settings.max_shard_size)?;
    let mut writer = ShardWriter::create(dir, plan)?;
    let mut done = 0;
    while let Some(info) = writer.next_tensor().cloned() {
        let initialization = Initialization::of(&info.name);
        let bytes = random_weights(&info, initialization, settings.seed)?;
        writer.write(&info.name, &bytes)?;
        done += 1;
        progress(done, parameters.len());
    }
    writer.finish()?;
    Ok(parameters.iter().map(|info| info.elements()).sum())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn_flex::{Flex, FlexDevice};

    use super::*;
    use crate::ModelInfo;

    #[test]
    fn what_is_made_loads_in_every_family() {
        let folder = tempfile::tempdir().unwrap();
        for mode in Mode::ALL {
            let dir = folder.path().join(mode.to_string());
            let settings = InitSettings {
                mode: Some(mode),
                ..InitSettings::new(Preset::Tiny)
            };
            let (mut last, mut all) = (0, 0);
            let made = init::<Flex>(&dir, &settings, &mut |done, count| {
                (last, all) = (done, count)
            });
            let made = made.unwrap();
            assert_eq!((made.mode, made.dtype, last), (mode, FloatType::F32, all));
            let info = ModelInfo::open(&dir).unwrap();
            assert_eq!(info.mode, mode);
            let model = info.load::<Flex>(FloatType::F32, &FlexDevice, &mut |_, _, _| ());
            let elements: usize = parameters(&model.unwrap())
                .iter()
                .map(|info| info.elements())
                .sum();
            assert_eq!(made.parameters, elements);
            assert!(init::<Flex>(&dir, &settings, &mut |_, _| ()).is_err());
        }
    }
}

//! `glmtune init`: a model directory with random weights, in the published layout.
//!
//! Weights are drawn and written a tensor at a time, so that a model of any size takes the memory of its
//! largest tensor.

use std::fs;
use std::path::Path;

use glmtune_model::checkpoint::{
    AtomicDir, Existing, ShardPlan, ShardWriter, TensorInfo, parse_size,
};
use glmtune_model::parameters::parameters;
use glmtune_model::random_weights::{Initialization, random_weights};
use glmtune_model::tokenizer::{
    Mode, SpecialToken, Tokenizer, copy_tokenizer_files, small_tokenizer,
};
use glmtune_model::{BuildOptions, CausalLm, FloatType, ModelConfig};
use serde_json::{Map, Value, json};

use super::console::{grouped, human_bytes, note, progress_bar};
use super::error::{Error, Result};
use super::leftovers::tidy_beside;
use super::session::check_tokenizer;
use crate::backend::AnyBackend;
use crate::cli::{InitArgs, PresetName};

/// Rows of a vocabulary are padded to a multiple of this, as the published ones are.
const VOCABULARY_MULTIPLE: usize = 32;

/// Runs the command.
pub fn run(args: &InitArgs) -> Result<()> {
    let max_shard_size = parse_size(&args.max_shard_size)?;
    tidy_beside(&args.output);
    let dir = AtomicDir::create(&args.output, Existing::Refuse)?;
    let (tokenizer, mode) = write_tokenizer(args, dir.path())?;
    let dtype = file_type(args);
    let config = write_config(args, mode, &tokenizer, dtype, dir.path())?;
    let elements = write_weights(args, &config, dtype, max_shard_size, dir.path())?;
    dir.commit()?;
    if let (PresetName::Small | PresetName::Medium, None) = (args.preset, &args.tokenizer) {
        note(
            "without --tokenizer the vocabulary is small, and so is the model: the preset's size comes with a \
             published tokenizer",
        );
    }
    note(format!(
        "{}: {mode}, {} parameters in {}, {}",
        args.output.display(),
        grouped(elements),
        dtype,
        human_bytes((elements * dtype.size()) as f64)
    ));
    Ok(())
}

/// The tokenizer of the directory given, or a small one, and the family.
fn write_tokenizer(args: &InitArgs, dir: &Path) -> Result<(Tokenizer, Mode)> {
    let implied = args.preset.mode();
    let asked = args.mode.or(implied);
    let given = args.tokenizer.as_deref();
    let given = given
        .map(|dir| Tokenizer::from_dir(dir, asked))
        .transpose()?;
    let mode = args
        .mode
        .or(implied)
        .or(given.as_ref().map(Tokenizer::mode))
        .unwrap_or(Mode::Glm2);
    if let (Some(tokenizer), Some(dir)) = (&given, &args.tokenizer) {
        check_tokenizer(dir, mode, Some(tokenizer))?;
    }
    if let Some(implied) = implied.filter(|&implied| implied != mode) {
        return Err(Error::Request(format!(
            "--preset {:?} is of mode {implied}, not {mode}",
            args.preset
        )));
    }
    match &args.tokenizer {
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
    fs::write(path, text).map_err(|error| glmtune_model::Error::io(path, error).into())
}

/// The flag, else float16 or bfloat16 for the published sizes, as they are published.
fn file_type(args: &InitArgs) -> FloatType {
    match (args.dtype, args.preset.mode()) {
        (Some(precision), _) => precision.into(),
        (None, None) => FloatType::F32,
        (None, Some(Mode::Glm4)) => FloatType::Bf16,
        (None, Some(_)) => FloatType::F16,
    }
}

/// Writes `config.json`: the preset's sizes, the tokenizer's vocabulary and special tokens.
fn write_config(
    args: &InitArgs,
    mode: Mode,
    tokenizer: &Tokenizer,
    dtype: FloatType,
    dir: &Path,
) -> Result<ModelConfig> {
    let vocabulary = match args.tokenizer {
        Some(_) => PresetName::published_vocabulary(mode).max(tokenizer.vocab_size()),
        None if args.preset.is_published() => PresetName::published_vocabulary(mode),
        None => tokenizer.vocab_size().next_multiple_of(VOCABULARY_MULTIPLE),
    };
    let mut config = args.preset.config(mode, vocabulary);
    set_special_tokens(&mut config, mode, tokenizer)?;
    dtype.write_to(&mut config);
    let path = dir.join("config.json");
    let text = serde_json::to_string_pretty(&config)
        .map_err(|error| glmtune_model::Error::json(&path, error))?;
    write(&path, &format!("{text}\n"))?;
    Ok(ModelConfig::from_dir(dir)?)
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
fn write_weights(
    args: &InitArgs,
    config: &ModelConfig,
    dtype: FloatType,
    max_shard_size: u64,
    dir: &Path,
) -> Result<usize> {
    let model = CausalLm::<AnyBackend>::uninitialized(
        config,
        &BuildOptions::float32(),
        &Default::default(),
    );
    let parameters = parameters(&model);
    let infos = parameters
        .iter()
        .map(|info| TensorInfo::new(info.path.clone(), dtype.into(), info.shape.clone()));
    let mut writer = ShardWriter::create(dir, ShardPlan::new(infos, max_shard_size)?)?;
    let bar = progress_bar("writing");
    bar.set_length(parameters.len() as u64);
    while let Some(info) = writer.next_tensor().cloned() {
        let initialization = Initialization::of(&info.name);
        let bytes = random_weights(&info, initialization, args.seed)?;
        writer.write(&info.name, &bytes)?;
        bar.inc(1);
    }
    writer.finish()?;
    bar.finish_and_clear();
    Ok(parameters.iter().map(|info| info.elements()).sum())
}

//! The flags of the model that a command computes with, and of where it computes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use glmtune_model::tokenizer::Mode;
use serde::{Serialize, Serializer};

use super::parse_mode;
use crate::backend::BackendChoice;

/// Where a command computes, and how.
#[derive(Debug, Clone, Args, Serialize)]
pub struct ComputeArgs {
    /// Where to compute.
    #[arg(long, default_value_t)]
    pub backend: BackendChoice,
    /// Indexes of the devices to use, separated by commas; by default the first, and for `train` on CUDA all
    /// that CUDA_VISIBLE_DEVICES shows.
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    pub devices: Vec<usize>,
    /// Type of weights and activations; by default the config's torch_dtype, or f16, then f32 if the
    /// device lacks it.
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<Precision>,
    /// On a GPU, compute with Burn's operations in place of glmtune's kernels (slow; to look for a fault).
    #[arg(long)]
    #[serde(skip)]
    pub no_fused: bool,
}

/// A model and where it runs.
#[derive(Debug, Clone, Args, Serialize)]
pub struct ModelArgs {
    /// Model directory, as published: config.json, tokenizer files, weights.
    #[arg(long, alias = "model-dir", value_name = "DIR")]
    pub model_name_or_path: PathBuf,
    /// Adapter directory (LoRA or P-Tuning v2); several LoRA adapters add up.
    #[arg(long, value_name = "DIR")]
    pub adapter: Vec<PathBuf>,
    /// Prompt and row format; by default the tokenizer tells.
    #[arg(long, value_parser = parse_mode, value_name = "glm|glm2|glm3|glm4")]
    #[serde(
        serialize_with = "mode_as_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub mode: Option<Mode>,
    /// Where it runs.
    #[command(flatten)]
    #[serde(flatten)]
    pub compute: ComputeArgs,
    /// Use an adapter on other weights than those that it was trained on.
    #[arg(long)]
    #[serde(skip)]
    pub force: bool,
}

/// A compute type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[value(alias = "float32")]
    F32,
    /// bfloat16.
    #[value(alias = "bfloat16")]
    Bf16,
    /// Half precision.
    #[value(alias = "float16")]
    F16,
}

fn mode_as_text<S: Serializer>(mode: &Option<Mode>, serializer: S) -> Result<S::Ok, S::Error> {
    match mode {
        Some(mode) => serializer.collect_str(mode),
        None => serializer.serialize_none(),
    }
}

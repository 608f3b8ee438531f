//! The flags of `glmtune bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use glmtune_model::presets::Preset;
use glmtune_model::tokenizer::Mode;

use super::{ComputeArgs, TrainType, parse_mode, parse_preset};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// Steps of a training, for each of --methods and --dropout
    Train,
    /// The pass over a prompt
    Prefill,
    /// The tokens of an answer, one by one
    Decode,
    /// Reading a checkpoint into the device's memory
    Load,
    /// AdamW's update of weights and moments, on the device and in the host's memory
    Update,
    /// Values between host and devices, between devices, and between the processes of mpirun
    Collectives,
    /// The products of a block and of the output layer, forward and backward
    Kernels,
}

/// A set of measurements that stands for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProfileName {
    /// The memory tables in the README of the Python project: its methods, lengths and models on one card
    PythonReadme,
}

/// `glmtune bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What is measured [default: everything].
    #[arg(value_enum, value_name = "WHAT", conflicts_with = "profile")]
    pub what: Vec<Subject>,
    /// Model directory, as published.
    #[arg(
        long,
        alias = "model-dir",
        value_name = "DIR",
        conflicts_with = "preset"
    )]
    pub model_name_or_path: Option<PathBuf>,
    /// A model with random weights, made for this run [default: 100m; a profile names its models itself].
    #[arg(long, value_parser = parse_preset())]
    pub preset: Option<Preset>,
    /// The family, where neither preset nor tokenizer tells.
    #[arg(long, value_parser = parse_mode, value_name = "glm|glm2|glm3|glm4")]
    pub mode: Option<Mode>,
    /// Where to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,

    /// train: the methods [default: lora,freeze,ptuning,all].
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "METHOD,METHOD",
        help_heading = "What is measured",
        conflicts_with = "profile"
    )]
    pub methods: Vec<TrainType>,
    /// Tokens of a row and of a prompt [default: 512; a profile has lengths of its own, which this one bounds].
    #[arg(long, value_name = "N", help_heading = "What is measured")]
    pub max_len: Option<usize>,
    /// Rows of a micro-batch, and prompts that are answered together.
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        help_heading = "What is measured"
    )]
    pub batch_size: usize,
    /// train: dropout of adapters; several, separated by commas, are measured one after another [default: 0.1].
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "X,X",
        help_heading = "What is measured"
    )]
    pub dropout: Vec<f64>,
    /// train, lora: the rank.
    #[arg(
        long,
        default_value_t = 16,
        value_name = "N",
        help_heading = "What is measured"
    )]
    pub lora_dim: usize,
    /// train, lora: linear layers that get an adapter, or all-linear.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "query_key_value",
        value_name = "NAME,NAME",
        help_heading = "What is measured"
    )]
    pub lora_module_name: Vec<String>,
    /// train, ptuning: prefix positions.
    #[arg(
        long,
        default_value_t = 16,
        value_name = "N",
        help_heading = "What is measured"
    )]
    pub pre_seq_len: usize,
    /// train: run blocks again in the backward pass instead of keeping their activations.
    #[arg(long, help_heading = "What is measured", conflicts_with = "profile")]
    pub gradient_checkpointing: bool,
    /// train: keep the optimizer's state in the host's memory.
    #[arg(long, help_heading = "What is measured", conflicts_with = "profile")]
    pub offload_optimizer: bool,
    /// train: keep the base model's matrices in the host's memory.
    #[arg(long, help_heading = "What is measured", conflicts_with = "profile")]
    pub offload_param: bool,
    /// decode: tokens of an answer.
    #[arg(
        long,
        default_value_t = 32,
        value_name = "N",
        help_heading = "What is measured"
    )]
    pub new_tokens: usize,

    /// A named set of measurements.
    #[arg(long, value_enum, value_name = "NAME")]
    pub profile: Option<ProfileName>,
    /// Time for all of it: what has no time left is not measured [default: 100; for a profile 420].
    #[arg(long, value_name = "N")]
    pub seconds: Option<f64>,
    /// Keep the results in this file, as --json prints them, after each measurement; those that it has are not
    /// measured again.
    #[arg(long, value_name = "FILE.json")]
    pub output: Option<PathBuf>,
    /// Folder for models with random weights, which are then kept [default: a temporary one].
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Print one JSON object; times in seconds, sizes in bytes.
    #[arg(long)]
    pub json: bool,
    /// One measurement, in a process of its own.
    #[arg(long, hide = true, value_name = "JSON")]
    pub measure: Option<String>,
}

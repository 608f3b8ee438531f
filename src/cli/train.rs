//! The flags of `glmtune train`: those of the Python ancestor with their meanings and defaults, and more.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::parse_bool::parse_bool;
use super::validation::ValidationArgs;
use super::{LayoutArgs, MethodArgs, ModelArgs};

/// `glmtune train`.
#[derive(Debug, Clone, Args, Serialize)]
pub struct TrainArgs {
    /// The model that the training starts from; `--adapter` continues a LoRA or a prefix.
    #[command(flatten)]
    #[serde(flatten)]
    pub model: ModelArgs,
    /// Rows: {"instruction", "input", "output"}, {"text", "answer"} or {"input_ids", "labels"}, one JSON object
    /// per line or one JSON array.
    #[arg(long, value_name = "FILE")]
    pub train_path: PathBuf,
    /// The row layout.
    #[command(flatten)]
    #[serde(flatten)]
    pub layout: LayoutArgs,
    /// Where adapters or models, metrics and checkpoints go.
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
    /// Settings by the names of these flags, in TOML; flags win.
    #[arg(long, value_name = "FILE.toml")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// A DeepSpeed configuration; flags win.
    // The second name is that of DeepSpeed's own argument.
    #[arg(long, alias = "deepspeed-config", value_name = "FILE.json")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ds_file: Option<PathBuf>,
    /// Go on from the last checkpoint in the output directory, or from that of a step.
    #[arg(long, value_name = "STEP", num_args = 0..=1)]
    #[serde(skip)]
    pub resume: Option<Option<u64>>,
    /// Do everything up to the first step and show it: rows, memory, time, what is trained. Writes nothing.
    #[arg(long)]
    #[serde(skip)]
    pub dry_run: bool,
    /// Tune a small model on a small task, both built in, and show its score on held-out rows before and after.
    #[arg(long)]
    #[serde(skip)]
    pub quick_start: bool,

    /// What is trained, and how.
    #[command(flatten)]
    #[serde(flatten)]
    pub method: MethodArgs,

    /// Rows of a micro-batch; with --packing, packed sequences.
    #[arg(
        long,
        alias = "train-batch-size",
        default_value_t = 16,
        value_name = "N",
        help_heading = "Schedule"
    )]
    pub per_device_train_batch_size: usize,
    /// Micro-batches whose mean gradient makes one step.
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Schedule")]
    pub gradient_accumulation_steps: usize,
    /// Passes over the rows.
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Schedule")]
    pub num_train_epochs: usize,
    /// End after this many steps; the learning rate keeps to the whole schedule.
    #[arg(long, value_name = "N", help_heading = "Schedule")]
    pub max_steps: Option<u64>,
    /// Highest learning rate [default: 1e-3].
    #[arg(long, value_name = "X", help_heading = "Schedule")]
    pub learning_rate: Option<f64>,
    /// Where the learning rate starts and ends [default: a tenth of the highest].
    #[arg(long, value_name = "X", help_heading = "Schedule")]
    pub min_learning_rate: Option<f64>,
    /// Share of the steps in which the learning rate rises.
    #[arg(
        long,
        default_value_t = 0.1,
        value_name = "X",
        help_heading = "Schedule"
    )]
    pub warmup_ratio: f64,
    /// Steps in which the learning rate rises, instead of a share.
    #[arg(long, value_name = "N", help_heading = "Schedule")]
    pub warmup_steps: Option<u64>,
    /// Decoupled weight decay [default: 0.1].
    #[arg(long, value_name = "X", help_heading = "Schedule")]
    pub weight_decay: Option<f64>,
    /// AdamW's decay of the gradient's mean [default: 0.9].
    #[arg(long, value_name = "X", help_heading = "Schedule")]
    pub adam_beta1: Option<f64>,
    /// AdamW's decay of the squared gradient's mean [default: 0.95].
    #[arg(long, value_name = "X", help_heading = "Schedule")]
    pub adam_beta2: Option<f64>,
    /// AdamW's addition to the denominator [default: 1e-8].
    #[arg(long, value_name = "X", help_heading = "Schedule")]
    pub adam_epsilon: Option<f64>,
    /// Largest global norm of the gradients; 0 for no clipping [default: 1.0].
    #[arg(long, value_name = "X", help_heading = "Schedule")]
    pub max_grad_norm: Option<f64>,
    /// Seed of the order of rows, of new adapters and of dropout.
    #[arg(
        long,
        default_value_t = 1234,
        value_name = "N",
        help_heading = "Schedule"
    )]
    pub seed: u64,
    /// Take the rows in the order of the file.
    #[arg(long, help_heading = "Schedule")]
    pub no_shuffle: bool,
    /// Take the longest row first, so that memory that is short runs out at once.
    #[arg(long, help_heading = "Schedule")]
    pub longest_first: bool,
    /// Put several rows into one sequence of up to --max_len tokens. No row sees another one, and a micro-batch has the
    /// loss and the gradients of its rows unpacked; nothing or little is padded.
    #[arg(long, help_heading = "Schedule")]
    pub packing: bool,
    /// Make micro-batches of rows of like length, so that less is padded.
    #[arg(long, help_heading = "Schedule")]
    pub group_by_length: bool,
    /// At a loss that is not a number: end the run, or skip the step.
    #[arg(long, value_enum, default_value_t = NanPolicy::Stop, help_heading = "Schedule")]
    pub on_nan: NanPolicy,
    /// Run blocks again in the backward pass instead of keeping their activations.
    #[arg(long, help_heading = "Schedule")]
    pub gradient_checkpointing: bool,

    /// Deal the blocks out to N stages, one per device of --devices or all on one, and keep several
    /// micro-batches of --gradient_accumulation_steps on their way. Without it, several devices are replicas.
    #[arg(
        long,
        alias = "num-stages",
        default_value_t = 1,
        value_name = "N",
        help_heading = "Schedule"
    )]
    pub pipeline_stages: usize,
    /// Keep the optimizer's state and the float32 masters in the host's memory, and update there.
    #[arg(long, help_heading = "Schedule")]
    pub offload_optimizer: bool,
    /// Keep the base model's matrices in the host's memory; each block's visit the device when its turn
    /// comes. Implies --gradient_checkpointing, and for freeze and all --offload_optimizer.
    #[arg(long, help_heading = "Schedule")]
    pub offload_param: bool,

    /// Validation.
    #[command(flatten)]
    #[serde(flatten)]
    pub validation: ValidationArgs,

    /// Steps between two lines of progress.
    #[arg(
        long,
        alias = "log-steps",
        default_value_t = 10,
        value_name = "N",
        help_heading = "Output"
    )]
    pub show_loss_step: u64,
    /// Save every N steps, beside the ends of epochs.
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub save_model_step: Option<u64>,
    /// Keep the last N outputs only.
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub save_total_limit: Option<usize>,
    /// Largest file of a saved model.
    #[arg(
        long,
        default_value = "2GB",
        value_name = "SIZE",
        help_heading = "Output"
    )]
    pub max_shard_size: String,
    /// Whether adapters are written as .safetensors; false gives the pytorch_model.bin (ptuning) or
    /// adapter_model.bin (lora) that the official ptuning script and old releases of PEFT open.
    #[arg(
        long,
        default_value = "true",
        value_parser = parse_bool,
        action = clap::ArgAction::Set,
        value_name = "true|false",
        help_heading = "Output"
    )]
    pub save_safetensors: bool,
    /// Put the base's tokenizer files beside each adapter.
    #[arg(long, help_heading = "Output")]
    pub save_tokenizer: bool,
    /// Plain lines of progress, also on a terminal.
    #[arg(long, help_heading = "Output")]
    pub no_dashboard: bool,
    /// Folder of encoded rows [default: glmtune in the user's cache folder].
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub cache_dir: Option<PathBuf>,
    /// Encode the rows anew and keep nothing.
    #[arg(long, help_heading = "Output")]
    pub no_cache: bool,

    /// DeepSpeed's own argument: a bare flag without effect, or a configuration as in the Trainer's scripts.
    #[arg(long, hide = true, value_name = "FILE.json", num_args = 0..=1)]
    #[serde(skip)]
    pub deepspeed: Option<Option<PathBuf>>,
    /// This process's number among those of its host, as the ancestor's launcher sets it: it takes that card.
    #[arg(long, hide = true, allow_hyphen_values = true)]
    #[serde(skip)]
    pub local_rank: Option<i64>,
}

impl TrainArgs {
    /// The DeepSpeed configuration, under any of its names.
    pub fn deepspeed_file(&self) -> Option<&Path> {
        let by_flag = || self.deepspeed.as_ref()?.as_deref();
        self.ds_file.as_deref().or_else(by_flag)
    }
}

/// What happens at a loss that is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NanPolicy {
    /// The step changes nothing.
    Skip,
    /// The run ends.
    Stop,
}

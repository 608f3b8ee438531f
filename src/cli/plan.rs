//! The flags of `glmtune inspect` that describe a training, by their names and defaults in `glmtune train`.

use clap::Args;

use super::{Precision, TrainType, train::parse_bool};

/// A training whose memory is to be known before it is started.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Training")]
pub struct PlanArgs {
    /// Show what device and host will need part by part, and which flags would lower it.
    #[arg(long)]
    pub plan: bool,
    /// The method; by default all of them.
    #[arg(long, value_enum)]
    pub train_type: Option<TrainType>,
    /// Type of the frozen weights and of the activations; by default bf16 and f32.
    #[arg(long, value_enum)]
    pub dtype: Option<Precision>,
    /// Tokens of the longest row.
    #[arg(long, default_value_t = 1560, value_name = "N")]
    pub max_len: usize,
    /// Tokens of its prompt, which have no target; by default all tokens have one.
    #[arg(long, value_name = "N")]
    pub max_src_len: Option<usize>,
    /// Rows of a micro-batch.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub per_device_train_batch_size: usize,
    /// Micro-batches of a step.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub gradient_accumulation_steps: usize,
    /// Blocks run again in the backward pass.
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// The optimizer's state lives in the host's memory.
    #[arg(long)]
    pub offload_optimizer: bool,
    /// The base model's matrices live in the host's memory.
    #[arg(long)]
    pub offload_param: bool,
    /// lora: rank.
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub lora_dim: usize,
    /// lora: share of the adapter's input that is dropped.
    #[arg(long, default_value_t = 0.1, value_name = "X")]
    pub lora_dropout: f64,
    /// lora: linear layers that get an adapter, or all-linear.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "query_key_value",
        value_name = "NAME,NAME"
    )]
    pub lora_module_name: Vec<String>,
    /// freeze: parts of the names of those parameters that are trained; by default those of the last four
    /// blocks.
    #[arg(long, value_delimiter = ',', value_name = "PART,PART")]
    pub freeze_module_name: Vec<String>,
    /// ptuning: prefix positions.
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub pre_seq_len: usize,
    /// ptuning: whether an MLP follows the prefix's embedding; by default both.
    #[arg(long, value_parser = parse_bool, value_name = "true|false")]
    pub prefix_projection: Option<bool>,
}

//! The flags of `glmtune predict`.

use std::path::PathBuf;

use clap::Args;

use super::{LayoutArgs, ModelArgs, SamplingArgs};

/// `glmtune predict`.
#[derive(Debug, Clone, Args)]
pub struct PredictArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Rows: {"instruction", "input", "output"}, {"text", "answer"} or {"input_ids", "labels"}, one JSON object
    /// per line or one JSON array; the answer may be missing.
    #[arg(long, value_name = "FILE")]
    pub test_path: PathBuf,
    /// The rows with the model's answers under `generated`, in the order of the file. Rows that are there already
    /// are kept if they are of the same file and the same settings, which stand in OUTPUT.settings.json.
    #[arg(long, value_name = "P.jsonl")]
    pub output: PathBuf,
    /// Start anew, whatever the output holds.
    #[arg(long)]
    pub overwrite: bool,
    /// Rows that are answered together [default: by the memory that is free, at most 32].
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Answers to each row; with more than one, `generated` is a list.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub num_return_sequences: usize,
    /// How to draw.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// The row layout, as in the training.
    #[command(flatten)]
    pub layout: LayoutArgs,
}

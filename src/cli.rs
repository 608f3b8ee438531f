//! The command line: structures only. What the flags mean is decided in [`crate::commands`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use glmtune_model::presets::Preset;
use glmtune_model::tokenizer::Mode;

mod bench;
mod compare;
mod eval;
mod method;
mod model;
mod parse_bool;
mod plan;
mod predict;
mod rows;
mod serve;
mod tips;
mod train;
mod validation;

pub use bench::{BenchArgs, ProfileName, Subject};
pub use compare::CompareArgs;
pub use eval::{EvalArgs, TaskChoice};
pub use method::{MethodArgs, TrainType};
pub use model::{ComputeArgs, ModelArgs, Precision};
pub use plan::PlanArgs;
pub use predict::PredictArgs;
pub use rows::{LayoutArgs, PromptArgs};
pub use serve::ServeArgs;
pub use tips::parse;
pub use train::{NanPolicy, TrainArgs};
pub use validation::MetricChoice;

/// Fine-tune, merge, generate from and chat with the ChatGLM family.
#[derive(Debug, Parser)]
#[command(
    name = "glmtune",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Flags may be written with `-` or `_`. Exit status: 0 done, 1 failed while \
                        running, 2 the request itself was wrong."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fine-tune a model on a file of rows.
    // Of a flag that comes twice, the last one holds, as in Python's argparse. A negative number is a value, which is
    // then refused for what it is.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Train(Box<TrainArgs>),
    /// Continue one prompt.
    #[command(allow_negative_numbers = true)]
    Generate(GenerateArgs),
    /// A conversation in the terminal, streamed.
    #[command(allow_negative_numbers = true)]
    Chat(ChatArgs),
    /// An HTTP server with OpenAI's API: the base and its adapters as models.
    // An adapter has a name there.
    #[command(
        allow_negative_numbers = true,
        mut_arg("adapter", |arg| arg.value_name("NAME=DIR").help(
            "Adapter directory (LoRA or P-Tuning v2) and the name of the model that it makes; may be repeated"
        ))
    )]
    Serve(Box<ServeArgs>),
    /// Answer every row of a file.
    // A row that is left out would have no place in the output, so that --is_skip is refused; it stays a flag for those
    // who take the command line of their training.
    #[command(
        args_override_self = true,
        allow_negative_numbers = true,
        mut_arg("is_skip", |arg| arg.hide(true))
    )]
    Predict(Box<PredictArgs>),
    /// Loss, perplexity and token count of each row.
    Score(ScoreArgs),
    /// Scores of answers: triples, text, questions, abilities, perplexity.
    Eval(EvalArgs),
    /// Several methods of tuning from one base, over several seeds: scores, what is forgotten, memory, time.
    Compare(CompareArgs),
    /// Texts to token ids, or rows to training rows.
    Tokenize(TokenizeArgs),
    /// What is in a model or adapter directory, and what memory its tuning takes.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Inspect(Box<InspectArgs>),
    /// Fold LoRA adapters into their base and save a complete model directory.
    Merge(MergeArgs),
    /// A model directory with random weights, in the published layout.
    Init(InitArgs),
    /// Measured speed and memory: training, prompts, answers, products, updates, loading.
    #[command(mut_arg("dtype", |arg| arg.help(
        "Type of weights and activations; by default f32, and for a published half-precision model bf16, then f16, \
         whichever the device has"
    )))]
    Bench(Box<BenchArgs>),
    /// What this machine and this build offer, and what a run would use.
    Doctor(DoctorArgs),
    /// Completions for a shell, on standard output.
    Completions(CompletionsArgs),
    /// The manual page, on standard output.
    Man(ManArgs),
}

impl Command {
    /// The model that the command computes with.
    pub fn model(&self) -> Option<&ModelArgs> {
        match self {
            Self::Train(args) => Some(&args.model),
            Self::Generate(args) => Some(&args.model),
            Self::Chat(args) => Some(&args.model),
            Self::Predict(args) => Some(&args.model),
            Self::Serve(args) => Some(&args.model),
            Self::Score(args) => Some(&args.model),
            _ => None,
        }
    }
}

/// How continuations are drawn.
#[derive(Debug, Clone, Args)]
pub struct SamplingArgs {
    /// Most tokens to add [default: 512; in a chat 2048].
    #[arg(long, value_name = "N")]
    pub max_new_tokens: Option<usize>,
    /// Least tokens to add: before, an answer does not end.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub min_new_tokens: usize,
    /// Longest prompt and continuation together.
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Draw tokens instead of taking the likeliest; implied by the next three, and in a chat unless --greedy.
    #[arg(long)]
    pub do_sample: bool,
    /// Higher is more varied [default when drawing: 0.95].
    #[arg(long, value_name = "X")]
    pub temperature: Option<f32>,
    /// Draw from this many of the likeliest tokens; 0 for all [default when drawing: 50].
    #[arg(long, value_name = "N")]
    pub top_k: Option<usize>,
    /// Draw from the likeliest tokens that hold this share of probability [default when drawing: 0.7].
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Above 1, tokens that are there already become less likely.
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub repetition_penalty: f32,
    /// Seed of the draws.
    #[arg(long, default_value_t = 1234)]
    pub seed: u64,
    /// Compute the whole sequence at each step (slow; to check the cache).
    #[arg(long)]
    pub no_cache: bool,
}

/// `glmtune generate`.
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The prompt, put into the family's chat format.
    #[arg(long, value_name = "TEXT", group = "source")]
    pub prompt: Option<String>,
    /// Read the prompt from a file, or from standard input if it is `-`.
    #[arg(long, value_name = "FILE", group = "source")]
    pub prompt_file: Option<PathBuf>,
    /// The prompt as token ids, separated by commas; taken as they are.
    #[arg(long, value_delimiter = ',', value_name = "N,N", group = "source")]
    pub input_ids: Vec<u32>,
    /// A system message before the prompt.
    #[arg(long, value_name = "TEXT", requires = "source")]
    pub system: Option<String>,
    /// Take the prompt as plain text, without chat format.
    #[arg(long)]
    pub raw: bool,
    /// The chat format.
    #[command(flatten)]
    pub prompting: PromptArgs,
    /// Continuations of the prompt.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub num_return_sequences: usize,
    /// Print one JSON object per continuation: ids, text, finish.
    #[arg(long)]
    pub json: bool,
    /// How to draw.
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// `glmtune chat`.
#[derive(Debug, Clone, Args)]
pub struct ChatArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// A system message before the conversation.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Go on with a conversation that `/save` wrote.
    #[arg(long, value_name = "FILE")]
    pub load: Option<PathBuf>,
    /// The chat format.
    #[command(flatten)]
    pub prompting: PromptArgs,
    /// Always take the likeliest token.
    #[arg(long)]
    pub greedy: bool,
    /// How to draw.
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// `glmtune score`.
#[derive(Debug, Clone, Args)]
pub struct ScoreArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Rows: {"instruction", "input", "output"}, {"text", "answer"} or {"input_ids", "labels"}, one JSON object
    /// per line.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Write the float32 logits: tensors `logits.0`, `logits.1`, …, each [tokens, vocabulary].
    #[arg(long, value_name = "OUT.safetensors")]
    pub dump: Option<PathBuf>,
    /// The row layout.
    #[command(flatten)]
    pub layout: LayoutArgs,
}

/// `glmtune tokenize`.
#[derive(Debug, Clone, Args)]
pub struct TokenizeArgs {
    /// Model directory, for its tokenizer.
    #[arg(long, value_name = "DIR")]
    pub model_name_or_path: PathBuf,
    /// Row format; by default the tokenizer tells.
    #[arg(long, value_parser = parse_mode, value_name = "glm|glm2|glm3|glm4")]
    pub mode: Option<Mode>,
    /// Rows {"text"}, one JSON object per line, or `-`; gives {"ids", "decoded"} without special tokens.
    #[arg(long, value_name = "FILE", required_unless_present = "train_path")]
    pub input: Option<PathBuf>,
    /// Training rows; gives {"input_ids", "labels"}.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub train_path: Option<PathBuf>,
    /// The row layout.
    #[command(flatten)]
    pub layout: LayoutArgs,
}

/// `glmtune inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// A model or adapter directory.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Print JSON; sizes are in bytes.
    #[arg(long)]
    pub json: bool,
    /// List every tensor.
    #[arg(long)]
    pub tensors: bool,
    /// What a training would take.
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// `glmtune merge`.
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// Directory of the base model, in full precision.
    #[arg(long, alias = "ori-model-dir", value_name = "DIR")]
    pub model_name_or_path: PathBuf,
    /// LoRA adapter directory; several add up.
    #[arg(long, alias = "model-dir", value_name = "DIR", required = true)]
    pub adapter: Vec<PathBuf>,
    /// The directory to write; it must not exist yet, or be empty [default: the adapter's name with
    /// `-merged`, beside it].
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Largest file.
    #[arg(long, default_value = "2GB", value_name = "SIZE")]
    pub max_shard_size: String,
    /// Type of the weights to write; by default the type that they have in the base.
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<Precision>,
    /// Merge adapters that were trained on other weights, too.
    #[arg(long)]
    pub force: bool,
    /// Prompt format that the adapters must have been trained with; by default the base tells.
    #[arg(long, value_parser = parse_mode, value_name = "glm|glm2|glm3|glm4")]
    pub mode: Option<Mode>,
}

/// `glmtune init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The sizes.
    #[arg(long, value_parser = parse_preset())]
    pub preset: Preset,
    /// The family, where neither preset nor tokenizer tells.
    #[arg(long, value_parser = parse_mode, value_name = "glm|glm2|glm3|glm4")]
    pub mode: Option<Mode>,
    /// Take tokenizer and vocabulary from this directory; without it, a small tokenizer of bytes.
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// The directory to write; it must not exist yet, or be empty.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Type of the weights [default: f32 for small presets, the published type for published ones].
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<Precision>,
    /// Largest file.
    #[arg(long, default_value = "2GB", value_name = "SIZE")]
    pub max_shard_size: String,
    /// Seed of the weights.
    #[arg(long, default_value_t = 1234)]
    pub seed: u64,
}

/// `glmtune doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Print JSON; sizes are in bytes.
    #[arg(long)]
    pub json: bool,
}

/// `glmtune completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// `glmtune man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// The command whose page is wanted; by default the program's.
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

/// The presets by their names, with what they are.
fn parse_preset() -> impl TypedValueParser<Value = Preset> {
    let named = Preset::ALL.map(|preset| PossibleValue::new(preset.name()).help(preset.title()));
    PossibleValuesParser::new(named)
        .try_map(|name| Preset::of_name(&name).ok_or("not one of the presets"))
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    text.parse()
        .map_err(|_| "expected glm, glm2, glm3 or glm4".to_string())
}

/// The arguments with `_` in the names of flags replaced by `-`, so that both spellings work.
pub fn normalize(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut literal = false;
    args.into_iter()
        .map(|arg| {
            literal |= arg == "--";
            match arg.to_str() {
                Some(text) if !literal && text.starts_with("--") => normalize_flag(text).into(),
                _ => arg,
            }
        })
        .collect()
}

pub(crate) fn normalize_flag(text: &str) -> String {
    match text.split_once('=') {
        Some((name, value)) => format!("{}={value}", name.replace('_', "-")),
        None => text.replace('_', "-"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn underscores_in_flags_and_only_there() {
        let args = ["glmtune", "--a_b=c_d", "e_f", "--g_h", "--", "--i_j"];
        let found = normalize(args.map(OsString::from));
        assert_eq!(
            found,
            ["glmtune", "--a-b=c_d", "e_f", "--g-h", "--", "--i_j"]
        );
    }
}

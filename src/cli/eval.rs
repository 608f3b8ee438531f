//! The flags of `glmtune eval`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `glmtune eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// What is scored.
    #[arg(long, value_enum)]
    pub task: TaskChoice,
    /// Rows with the model's answers under `generated`, one JSON object per line; for perplexity what `glmtune
    /// score` prints.
    #[arg(long, value_name = "F.jsonl")]
    pub predictions: PathBuf,
    /// Write each row with its scores here.
    #[arg(long, value_name = "F.jsonl")]
    pub details: Option<PathBuf>,
    /// Answers to the same rows by another model: each score is compared with what it was there.
    #[arg(long, value_name = "F.jsonl")]
    pub baseline: Option<PathBuf>,
    /// questions: write a sheet here on which people can score the rows; a file that is there is not replaced.
    #[arg(long, value_name = "S.csv", conflicts_with_all = ["scored", "json"])]
    pub sheet: Option<PathBuf>,
    /// questions: a sheet that people have filled in; its scores are shown beside the automatic ones.
    #[arg(long, value_name = "S.csv")]
    pub scored: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TaskChoice {
    /// Relation triples, one per line as head_relation_tail: precision, recall, F1.
    Triples,
    /// BLEU-4 and ROUGE over characters and words, exact match, distinct-1 and -2.
    Text,
    /// Questions generated for a document, by five criteria as people score them.
    Questions,
    /// Scores of rows that name the `ability` they test, and their loss; with --baseline what was kept of each.
    Abilities,
    /// Loss and perplexity, from the rows that `glmtune score` prints.
    Perplexity,
}

//! The flags that say what the rows of a file look like, and how questions become prompts.

use clap::Args;
use glmtune_model::rows::RowFormat;
use glmtune_model::tokenizer::PromptFormat;
use serde::Serialize;

/// Limits of the row layout, and the form of the rows.
#[derive(Debug, Clone, Args, Serialize)]
pub struct LayoutArgs {
    /// Most tokens of a row.
    #[arg(long, default_value_t = 1024, value_name = "N")]
    pub max_len: usize,
    /// Most tokens of a row's source [default: 256, or what --max_len leaves beside a token of the answer].
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_src_len: Option<usize>,
    /// Drop rows that would be truncated.
    #[arg(long)]
    pub is_skip: bool,
    /// Key of what is asked, in place of `instruction`.
    #[arg(long, value_name = "KEY", help_heading = "Rows")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_column: Option<String>,
    /// Key of what is appended to it, in place of `input`.
    #[arg(long, value_name = "KEY", help_heading = "Rows")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_column: Option<String>,
    /// Key of the answer, in place of `output`.
    #[arg(long, value_name = "KEY", help_heading = "Rows")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_column: Option<String>,
    /// Key of earlier rounds, in place of `history`: rows that have some are refused, for they are not
    /// trained on.
    #[arg(long, value_name = "KEY", help_heading = "Rows")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_column: Option<String>,
    /// A text that stands before what every row asks.
    #[arg(long, value_name = "TEXT", help_heading = "Rows")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
}

impl LayoutArgs {
    /// The form of the rows.
    pub fn format(&self) -> RowFormat {
        RowFormat {
            prompt_column: self.prompt_column.clone(),
            query_column: self.query_column.clone(),
            response_column: self.response_column.clone(),
            history_column: self.history_column.clone(),
            prompt_text: self.prompt_text.clone().unwrap_or_default(),
        }
    }
}

/// How questions become prompts.
#[derive(Debug, Clone, Copy, Args)]
pub struct PromptArgs {
    /// Form of the prompts: as in the training, or as the published chat has it [default: as in the training
    /// for what was tuned here, else as published].
    #[arg(long, value_name = "training|published")]
    pub prompt_format: Option<PromptFormat>,
}

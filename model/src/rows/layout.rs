//! The row layouts of the four families: where the special tokens stand, and which tokens are targets.
//!
//! The rules are those of the Python ancestor, so that a row gives the same ids; special tokens are never
//! cut off.

use serde::Serialize;

use super::IGNORED;
use super::limits::LayoutLimits;
use super::row::Row;
use crate::error::{Error, Result};
use crate::tokenizer::{Mode, Tokenizer};

/// A row as the model is trained on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrainingRow {
    /// The tokens.
    pub input_ids: Vec<u32>,
    /// The target of each, -100 where there is none.
    pub labels: Vec<i64>,
}

/// A row and what became of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaidOut {
    /// The row.
    pub row: TrainingRow,
    /// Whether source or target was truncated.
    pub truncated: bool,
    /// Whether nothing of an answer is among the targets: an empty one trains the end token alone.
    pub without_answer: bool,
}

/// Lays out one row; a row of ids is taken as it is.
///
/// # Errors
/// If the tokenizer lacks a token of the layout or is needed and not there.
pub fn lay_out(
    row: &Row,
    tokenizer: Option<&Tokenizer>,
    mode: Mode,
    limits: LayoutLimits,
) -> Result<LaidOut> {
    match row {
        Row::Ids { input_ids, labels } => Ok(LaidOut {
            row: TrainingRow {
                input_ids: input_ids.clone(),
                labels: labels.clone(),
            },
            truncated: false,
            without_answer: false,
        }),
        Row::Text { question, answer } => {
            let tokenizer = tokenizer.ok_or_else(|| {
                Error::Request(
                    "rows of text need a tokenizer, and the model directory has none".to_string(),
                )
            })?;
            lay_out_text(question, answer, tokenizer, mode, limits)
        }
    }
}

fn lay_out_text(
    question: &str,
    answer: &str,
    tokenizer: &Tokenizer,
    mode: Mode,
    limits: LayoutLimits,
) -> Result<LaidOut> {
    let source = Source::new(question, tokenizer, mode, limits)?;
    let mut target = tokenizer.row_target(mode, answer)?;
    let cut_target = limits.cut_target(mode, source.ids.len(), &mut target);
    let without_answer = answer.is_empty() || target.is_empty();

    let opening = tokenizer.opening()?;
    let context = source.context(mode, &opening);
    let targets = match mode {
        // `<sop>` is a target too.
        Mode::Glm => [opening[1..].to_vec(), target].concat(),
        _ => target,
    };
    let targets: Vec<u32> = targets
        .into_iter()
        .chain([tokenizer.end_id(mode)?])
        .collect();
    let ignored = context.iter().map(|_| IGNORED);
    let labels = ignored
        .chain(targets.iter().map(|&id| i64::from(id)))
        .collect();
    Ok(LaidOut {
        row: TrainingRow {
            input_ids: [context, targets].concat(),
            labels,
        },
        truncated: source.is_cut || cut_target,
        without_answer,
    })
}

/// What a row asks.
pub(super) struct Source {
    /// Its tokens, cut to their limit, without those that every row has.
    ids: Vec<u32>,
    /// Whether something was cut off.
    pub is_cut: bool,
}

impl Source {
    pub fn new(
        question: &str,
        tokenizer: &Tokenizer,
        mode: Mode,
        limits: LayoutLimits,
    ) -> Result<Self> {
        let mut ids = tokenizer.row_source(mode, question)?;
        let is_cut = limits.cut_source(mode, &mut ids);
        Ok(Self { ids, is_cut })
    }

    /// The tokens of a row that are not targets; `opening` is `[gMASK] <sop>`.
    pub fn context(&self, mode: Mode, opening: &[u32]) -> Vec<u32> {
        match mode {
            Mode::Glm => [&self.ids, &opening[..1]].concat(),
            _ => [opening, &self.ids].concat(),
        }
    }
}

/// Lays out many rows in parallel, in their order; with `skip`, truncated rows are left out.
///
/// Returns the rows and how many were left out.
///
/// # Errors
/// As [`lay_out`] and [`LayoutLimits::validate`].
pub fn lay_out_all<'a>(
    rows: impl IntoIterator<Item = &'a Row>,
    tokenizer: Option<&Tokenizer>,
    mode: Mode,
    limits: LayoutLimits,
    skip: bool,
) -> Result<(Vec<TrainingRow>, usize)> {
    use rayon::prelude::*;

    limits.validate(mode)?;
    let rows: Vec<&Row> = rows.into_iter().collect();
    let laid_out: Vec<LaidOut> = rows
        .into_par_iter()
        .map(|row| lay_out(row, tokenizer, mode, limits))
        .collect::<Result<_>>()?;
    let total = laid_out.len();
    let kept: Vec<TrainingRow> = laid_out
        .into_iter()
        .filter(|laid_out| !(skip && laid_out.truncated))
        .map(|laid_out| laid_out.row)
        .collect();
    let skipped = total - kept.len();
    Ok((kept, skipped))
}

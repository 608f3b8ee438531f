//! The row layouts of the four families: what is kept under truncation, and which tokens are targets.
//!
//! The rules are those of the Python ancestor, so that a row gives the same ids; special tokens are never
//! cut off.

use serde::Serialize;

use super::IGNORED;
use super::read::Row;
use crate::error::{Error, Result};
use crate::tokenizer::{Mode, Tokenizer};

/// Tokens that every row has beside source and target: `[gMASK]`, `<sop>` and the end.
const SPECIALS: usize = 3;
/// What the role layouts keep free of a row's length instead.
const ROLE_RESERVE: usize = 6;

/// Limits of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LayoutLimits {
    /// Most tokens of a row.
    pub max_len: usize,
    /// Most tokens of its source.
    pub max_src_len: usize,
}

impl LayoutLimits {
    /// Checks the limits for a mode.
    ///
    /// # Errors
    /// [`Error::Request`] if they leave no room for the special tokens.
    pub fn validate(&self, mode: Mode) -> Result<()> {
        let tail = tail(mode);
        let faults: Vec<String> = [
            ("max_len", self.max_len, reserve(mode) + 1),
            ("max_src_len", self.max_src_len, tail + 1),
        ]
        .into_iter()
        .filter(|(_, value, least)| value < least)
        .map(|(name, value, least)| {
            format!("{name} is {value}, mode {mode} needs at least {least}")
        })
        .collect();
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Error::Request(faults.join("; "))),
        }
    }
}

/// A row as the model is trained on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrainingRow {
    /// The tokens.
    pub input_ids: Vec<u32>,
    /// The target of each, -100 where there is none.
    pub labels: Vec<i64>,
}

/// A row and whether anything of it was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaidOut {
    /// The row.
    pub row: TrainingRow,
    /// Whether source or target was truncated.
    pub truncated: bool,
}

/// Tokens of the source's end that survive truncation: those of `答：` with what surrounds it.
fn tail(mode: Mode) -> usize {
    match mode {
        Mode::Glm => 3,
        Mode::Glm2 => 4,
        Mode::Glm3 | Mode::Glm4 => 0,
    }
}

/// Tokens of `max_len` that neither source nor target may use.
fn reserve(mode: Mode) -> usize {
    match mode.has_roles() {
        true => ROLE_RESERVE,
        false => SPECIALS,
    }
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
    let mut source = tokenizer.row_source(mode, question)?;
    let mut target = tokenizer.row_target(mode, answer)?;
    // A source limit beyond the row's is bounded by it; the ancestor failed on such rows.
    let room = limits.max_len - reserve(mode);
    let cut_source = truncate_source(&mut source, limits.max_src_len.min(room), tail(mode));
    let room = room - source.len();
    let cut_target = target.len() > room;
    target.truncate(room);

    let opening = tokenizer.opening()?;
    let end = tokenizer.end_id(mode)?;
    let (context, targets) = match mode {
        // `<sop>` is a target too.
        Mode::Glm => (
            [source, opening[..1].to_vec()].concat(),
            [opening[1..].to_vec(), target].concat(),
        ),
        _ => ([opening, source].concat(), target),
    };
    let targets: Vec<u32> = targets.into_iter().chain([end]).collect();
    let ignored = context.iter().map(|_| IGNORED);
    let labels = ignored
        .chain(targets.iter().map(|&id| i64::from(id)))
        .collect();
    Ok(LaidOut {
        row: TrainingRow {
            input_ids: [context, targets].concat(),
            labels,
        },
        truncated: cut_source || cut_target,
    })
}

/// Cuts a source to a length and keeps its last tokens; tells whether it was longer.
fn truncate_source(source: &mut Vec<u32>, limit: usize, tail: usize) -> bool {
    if source.len() <= limit {
        return false;
    }
    let kept_tail = source.split_off(source.len() - tail.min(limit));
    source.truncate(limit - kept_tail.len());
    source.extend(kept_tail);
    true
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_keeps_the_tail() {
        let mut source: Vec<u32> = (0..10).collect();
        assert!(truncate_source(&mut source, 6, 3));
        assert_eq!(source, [0, 1, 2, 7, 8, 9]);
        assert!(!truncate_source(&mut source, 6, 3));
        let mut source: Vec<u32> = (0..10).collect();
        assert!(truncate_source(&mut source, 4, 0));
        assert_eq!(source, [0, 1, 2, 3]);
        let mut source: Vec<u32> = (0..10).collect();
        assert!(truncate_source(&mut source, 2, 3));
        assert_eq!(source, [8, 9]);
    }

    #[test]
    fn limits_without_room_are_refused() {
        let limits = LayoutLimits {
            max_len: 3,
            max_src_len: 2,
        };
        for mode in Mode::ALL {
            assert!(limits.validate(mode).is_err());
        }
    }
}

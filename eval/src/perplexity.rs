//! Loss and perplexity of rows that `glmtune score` measured.

use crate::error::Result;
use crate::predictions::{LOSS, Prediction, TOKENS};
use crate::scores::Scores;
use crate::task::Task;

/// The task: rows have `loss`, the mean over the targets, and `tokens`, their number.
#[derive(Debug, Clone, Copy, Default)]
pub struct Perplexity;

impl Task for Perplexity {
    fn name(&self) -> &'static str {
        "perplexity"
    }

    fn score(&self, row: &Prediction) -> Result<Scores> {
        let (loss, tokens) = (row.number(LOSS)?, row.number(TOKENS)?);
        if tokens < 0.0 {
            return Err(row.wrong("`tokens` must not be negative"));
        }
        Ok(Scores::from_iter([
            ("loss", loss),
            ("perplexity", loss.exp()),
            ("tokens", tokens),
        ]))
    }

    /// Every token counts the same, whichever row it is in.
    fn summarize(&self, _rows: &[Prediction], scores: &[Scores]) -> Result<Scores> {
        let of = |row: &Scores, name: &str| row.get(name).unwrap_or(0.0);
        let tokens: f64 = scores.iter().map(|row| of(row, "tokens")).sum();
        let sum: f64 = scores
            .iter()
            .map(|row| of(row, "loss") * of(row, "tokens"))
            .sum();
        let loss = if tokens > 0.0 { sum / tokens } else { 0.0 };
        Ok(Scores::from_iter([
            ("loss", loss),
            ("perplexity", loss.exp()),
            ("tokens", tokens),
        ]))
    }

    fn legend(&self) -> &'static [&'static str] {
        &["loss is the mean over all targets; perplexity is its exponential"]
    }
}

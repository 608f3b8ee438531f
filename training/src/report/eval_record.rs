//! A validation, and what became of an ability.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::{not_a_number, number};

/// From here on a perplexity is written with an exponent.
const LONG: f64 = 1e5;

/// What is reported of a validation; a line of `metrics.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Steps that were done.
    pub step: u64,
    /// The epoch of the last of them, from 1.
    #[serde(default)]
    pub epoch: usize,
    /// Mean loss over all targets of the rows that are held out.
    #[serde(default = "not_a_number", deserialize_with = "number")]
    pub loss: f64,
    /// The score of generated answers that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// What that score is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_name: Option<String>,
    /// All scores of generated answers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, f64>,
    /// Number of rows.
    #[serde(default)]
    pub rows: usize,
    /// Number of targets.
    #[serde(default)]
    pub targets: u64,
    /// Duration.
    #[serde(default)]
    pub seconds: f64,
}

impl EvalRecord {
    /// The record in words.
    pub fn line(&self) -> String {
        let score = match (&self.score_name, self.score) {
            (Some(name), Some(score)) => format!("  {name} {score:.4}"),
            _ => String::new(),
        };
        let perplexity = match self.loss.exp() {
            value if value < LONG => format!("{value:.3}"),
            value => format!("{value:.3e}"),
        };
        format!(
            "eval at step {}  epoch {}  loss {:.4}  perplexity {perplexity}{score}  ({} rows, {:.1} s)",
            self.step, self.epoch, self.loss, self.rows, self.seconds
        )
    }
}

/// When an ability was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Before the first step.
    Before,
    /// After the last one.
    After,
}

/// What a model can do of an ability; a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AbilityRecord {
    /// Steps that were done.
    pub step: u64,
    /// When it was measured.
    pub when: When,
    /// The ability.
    pub ability: String,
    /// Mean loss over all targets.
    #[serde(default = "not_a_number", deserialize_with = "number")]
    pub loss: f64,
    /// The score of generated answers, from 0 to 1, where the model could generate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Number of rows.
    #[serde(default)]
    pub rows: usize,
    /// Number of targets.
    #[serde(default)]
    pub targets: u64,
}

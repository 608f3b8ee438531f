//! The settings of validation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// How many rows are held out of those to train on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HoldOut {
    /// A share of them, above 0 and below 1.
    Share(f64),
    /// So many.
    Rows(usize),
}

impl HoldOut {
    /// The number of rows, out of `all`; a share is rounded up.
    pub fn rows(self, all: usize) -> usize {
        match self {
            Self::Share(share) => (share * all as f64).ceil() as usize,
            Self::Rows(rows) => rows,
        }
    }
}

impl FromStr for HoldOut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(rows @ 1..) = text.parse() {
            return Ok(Self::Rows(rows));
        }
        match text.parse() {
            Ok(share) if share > 0.0 && share < 1.0 => Ok(Self::Share(share)),
            _ => {
                Err("expected a share of the rows below 1, such as 0.1, or a number of rows".into())
            }
        }
    }
}

impl fmt::Display for HoldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{share}"),
            Self::Rows(rows) => write!(f, "{rows}"),
        }
    }
}

impl Serialize for HoldOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Share(share) => serializer.serialize_f64(*share),
            Self::Rows(rows) => serializer.serialize_u64(*rows as u64),
        }
    }
}

/// What tells which model is the best.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The loss: less is better.
    #[default]
    Loss,
    /// The score of generated answers: more is better.
    Score,
}

impl Metric {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Score => "score",
        }
    }

    /// By how much a value is better than another; negative if it is worse.
    pub(super) fn gain(self, value: f64, over: f64) -> f64 {
        match self {
            Self::Loss => over - value,
            Self::Score => value - over,
        }
    }
}

/// When a training is validated, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ValidationSettings {
    /// Steps between two validations, of which there is one at the end too; by default they come at the ends of
    /// epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_steps: Option<u64>,
    /// Rows of a micro-batch.
    pub eval_batch_size: usize,
    /// What tells which model is the best.
    pub metric_for_best_model: Metric,
    /// Whether the training ends with the best model instead of the last.
    pub load_best_model_at_end: bool,
    /// Validations in a row without an improvement after which the training ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping_patience: Option<u64>,
    /// How much better than the best so far is an improvement.
    pub early_stopping_threshold: f64,
}

impl ValidationSettings {
    /// The loss at the end of each epoch, which nothing follows from.
    pub fn new(eval_batch_size: usize) -> Self {
        Self {
            eval_steps: None,
            eval_batch_size,
            metric_for_best_model: Metric::default(),
            load_best_model_at_end: false,
            early_stopping_patience: None,
            early_stopping_threshold: 0.0,
        }
    }

    /// What is wrong with the settings.
    pub(crate) fn faults(&self) -> impl Iterator<Item = String> {
        let least = |name: &str, value: Option<u64>| {
            (value == Some(0)).then(|| format!("{name} is 0, must be at least 1"))
        };
        let threshold = self.early_stopping_threshold;
        let is_valid = threshold >= 0.0 && threshold.is_finite();
        let faults = [
            least("eval_steps", self.eval_steps),
            least("eval_batch_size", Some(self.eval_batch_size as u64)),
            least("early_stopping_patience", self.early_stopping_patience),
            (!is_valid)
                .then(|| format!("early_stopping_threshold is {threshold}, must be 0 or more")),
        ];
        faults.into_iter().flatten()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_out_is_a_share_or_a_number() {
        let rows = |text: &str| text.parse::<HoldOut>().map(|size| size.rows(41));
        assert_eq!(rows("0.1"), Ok(5));
        assert_eq!(rows("1e-9"), Ok(1));
        assert_eq!(rows("7"), Ok(7));
        for text in ["0", "1.0", "-1", "2.5", "nan", "inf", "", "ten", "0.0"] {
            assert!(rows(text).unwrap_err().contains("0.1"), "{text}");
        }
    }
}

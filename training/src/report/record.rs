//! One optimizer step.

use serde::{Deserialize, Deserializer, Serialize};

/// What is reported of an optimizer step; a line of `metrics.jsonl`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Number of the step, from 1.
    pub step: u64,
    /// The epoch, from 1.
    #[serde(default)]
    pub epoch: usize,
    /// Mean loss of the step's micro-batches.
    #[serde(default = "not_a_number", deserialize_with = "number")]
    pub loss: f64,
    /// Learning rate of the step.
    #[serde(default = "not_a_number", deserialize_with = "number")]
    pub lr: f64,
    /// L2 norm of all gradients together, before clipping.
    #[serde(default = "not_a_number", deserialize_with = "number")]
    pub grad_norm: f64,
    /// Tokens of the step's rows, without padding.
    #[serde(default)]
    pub tokens: u64,
    /// Duration, without what was saved.
    #[serde(default)]
    pub seconds: f64,
    /// Memory in use at its end: of the device, or of the process where it computes on the CPU.
    #[serde(default)]
    pub memory_bytes: u64,
}

impl StepRecord {
    /// Tokens per second.
    pub fn speed(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(1e-9)
    }

    /// Memory in GiB.
    pub fn memory_gib(&self) -> f64 {
        self.memory_bytes as f64 / f64::from(1 << 30)
    }
}

pub(super) fn not_a_number() -> f64 {
    f64::NAN
}

/// JSON has no word for what is not finite; such a number is written as null.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

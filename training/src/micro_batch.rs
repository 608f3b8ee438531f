//! Rows that go through the model together.

use glmtune_model::{GlmBackend, Padding, TokenBatch};

use crate::error::{Error, Result};
use crate::loss::Targets;

/// Rows that go through the model together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MicroBatch {
    /// The tokens, padded on the right.
    pub tokens: TokenBatch,
    /// The target of each token.
    pub labels: Vec<Vec<i64>>,
}

impl MicroBatch {
    /// A micro-batch of rows, which may be of different lengths.
    pub fn new(ids: Vec<Vec<u32>>, labels: Vec<Vec<i64>>, pad_id: u32) -> Self {
        Self {
            tokens: TokenBatch::new(ids, Padding::Right, pad_id),
            labels,
        }
    }

    /// Tokens without padding.
    pub fn real_tokens(&self) -> u64 {
        self.labels.iter().map(|labels| labels.len() as u64).sum()
    }

    /// Where the rows have targets, if any has one.
    pub(crate) fn find_targets<B: GlmBackend>(&self, device: &B::Device) -> Option<Targets<B>> {
        Targets::new(&self.labels, self.tokens.width(), device)
    }

    /// Where the rows have targets.
    ///
    /// # Errors
    /// If no row has one.
    pub(crate) fn targets<B: GlmBackend>(&self, device: &B::Device) -> Result<Targets<B>> {
        self.find_targets(device).ok_or_else(|| {
            Error::Request("a batch has no token to predict: every label is -100".to_string())
        })
    }
}

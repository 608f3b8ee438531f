//! Rows that go through the model together.

use glmtune_model::rows::IGNORED;
use glmtune_model::{GlmBackend, Padding, TokenBatch};

use crate::error::{Error, Result};
use crate::loss::Targets;

/// Rows that go through the model together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MicroBatch {
    /// The tokens, padded on the right.
    pub tokens: TokenBatch,
    /// The target of each token, sequence by sequence.
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

    /// A micro-batch of sequences of rows that lie end to end: the tokens of each row and their targets. Its loss is the
    /// mean over the targets of all rows, as if each were a sequence by itself.
    pub fn end_to_end(sequences: Vec<Vec<(Vec<u32>, Vec<i64>)>>, pad_id: u32) -> Self {
        let (mut tokens, mut labels) = (Vec::new(), Vec::new());
        for rows in sequences {
            let (ids, mut targets): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            for targets in &mut targets {
                // Nothing stands before a first token: it is not predicted from the row before.
                if let Some(first) = targets.first_mut() {
                    *first = IGNORED;
                }
            }
            tokens.push(ids);
            labels.push(targets.concat());
        }
        Self {
            tokens: TokenBatch::end_to_end(tokens, pad_id),
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

//! The sizes of one attention.

use burn::tensor::TensorMetadata;
use burn::tensor::backend::Backend;

use super::operands::AttentionInput;

/// Queries whose scores the CPU computes together.
pub(super) const BLOCK: usize = 64;

/// The sizes of one attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) queries: usize,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    pub(super) keys: usize,
    pub(super) groups: usize,
}

impl Sizes {
    pub(super) fn of<B: Backend>(input: &AttentionInput<B>) -> Self {
        let (query, key) = (input.query.shape(), input.key.shape());
        Self {
            batch: query[0],
            queries: query[1],
            heads: query[2],
            head_dim: query[3],
            keys: key[1],
            groups: key[2],
        }
    }

    /// Heads that share one group of keys and values.
    pub(super) fn share(&self) -> usize {
        self.heads / self.groups
    }

    /// Queries of all heads of a group.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub(super) fn rows(&self) -> usize {
        self.share() * self.queries
    }
}

//! The forward pass alone: no graph, no activations kept, and weights that live in the host's memory are on
//! the device in their segment's turn only.
//!
//! Validation and scoring share it; [`parallel::forward`](crate::parallel::forward) spreads it over devices
//! and processes.

use std::iter::Sum;
use std::ops::{Add, Range};

use burn::tensor::Tensor;
use glmtune_model::architecture::SharedInputs;
use glmtune_model::{CausalLm, GlmBackend, Segment, TokenBatch};

use crate::error::Result;
use crate::gradients::scalar;
use crate::micro_batch::MicroBatch;
use crate::prefetch::{fetch, prefetch_each};

/// The loss of some rows, whose mean is over their targets.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LossSum {
    /// Sum of the targets' cross entropies.
    pub loss: f64,
    /// Number of targets.
    pub targets: u64,
}

impl LossSum {
    /// The mean over the targets; none if there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.targets > 0).then(|| self.loss / self.targets as f64)
    }
}

impl Add for LossSum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            loss: self.loss + other.loss,
            targets: self.targets + other.targets,
        }
    }
}

impl Sum for LossSum {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        sums.fold(Self::default(), Add::add)
    }
}

/// The loss of a micro-batch.
///
/// # Errors
/// If a row lacks the tokens that its positions depend on, or the device fails.
pub fn loss_sum<B: GlmBackend>(model: &CausalLm<B>, batch: &MicroBatch) -> Result<LossSum> {
    head_loss(model, hidden(model, &batch.tokens)?, batch)
}

/// What the last block gives for a batch, `[batch, tokens, hidden]`.
///
/// # Errors
/// As [`loss_sum`].
pub fn hidden<B: GlmBackend>(model: &CausalLm<B>, tokens: &TokenBatch) -> Result<Tensor<B, 3>> {
    let shared = shared_inputs(model, tokens)?;
    let all = 0..model.num_blocks();
    blocks(model, all, embed(model, tokens)?, &shared, &mut |_, _| ())
}

/// The loss of a micro-batch of which the last block has given `hidden`.
///
/// # Errors
/// As [`loss_sum`].
pub fn head_loss<B: GlmBackend>(
    model: &CausalLm<B>,
    hidden: Tensor<B, 3>,
    batch: &MicroBatch,
) -> Result<LossSum> {
    // Also where it is not needed: other processes may need this one's part of it.
    let head = fetch(model, Segment::Head)?;
    let Some(targets) = batch.find_targets::<B>(&hidden.device()) else {
        return Ok(LossSum::default());
    };
    let count = targets.count as u64;
    let mean = head.head_loss(hidden, targets.rows, targets.tokens, None, 1.0);
    Ok(LossSum {
        loss: scalar(mean)? * count as f64,
        targets: count,
    })
}

/// Brings every segment's weights to the device in its turn and computes nothing: other processes, which have one more
/// micro-batch, need this one's parts of them.
pub(crate) fn walk_along<B: GlmBackend>(model: &CausalLm<B>) -> Result<()> {
    drop(fetch(model, Segment::Embeddings)?);
    prefetch_each(model, 0..model.num_blocks(), |_, _| Ok(()))?;
    drop(fetch(model, Segment::Head)?);
    Ok(())
}

/// What the blocks need for a batch.
pub(crate) fn shared_inputs<B: GlmBackend>(
    model: &CausalLm<B>,
    tokens: &TokenBatch,
) -> Result<SharedInputs<B>> {
    let positions = model.positions(tokens)?;
    Ok(model.shared_inputs(&positions, 0..tokens.width(), None))
}

/// The first segment.
pub(crate) fn embed<B: GlmBackend>(
    model: &CausalLm<B>,
    tokens: &TokenBatch,
) -> Result<Tensor<B, 3>> {
    let ids = tokens.ids(&model.device());
    Ok(fetch(model, Segment::Embeddings)?.embed(ids))
}

/// Some blocks, one after the other; `before` sees the input of each.
pub(crate) fn blocks<B: GlmBackend>(
    model: &CausalLm<B>,
    range: Range<usize>,
    mut hidden: Tensor<B, 3>,
    shared: &SharedInputs<B>,
    before: &mut dyn FnMut(usize, &Tensor<B, 3>),
) -> Result<Tensor<B, 3>> {
    prefetch_each(model, range, |index, model| {
        before(index, &hidden);
        hidden = model.block(index, hidden.clone(), shared, None);
        Ok(())
    })?;
    Ok(hidden)
}

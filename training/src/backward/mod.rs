//! Walks over the chain of segments that give a micro-batch's loss and gradients.
//!
//! The plain pass builds one graph over the whole chain. A checkpointed pass keeps each block's input
//! only, runs the block again under autodiff when its turn comes in the backward pass, and drops that
//! graph at once; dropout gives the same masks in both passes, because they depend on the place alone.
//! A [pipeline](crate::parallel::pipeline) walks the same segments on several devices.

mod boundary;
pub(crate) mod segments;
mod sink;

pub use boundary::{GradientBoundary, LowestTrained};
pub use sink::Sink;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use glmtune_model::layers::DropoutSource;
use glmtune_model::{CausalLm, GlmBackend, Segment};

use crate::error::Result;
use crate::forward;
use crate::gradients::Gradients;
use crate::micro_batch::MicroBatch;
use crate::prefetch::{fetch, prefetch_each};
use segments::Segments;

/// What becomes of activations between the forward and the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// All are kept, in one graph over the whole chain.
    Kept,
    /// Only the inputs of blocks are kept, and a block runs again in its turn: those at or above the first one
    /// that needs gradients.
    Recomputed(GradientBoundary),
}

/// The loss of a micro-batch, `[1]`, on its device; the gradients of what is trained go to `sink`.
///
/// `scale` multiplies the gradients from where they arise; the loss that is returned is not scaled. Who reads it
/// waits for the device.
///
/// # Errors
/// If a row lacks the tokens that its positions depend on, has no target, or the device fails.
pub fn loss_and_gradients<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    batch: &MicroBatch,
    dropout: Option<DropoutSource>,
    activations: Activations,
    scale: f64,
    sink: Sink<'_, B>,
) -> Result<Tensor<B, 1>> {
    match activations {
        Activations::Kept => plain(model, batch, dropout, scale, sink),
        Activations::Recomputed(boundary) => {
            checkpointed(model, batch, dropout, boundary, scale, sink)
        }
    }
}

/// Brings every segment's weights to the device as often as [`loss_and_gradients`] does that runs blocks again, and
/// computes nothing: other processes, which have one more micro-batch, need this one's parts of them.
///
/// # Errors
/// If no segment has one of the model's weights.
pub(crate) fn walk_along<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    boundary: GradientBoundary,
) -> Result<()> {
    forward::walk_along(model)?;
    let again = boundary.lowest.recomputed(model.num_blocks());
    prefetch_each(model, again.rev(), |_, _| Ok(()))?;
    if boundary.lowest == LowestTrained::Embeddings {
        drop(fetch(model, Segment::Embeddings)?);
    }
    Ok(())
}

/// One block at a time, from the head down.
fn checkpointed<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    batch: &MicroBatch,
    dropout: Option<DropoutSource>,
    boundary: GradientBoundary,
    scale: f64,
    sink: Sink<'_, B>,
) -> Result<Tensor<B, 1>> {
    let segments = Segments::new(model, batch, dropout, boundary, &model.device())?;
    let all = 0..model.num_blocks();
    let (hidden, inputs) = segments.forward(all, segments.embed()?)?;
    let (loss, grad) = segments.head(hidden, scale, sink)?;
    let (grad, prefix) = segments.backward(inputs, grad, sink)?;
    segments.finish(prefix, grad, sink)?;
    Ok(loss)
}

fn plain<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    batch: &MicroBatch,
    dropout: Option<DropoutSource>,
    scale: f64,
    sink: Sink<'_, B>,
) -> Result<Tensor<B, 1>> {
    let positions = model.positions(&batch.tokens)?;
    let device = model.device();
    let targets = batch.targets::<Autodiff<B>>(&device)?;
    let shared = model.shared_inputs(&positions, 0..batch.tokens.width(), dropout);
    let hidden = model.blocks(model.embed(batch.tokens.ids(&device)), &shared, None);
    let loss = model.head_loss(hidden, targets.rows, targets.tokens, dropout, scale);
    let value = loss.clone().inner();
    let mut grads = loss.backward();
    sink(Gradients::take(model, &mut grads))?;
    Ok(value)
}

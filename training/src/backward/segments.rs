//! The segments of one micro-batch, forward without a graph and backward one at a time.

use std::ops::Range;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use glmtune_model::architecture::SharedInputs;
use glmtune_model::layers::DropoutSource;
use glmtune_model::trainable::frozen;
use glmtune_model::{CausalLm, GlmBackend, Segment};

use super::boundary::{GradientBoundary, LowestTrained};
use super::sink::Sink;
use crate::error::Result;
use crate::forward;
use crate::gradients::Gradients;
use crate::micro_batch::MicroBatch;
use crate::prefetch::{fetch, prefetch_each};

/// What a backward pass gives.
type Grads<B> = <Autodiff<B> as AutodiffBackend>::Gradients;

/// Inputs of blocks that will run again, with their indexes.
pub(crate) type Inputs<B> = Vec<(usize, Tensor<B, 3>)>;

/// Gradients of the prefix's keys and values, block by block.
pub(crate) type PrefixGradients<B> = Vec<(usize, Tensor<B, 4>, Tensor<B, 4>)>;

/// A tensor as the start of a graph of its own.
fn leaf<B: GlmBackend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<Autodiff<B>, D> {
    Tensor::from_inner(tensor).require_grad()
}

/// The gradient of a leaf; zero if the graph does not depend on it.
fn gradient<B: GlmBackend, const D: usize>(
    leaf: &Tensor<Autodiff<B>, D>,
    grads: &Grads<B>,
) -> Tensor<B, D> {
    leaf.grad(grads)
        .unwrap_or_else(|| leaf.clone().inner().zeros_like())
}

/// The gradients of a graph whose output has the given gradient.
fn backward<B: GlmBackend, const D: usize>(
    output: Tensor<Autodiff<B>, D>,
    grad: Tensor<B, D>,
) -> Grads<B> {
    (output * Tensor::from_inner(grad)).sum().backward()
}

/// A micro-batch on its way through the chain.
pub(crate) struct Segments<'a, B: GlmBackend> {
    model: &'a CausalLm<Autodiff<B>>,
    /// The same weights, none of them tracked.
    frozen: CausalLm<Autodiff<B>>,
    batch: &'a MicroBatch,
    /// Shared inputs as they come from the model: a trained prefix is tracked.
    home: SharedInputs<Autodiff<B>>,
    /// The same on the device of the blocks that run.
    shared: SharedInputs<Autodiff<B>>,
    frozen_shared: SharedInputs<Autodiff<B>>,
    boundary: GradientBoundary,
}

impl<'a, B: GlmBackend> Segments<'a, B> {
    /// A micro-batch before its first segment; `device` is that of the blocks to be run.
    pub fn new(
        model: &'a CausalLm<Autodiff<B>>,
        batch: &'a MicroBatch,
        dropout: Option<DropoutSource>,
        boundary: GradientBoundary,
        device: &B::Device,
    ) -> Result<Self> {
        let positions = model.positions(&batch.tokens)?;
        let all = 0..batch.tokens.width();
        let frozen = frozen(model);
        let home = model.shared_inputs(&positions, all.clone(), dropout);
        Ok(Self {
            frozen_shared: frozen
                .shared_inputs(&positions, all, dropout)
                .to_device(device),
            shared: home.to_device(device),
            home,
            frozen,
            model,
            batch,
            boundary,
        })
    }

    /// The first segment.
    pub fn embed(&self) -> Result<Tensor<B, 3>> {
        Ok(forward::embed(&self.frozen, &self.batch.tokens)?.inner())
    }

    /// Some blocks without a graph: the last one's output, and the inputs of those that run again.
    pub fn forward(
        &self,
        blocks: Range<usize>,
        hidden: Tensor<B, 3>,
    ) -> Result<(Tensor<B, 3>, Inputs<B>)> {
        let again = self.boundary.lowest.recomputed(self.frozen.num_blocks());
        let mut inputs = Vec::new();
        let mut keep = |index: usize, input: &Tensor<Autodiff<B>, 3>| {
            if again.contains(&index) {
                inputs.push((index, input.clone().inner()));
            }
        };
        let (model, hidden) = (&self.frozen, Tensor::from_inner(hidden));
        let hidden = forward::blocks(model, blocks, hidden, &self.frozen_shared, &mut keep)?;
        Ok((hidden.inner(), inputs))
    }

    /// The head: the loss, `[1]`, and the gradient of its input.
    pub fn head(
        &self,
        hidden: Tensor<B, 3>,
        scale: f64,
        sink: Sink<'_, B>,
    ) -> Result<(Tensor<B, 1>, Tensor<B, 3>)> {
        let targets = self.batch.targets::<Autodiff<B>>(&hidden.device())?;
        let input = leaf(hidden);
        let model = fetch(self.model, Segment::Head)?;
        let dropout = self.home.dropout;
        let loss = model.head_loss(input.clone(), targets.rows, targets.tokens, dropout, scale);
        let value = loss.clone().inner();
        let mut grads = loss.backward();
        let grad = gradient(&input, &grads);
        sink(Gradients::take(&model, &mut grads))?;
        Ok((value, grad))
    }

    /// Blocks run again, the last one first: the gradient of the first one's input, and those of the prefix.
    pub fn backward(
        &self,
        mut inputs: Inputs<B>,
        mut grad: Tensor<B, 3>,
        sink: Sink<'_, B>,
    ) -> Result<(Tensor<B, 3>, PrefixGradients<B>)> {
        let mut prefix = Vec::new();
        let order: Vec<usize> = inputs.iter().rev().map(|(index, _)| *index).collect();
        prefetch_each(self.model, order.into_iter(), |index, model| {
            // Inputs come off the end in the order in which the blocks are lent.
            let Some((_, input)) = inputs.pop() else {
                return Ok(());
            };
            grad = self.block(model, (index, input), grad.clone(), &mut prefix, sink)?;
            Ok(())
        })?;
        Ok((grad, prefix))
    }

    fn block(
        &self,
        model: &CausalLm<Autodiff<B>>,
        (index, input): (usize, Tensor<B, 3>),
        grad: Tensor<B, 3>,
        prefix_grads: &mut PrefixGradients<B>,
        sink: Sink<'_, B>,
    ) -> Result<Tensor<B, 3>> {
        let input = leaf(input);
        let mut shared = self.shared.clone();
        let trained = shared.prefix.as_mut().filter(|_| self.boundary.prefix);
        let prefix = trained.map(|prefix| {
            let (key, value) = prefix.layers[index].clone();
            let leaves = (leaf(key.inner()), leaf(value.inner()));
            prefix.layers[index] = leaves.clone();
            leaves
        });
        let output = model.block(index, input.clone(), &shared, None);
        let mut grads = backward(output, grad);
        if let Some((key, value)) = prefix {
            prefix_grads.push((index, gradient(&key, &grads), gradient(&value, &grads)));
        }
        let grad_input = gradient(&input, &grads);
        sink(Gradients::take(model, &mut grads))?;
        Ok(grad_input)
    }

    /// What is below the blocks: the prefix encoder, from the gradients of all blocks' keys and values, and
    /// the embeddings, from the gradient of the first block's input.
    pub fn finish(
        &self,
        prefix: PrefixGradients<B>,
        grad: Tensor<B, 3>,
        sink: Sink<'_, B>,
    ) -> Result<()> {
        if self.boundary.prefix {
            sink(self.prefix(prefix))?;
        }
        if self.boundary.lowest == LowestTrained::Embeddings {
            let model = fetch(self.model, Segment::Embeddings)?;
            let output = model.embed(self.batch.tokens.ids(&model.device()));
            sink(Gradients::take(&model, &mut backward(output, grad)))?;
        }
        Ok(())
    }

    fn prefix(&self, grads: PrefixGradients<B>) -> Gradients<B> {
        let Some(prefix) = &self.home.prefix else {
            return Gradients::default();
        };
        let sums = grads.into_iter().map(|(index, grad_key, grad_value)| {
            let (key, value) = prefix.layers[index].clone();
            (key * Tensor::from_inner(grad_key)).sum()
                + (value * Tensor::from_inner(grad_value)).sum()
        });
        match sums.reduce(|sum, part| sum + part) {
            Some(sum) => Gradients::take(self.model, &mut sum.backward()),
            None => Gradients::default(),
        }
    }
}

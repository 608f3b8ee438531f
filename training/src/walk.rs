//! Walks over the chain of segments that give a micro-batch's loss and gradients.
//!
//! The plain walk builds one graph over the whole chain. The checkpointed walk keeps each block's input
//! only, runs the block again under autodiff when its turn comes in the backward pass, and drops that
//! graph at once; dropout gives the same masks in both passes, because they depend on the place alone.

use std::ops::Range;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use glmtune_model::architecture::SharedInputs;
use glmtune_model::batch::BatchPositions;
use glmtune_model::layers::DropoutSource;
use glmtune_model::peft::PrefixKeyValues;
use glmtune_model::pretrained::PREFIX_ENCODER;
use glmtune_model::{CausalLm, GlmBackend, Padding, TokenBatch};

use crate::error::{Error, Result};
use crate::gradients::{Gradients, read};
use crate::loss::Targets;

/// How the chain is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// All at once.
    Plain,
    /// One block at a time, for those at or above the first one that needs gradients.
    Checkpointed(BackwardReach),
}

/// What the backward pass must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackwardReach {
    /// The lowest segment.
    pub end: BackwardEnd,
    /// Whether the prefix encoder is trained.
    pub prefix: bool,
}

impl BackwardReach {
    /// What must be reached when these parameters are trained.
    pub fn of<'a>(trainable: impl Iterator<Item = &'a str> + Clone) -> Self {
        Self {
            prefix: trainable.clone().any(|path| path.contains(PREFIX_ENCODER)),
            end: BackwardEnd::of(trainable),
        }
    }
}

/// The lowest segment that the backward pass must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackwardEnd {
    /// The word embeddings are trained.
    Embeddings,
    /// The lowest block with something to train.
    Block(usize),
    /// Only norm or output layer are trained.
    Head,
}

impl BackwardEnd {
    /// Where the backward pass ends when these parameters are trained.
    pub fn of<'a>(trainable: impl IntoIterator<Item = &'a str>) -> Self {
        let ends = trainable.into_iter().map(|path| match block_of(path) {
            Some(block) => Self::Block(block),
            None if path.contains("word_embeddings") => Self::Embeddings,
            // The prefix acts in every block.
            None if path.contains(PREFIX_ENCODER) => Self::Block(0),
            None => Self::Head,
        });
        ends.min().unwrap_or(Self::Head)
    }

    /// The blocks that run again, out of `blocks`.
    fn recomputed(self, blocks: usize) -> Range<usize> {
        match self {
            Self::Embeddings => 0..blocks,
            Self::Block(block) => block..blocks,
            Self::Head => blocks..blocks,
        }
    }
}

/// The index of the block that a parameter belongs to: the number after `layers`.
fn block_of(path: &str) -> Option<usize> {
    let mut parts = path.split('.').skip_while(|part| *part != "layers");
    parts.nth(1)?.parse().ok()
}

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

    /// Where the rows have targets.
    ///
    /// # Errors
    /// If no row has one.
    pub(crate) fn targets<B: GlmBackend>(&self, device: &B::Device) -> Result<Targets<B>> {
        Targets::new(&self.labels, self.tokens.width(), device).ok_or_else(|| {
            Error::Request("a batch has no token to predict: every label is -100".to_string())
        })
    }
}

/// Takes gradients as soon as they exist, once or a segment at a time.
pub type Sink<'a, B> = &'a mut dyn FnMut(Gradients<B>) -> Result<()>;

/// The loss of a micro-batch; the gradients of what is trained go to `sink`.
///
/// `scale` multiplies the loss before the backward pass; the loss that is returned is not scaled.
///
/// # Errors
/// If a row lacks the tokens that its positions depend on, has no target, or the device fails.
pub fn loss_and_gradients<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    batch: &MicroBatch,
    dropout: Option<DropoutSource>,
    walk: Walk,
    scale: f64,
    sink: Sink<'_, B>,
) -> Result<f64> {
    match walk {
        Walk::Plain => plain(model, batch, dropout, scale, sink),
        Walk::Checkpointed(reach) => Checkpointed {
            model,
            batch,
            positions: &model.positions(&batch.tokens)?,
            dropout,
            reach,
        }
        .run(scale, sink),
    }
}

/// The mean loss of a micro-batch, `[1]`; with an autodiff backend, the end of one graph over the chain.
///
/// # Errors
/// As [`loss_and_gradients`].
pub fn mean_loss<B: GlmBackend>(
    model: &CausalLm<B>,
    batch: &MicroBatch,
    dropout: Option<DropoutSource>,
) -> Result<Tensor<B, 1>> {
    let positions = model.positions(&batch.tokens)?;
    let device = model.device();
    let targets = batch.targets::<B>(&device)?;
    let shared = model.shared_inputs(&positions, 0..batch.tokens.width(), dropout);
    let hidden = model.blocks(model.embed(batch.tokens.ids(&device)), &shared, None);
    Ok(model.head_loss(hidden, targets.rows, targets.tokens))
}

fn plain<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    batch: &MicroBatch,
    dropout: Option<DropoutSource>,
    scale: f64,
    sink: Sink<'_, B>,
) -> Result<f64> {
    let loss = mean_loss(model, batch, dropout)?;
    let value = loss.clone().inner();
    let mut grads = loss.mul_scalar(scale).backward();
    sink(Gradients::take(model, &mut grads))?;
    scalar(value)
}

/// The number in a tensor of one element.
///
/// # Errors
/// If the device fails.
pub(crate) fn scalar<B: GlmBackend>(loss: Tensor<B, 1>) -> Result<f64> {
    Ok(read(loss)?.first().copied().map_or(f64::NAN, f64::from))
}

/// A tensor as the start of a graph of its own.
fn leaf<B: GlmBackend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<Autodiff<B>, D> {
    Tensor::from_inner(tensor).require_grad()
}

/// The gradients of a graph whose output has the given gradient.
fn backward<B: GlmBackend, const D: usize>(
    output: Tensor<Autodiff<B>, D>,
    grad: Tensor<B, D>,
) -> <Autodiff<B> as burn::tensor::backend::AutodiffBackend>::Gradients {
    (output * Tensor::from_inner(grad)).sum().backward()
}

/// The checkpointed walk of one micro-batch.
struct Checkpointed<'a, B: GlmBackend> {
    model: &'a CausalLm<Autodiff<B>>,
    batch: &'a MicroBatch,
    positions: &'a BatchPositions,
    dropout: Option<DropoutSource>,
    reach: BackwardReach,
}

/// Gradients of the prefix's keys and values in one block.
type KeyValueGradients<B> = (Tensor<B, 4>, Tensor<B, 4>);

impl<B: GlmBackend> Checkpointed<'_, B> {
    fn run(&self, scale: f64, sink: Sink<'_, B>) -> Result<f64> {
        let width = self.batch.tokens.width();
        let shared = self
            .model
            .shared_inputs(self.positions, 0..width, self.dropout);
        let (inputs, hidden) = self.forward();
        let (loss, grads, mut grad) = self.head(hidden, scale)?;
        sink(grads)?;
        let mut prefix = Vec::new();
        for (index, input) in inputs.into_iter().rev() {
            let (grads, grad_input, grad_prefix) = self.block(index, input, &shared, grad);
            sink(grads)?;
            prefix.extend(grad_prefix);
            grad = grad_input;
        }
        // Collected from the last block to the first.
        prefix.reverse();
        if let Some(key_values) = shared.prefix.as_ref().filter(|_| self.reach.prefix) {
            sink(self.prefix(key_values, prefix))?;
        }
        if self.reach.end == BackwardEnd::Embeddings {
            sink(self.embeddings(grad))?;
        }
        Ok(loss)
    }

    /// Without a graph: the inputs of the blocks that run again, and the last block's output.
    fn forward(&self) -> (Vec<(usize, Tensor<B, 3>)>, Tensor<B, 3>) {
        let model: CausalLm<B> = self.model.valid();
        let width = self.batch.tokens.width();
        let shared = model.shared_inputs(self.positions, 0..width, self.dropout);
        let mut hidden = model.embed(self.batch.tokens.ids(&model.device()));
        let again = self.reach.end.recomputed(model.num_blocks());
        let mut inputs = Vec::with_capacity(again.len());
        for index in 0..model.num_blocks() {
            if again.contains(&index) {
                inputs.push((index, hidden.clone()));
            }
            hidden = model.block(index, hidden, &shared, None);
        }
        (inputs, hidden)
    }

    /// The head's loss and gradients, and the gradient of its input.
    fn head(&self, hidden: Tensor<B, 3>, scale: f64) -> Result<(f64, Gradients<B>, Tensor<B, 3>)> {
        let targets = self.batch.targets::<Autodiff<B>>(&hidden.device())?;
        let input = leaf(hidden);
        let loss = self
            .model
            .head_loss(input.clone(), targets.rows, targets.tokens);
        let value = loss.clone().inner();
        let mut grads = loss.mul_scalar(scale).backward();
        let grad = self.gradient(&input, &grads);
        Ok((
            scalar(value)?,
            Gradients::take(self.model, &mut grads),
            grad,
        ))
    }

    /// A block run again: its gradients, that of its input, and those of its prefix.
    fn block(
        &self,
        index: usize,
        input: Tensor<B, 3>,
        shared: &SharedInputs<Autodiff<B>>,
        grad: Tensor<B, 3>,
    ) -> (Gradients<B>, Tensor<B, 3>, Option<KeyValueGradients<B>>) {
        let input = leaf(input);
        let mut shared = shared.clone();
        let trained = shared.prefix.as_mut().filter(|_| self.reach.prefix);
        let prefix = trained.map(|prefix| {
            let (key, value) = prefix.layers[index].clone();
            let leaves = (leaf(key.inner()), leaf(value.inner()));
            prefix.layers[index] = leaves.clone();
            leaves
        });
        let output = self.model.block(index, input.clone(), &shared, None);
        let mut grads = backward(output, grad);
        let grad_input = self.gradient(&input, &grads);
        let grad_prefix =
            prefix.map(|(key, value)| (self.gradient(&key, &grads), self.gradient(&value, &grads)));
        (
            Gradients::take(self.model, &mut grads),
            grad_input,
            grad_prefix,
        )
    }

    /// The gradient of a leaf; zero if the graph does not depend on it.
    fn gradient<const D: usize>(
        &self,
        leaf: &Tensor<Autodiff<B>, D>,
        grads: &<Autodiff<B> as burn::tensor::backend::AutodiffBackend>::Gradients,
    ) -> Tensor<B, D> {
        leaf.grad(grads)
            .unwrap_or_else(|| leaf.clone().inner().zeros_like())
    }

    /// Gradients of the prefix encoder from those of the keys and values that it gave.
    fn prefix(
        &self,
        prefix: &PrefixKeyValues<Autodiff<B>>,
        grads: Vec<KeyValueGradients<B>>,
    ) -> Gradients<B> {
        let parts = prefix.layers.iter().cloned().zip(grads);
        let sums = parts.map(|((key, value), (grad_key, grad_value))| {
            (key * Tensor::from_inner(grad_key)).sum()
                + (value * Tensor::from_inner(grad_value)).sum()
        });
        match sums.reduce(|sum, part| sum + part) {
            Some(sum) => Gradients::take(self.model, &mut sum.backward()),
            None => Gradients::default(),
        }
    }

    fn embeddings(&self, grad: Tensor<B, 3>) -> Gradients<B> {
        let device = self.model.device();
        let output = self.model.embed(self.batch.tokens.ids(&device));
        Gradients::take(self.model, &mut backward(output, grad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backward_pass_ends_at_the_lowest_trained_segment() {
        let block = "transformer.encoder.layers.3.mlp.dense_4h_to_h.weight";
        let embeddings = "transformer.word_embeddings.weight";
        let prefix = "transformer.prefix_encoder.embedding.weight";
        let head = "transformer.output_layer.weight";
        assert_eq!(BackwardEnd::of([head]), BackwardEnd::Head);
        assert_eq!(BackwardEnd::of([head, block]), BackwardEnd::Block(3));
        assert_eq!(BackwardEnd::of([prefix]), BackwardEnd::Block(0));
        assert_eq!(
            BackwardEnd::of([block, embeddings]),
            BackwardEnd::Embeddings
        );
        assert_eq!(BackwardEnd::Block(3).recomputed(5), 3..5);
        assert_eq!(BackwardEnd::Head.recomputed(5), 5..5);
    }
}

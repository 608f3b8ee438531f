//! Output layer and loss over a few rows at a time: the logits are computed, turned into their
//! gradient in place, and dropped.

use burn::tensor::ops::IntTensor;
use burn::tensor::{DType, Element, Shape, Tensor, TensorMetadata};
use burn_flex::{Flex, FlexTensor};
use half::{bf16, f16};
use rayon::prelude::*;

use super::{HeadAdapter, HeadFactors, HeadGradients, HeadLoss, HeadLossOps, head_rows};
use crate::layers::ops::flex::Float;
use crate::layers::ops::flex::products::{self, Number};
use crate::layers::ops::flex::simd::{exp, maximum, simd, sum};
use crate::layers::ops::flex::values::{Values, from_vec};
use crate::layers::ops::linear::flex as linear;
use crate::layers::ops::primitive::{unwrap, wrap};
use crate::layers::ops::residual::ResidualOps;

impl HeadLossOps for Flex {
    fn glm_head_loss(
        hidden: Float,
        weight: Float,
        adapter: Option<HeadAdapter<Flex>>,
        targets: IntTensor<Flex>,
        wanted: HeadGradients,
    ) -> HeadLoss<Flex> {
        head_loss(hidden, weight, adapter, targets, wanted)
    }
}

/// See [`HeadLossOps::glm_head_loss`](super::HeadLossOps::glm_head_loss).
pub fn head_loss(
    hidden: Float,
    weight: Float,
    adapter: Option<HeadAdapter<Flex>>,
    targets: IntTensor<Flex>,
    wanted: HeadGradients,
) -> HeadLoss<Flex> {
    let mut base = Term::new(hidden, weight, wanted.hidden, wanted.weight);
    let mut adapter =
        adapter.map(|adapter| Term::new(adapter.low, adapter.up, wanted.adapter, wanted.adapter));
    let rows = base.x.shape()[0];
    let targets = indexes(&targets.to_contiguous());
    let chunk = head_rows(base.weight.shape()[0]);
    let factors = HeadFactors::of(rows, wanted.scale, base.x.dtype());
    let mut total = 0.0;
    for (start, targets) in (0..rows).step_by(chunk).zip(targets.chunks(chunk)) {
        let (x, low) = (base.rows(start, targets.len()), adapter.as_ref());
        let low = low.map(|adapter| adapter.rows(start, targets.len()));
        let mut logits = linear::linear(x.clone(), base.weight.clone(), None);
        if let (Some(low), Some(adapter)) = (&low, &adapter) {
            let added = linear::linear(low.clone(), adapter.weight.clone(), None);
            logits = Flex::glm_residual_sum(added, logits);
        }
        let (loss, grad) = chunk_loss(logits, targets, factors.logits as f32);
        total += loss;
        if let (Some(low), Some(adapter)) = (low, &mut adapter) {
            adapter.add(grad.clone(), low);
        }
        base.add(grad, x);
    }
    let loss = (total / rows as f64) as f32;
    let rest = factors.rest as f32;
    let (grad_hidden, grad_weight) = base.finish(rest);
    HeadLoss {
        loss: from_vec(vec![loss], Shape::new([1]), DType::F32),
        grad_hidden,
        grad_weight,
        grad_adapter: adapter.and_then(|adapter| match adapter.finish(rest) {
            (Some(low), Some(up)) => Some(HeadAdapter { low, up }),
            _ => None,
        }),
    }
}

/// A product `x · weightᵀ` that adds to the logits, and the gradients of its factors, chunk by chunk.
struct Term {
    x: Float,
    weight: Float,
    wants_x: bool,
    grad_x: Vec<Tensor<Flex, 2>>,
    /// As large as the weight: the chunks add to one buffer.
    grad_weight: Option<Vec<f32>>,
}

impl Term {
    fn new(x: Float, weight: Float, wants_x: bool, wants_weight: bool) -> Self {
        Self {
            grad_weight: wants_weight.then(|| vec![0.0; weight.shape().num_elements()]),
            grad_x: Vec::new(),
            x: x.to_contiguous(),
            weight,
            wants_x,
        }
    }

    fn rows(&self, start: usize, len: usize) -> FlexTensor {
        self.x.narrow(0, start, len).to_contiguous()
    }

    /// Takes the gradient of the logits of some rows.
    fn add(&mut self, grad: Float, rows: FlexTensor) {
        if self.wants_x {
            let grad = linear::backward_input(grad.clone(), self.weight.clone());
            self.grad_x.push(wrap::<Flex, 2>(grad));
        }
        if let Some(sum) = &mut self.grad_weight {
            linear::add_weight_gradient(sum, grad, rows);
        }
    }

    fn finish(self, factor: f32) -> (Option<Float>, Option<Float>) {
        let (shape, dtype) = (self.weight.shape(), self.weight.dtype());
        let grad_x = self.wants_x.then(|| unwrap(Tensor::cat(self.grad_x, 0)));
        (
            grad_x.map(|grad| scaled(grad, factor)),
            self.grad_weight.map(|mut sum| {
                scale(&mut sum, factor);
                from_vec(sum, shape, dtype)
            }),
        )
    }
}

/// A gradient times a factor, computed in float32.
fn scaled(grad: Float, factor: f32) -> Float {
    if factor == 1.0 {
        return grad;
    }
    let (shape, dtype) = (grad.shape(), grad.dtype());
    let mut values = Values::of(grad).to_vec();
    scale(&mut values, factor);
    from_vec(values, shape, dtype)
}

fn scale(values: &mut [f32], factor: f32) {
    if factor != 1.0 {
        values.par_iter_mut().for_each(|value| *value *= factor);
    }
}

/// The sum of the losses of some rows, and its gradient for their logits times a factor, written over these.
fn chunk_loss(mut logits: Float, targets: &[usize], factor: f32) -> (f64, Float) {
    // In their own place, so that they have one holder.
    logits = logits.to_contiguous();
    let losses = match logits.dtype() {
        DType::F16 => losses_of_halves::<f16>(&mut logits, targets, factor),
        DType::BF16 => losses_of_halves::<bf16>(&mut logits, targets, factor),
        _ => losses(&mut logits, targets, factor),
    };
    (losses.into_iter().map(f64::from).sum(), logits)
}

/// The losses of the rows of float32 logits.
fn losses(logits: &mut FlexTensor, targets: &[usize], factor: f32) -> Vec<f32> {
    let width = logits.shape()[1];
    let rows = logits.storage_mut::<f32>().par_chunks_mut(width);
    rows.zip(targets)
        .map(|(row, &target)| row_loss(row, target, factor))
        .collect()
}

/// The losses of the rows of 16-bit logits, of which each thread widens one at a time.
fn losses_of_halves<N: Number + Element + bytemuck::Pod>(
    logits: &mut FlexTensor,
    targets: &[usize],
    factor: f32,
) -> Vec<f32> {
    let width = logits.shape()[1];
    let rows = logits.storage_mut::<N>().par_chunks_mut(width);
    rows.zip(targets)
        .map_init(
            || vec![0.0; width],
            |widened, (row, &target)| {
                products::widen(row, widened);
                let loss = row_loss(widened, target, factor);
                products::narrow(widened, row);
                loss
            },
        )
        .collect()
}

simd! {
/// The loss of a row; its logits become `factor · (softmax - one_hot(target))`.
fn row_loss(row: &mut [f32], target: usize, factor: f32) -> f32 {
    let largest = maximum(row);
    let total = sum(row.len(), |i| exp(row[i] - largest));
    let log_sum_exp = largest + total.ln();
    let loss = log_sum_exp - row[target];
    for value in row.iter_mut() {
        *value = exp(*value - log_sum_exp) * factor;
    }
    row[target] -= factor;
    loss
}
}

/// The elements of an integer tensor of whatever width.
fn indexes(tensor: &FlexTensor) -> Vec<usize> {
    match tensor.dtype() {
        DType::I64 => convert(tensor.storage::<i64>()),
        _ => convert(tensor.storage::<i32>()),
    }
}

fn convert<T: Copy + TryInto<usize>>(values: &[T]) -> Vec<usize> {
    // Targets are token ids, checked against the vocabulary when the rows were read.
    let index = |value: &T| (*value).try_into().unwrap_or(0);
    values.iter().map(index).collect()
}

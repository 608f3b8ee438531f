//! Output layer and loss over a few rows at a time: the logits are computed, turned into their
//! gradient in place, and dropped.

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::simd::{exp, maximum, simd, sum};
use super::values::{Values, from_vec};
use super::{Float, IntTensor, linear};
use crate::layers::ops::{HeadFactors, HeadGradients, HeadLoss, head_rows, unwrap, wrap};

/// See [`GlmBackend::glm_head_loss`](crate::layers::GlmBackend::glm_head_loss).
pub fn head_loss(
    hidden: Float,
    weight: Float,
    targets: IntTensor<Flex>,
    wanted: HeadGradients,
) -> HeadLoss<Flex> {
    let hidden = hidden.to_contiguous();
    let rows = hidden.shape()[0];
    let targets = indexes(&targets.to_contiguous());
    let chunk = head_rows(weight.shape()[0]);
    let factors = HeadFactors::of(rows, wanted.scale, hidden.dtype());
    let mut total = 0.0;
    let mut grad_hidden = Vec::new();
    // As large as the output layer: the chunks add to one buffer.
    let mut grad_weight = wanted
        .weight
        .then(|| vec![0.0; weight.shape().num_elements()]);
    for (start, targets) in (0..rows).step_by(chunk).zip(targets.chunks(chunk)) {
        let x = hidden.narrow(0, start, targets.len()).to_contiguous();
        let (loss, grad) = chunk_loss(&x, &weight, targets, factors.logits as f32);
        total += loss;
        if wanted.hidden {
            let grad = linear::backward_input(grad.clone(), weight.clone());
            grad_hidden.push(wrap::<Flex, 2>(grad));
        }
        if let Some(sum) = &mut grad_weight {
            linear::add_weight_gradient(sum, grad, x);
        }
    }
    let loss = (total / rows as f64) as f32;
    let rest = factors.rest as f32;
    HeadLoss {
        loss: from_vec(vec![loss], Shape::new([1]), DType::F32),
        grad_hidden: wanted
            .hidden
            .then(|| scaled(unwrap(burn::tensor::Tensor::cat(grad_hidden, 0)), rest)),
        grad_weight: grad_weight.map(|mut sum| {
            scale(&mut sum, rest);
            from_vec(sum, weight.shape(), weight.dtype())
        }),
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

/// The sum of the losses of some rows, and its gradient for their logits times a factor.
fn chunk_loss(x: &FlexTensor, weight: &Float, targets: &[usize], factor: f32) -> (f64, Float) {
    let logits = linear::linear(x.clone(), weight.clone(), None);
    let mut logits = Values::of(logits).into_tensor();
    let shape = logits.shape();
    let values: &mut [f32] = logits.storage_mut();
    let losses: Vec<f32> = values
        .par_chunks_mut(shape[1])
        .zip(targets)
        .map(|(row, &target)| row_loss(row, target, factor))
        .collect();
    let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
    match x.dtype() {
        DType::F32 => (loss, logits),
        dtype => (loss, from_vec(Values::of(logits).to_vec(), shape, dtype)),
    }
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

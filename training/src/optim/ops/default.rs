//! The operations of an update made of Burn's own: right on every backend, fast on none.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, Tensor, TensorMetadata, TensorPrimitive};

use super::adam_step::{AdamMoments, AdamParameter, AdamStep};

/// A tensor of any rank as one row.
fn flat<B: Backend>(x: FloatTensor<B>) -> Tensor<B, 1> {
    let elements = x.shape().num_elements();
    let row = B::float_reshape(x, Shape::new([elements]));
    Tensor::from_primitive(TensorPrimitive::Float(row))
}

fn primitive<B: Backend>(tensor: Tensor<B, 1>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// See [`TrainingBackend::glm_squares`](super::TrainingBackend::glm_squares).
pub fn squares<B: Backend>(tensors: Vec<FloatTensor<B>>) -> FloatTensor<B> {
    let sums = tensors.into_iter().map(|x| {
        let x = flat::<B>(x).cast(DType::F32);
        (x.clone() * x).sum()
    });
    primitive(Tensor::cat(sums.collect(), 0))
}

/// See [`TrainingBackend::glm_adamw`](super::TrainingBackend::glm_adamw).
pub fn adamw<B: Backend>(
    parameters: Vec<(AdamParameter<B>, FloatTensor<B>)>,
    step: &AdamStep,
) -> Vec<AdamParameter<B>> {
    let parameters = parameters.into_iter();
    parameters
        .map(|(parameter, grad)| updated(parameter, grad, step))
        .collect()
}

fn updated<B: Backend>(
    AdamParameter { weight, moments }: AdamParameter<B>,
    grad: FloatTensor<B>,
    step: &AdamStep,
) -> AdamParameter<B> {
    let shape = weight.shape();
    let [correction1, correction2] = step.bias_corrections();
    let weight = flat::<B>(weight);
    let grad = flat::<B>(grad).cast(DType::F32).mul_scalar(step.grad_scale);
    let first =
        flat::<B>(moments.first).mul_scalar(step.beta1) + grad.clone().mul_scalar(1.0 - step.beta1);
    let second = flat::<B>(moments.second).mul_scalar(step.beta2)
        + (grad.clone() * grad).mul_scalar(1.0 - step.beta2);
    let denominator = second
        .clone()
        .div_scalar(correction2)
        .sqrt()
        .add_scalar(step.epsilon);
    let update = first.clone().div_scalar(correction1) / denominator
        + weight.clone().mul_scalar(step.weight_decay);
    let weight = weight - update.mul_scalar(step.lr);
    let back = |x: Tensor<B, 1>| B::float_reshape(primitive(x), shape.clone());
    let moments = AdamMoments {
        first: back(first),
        second: back(second),
    };
    let weight = back(weight);
    AdamParameter { weight, moments }
}

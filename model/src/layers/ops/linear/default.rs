//! Linear layers of Burn's matrix product.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use crate::layers::ops::primitive::{unwrap, wrap};

/// See [`LinearOps::glm_linear`](super::LinearOps::glm_linear).
pub fn linear<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let output = wrap::<B, 2>(x).matmul(wrap::<B, 2>(weight).transpose());
    add_bias::<B>(unwrap(output), bias)
}

/// `output` with a bias in every row.
pub(super) fn add_bias<B: Backend>(
    output: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    match bias {
        Some(bias) => unwrap(wrap::<B, 2>(output) + wrap::<B, 1>(bias).unsqueeze::<2>()),
        None => output,
    }
}

/// See [`LinearOps::glm_linear_backward_weight`](super::LinearOps::glm_linear_backward_weight).
pub fn linear_backward_weight<B: Backend>(
    grad: FloatTensor<B>,
    x: FloatTensor<B>,
) -> FloatTensor<B> {
    unwrap(wrap::<B, 2>(grad).transpose().matmul(wrap::<B, 2>(x)))
}

/// See [`LinearOps::glm_linear_backward_input`](super::LinearOps::glm_linear_backward_input).
pub fn linear_backward_input<B: Backend>(
    grad: FloatTensor<B>,
    weight: FloatTensor<B>,
) -> FloatTensor<B> {
    unwrap(wrap::<B, 2>(grad).matmul(wrap::<B, 2>(weight)))
}

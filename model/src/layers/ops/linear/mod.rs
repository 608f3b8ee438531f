//! Products with a weight of `[out, in]`, as published files have it.

mod autodiff;
pub mod default;
#[cfg(feature = "flex")]
pub(super) mod flex;
#[cfg(feature = "flex")]
mod lines;
pub mod memory;
mod panel;
#[cfg(feature = "flex")]
mod sizes;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use super::primitive::{unwrap, wrap};

/// `gradᵀ · x`, `[out, in]`: the gradient of a linear layer's weight.
pub(super) fn gradient_of_weight<B: LinearOps>(
    grad: FloatTensor<B>,
    x: FloatTensor<B>,
) -> FloatTensor<B> {
    unwrap(wrap::<B, 2>(grad).transpose().matmul(wrap::<B, 2>(x)))
}

/// The sums of the columns of `grad`, `[out]`: the gradient of a linear layer's bias.
pub(super) fn gradient_of_bias<B: LinearOps>(grad: FloatTensor<B>) -> FloatTensor<B> {
    unwrap(wrap::<B, 2>(grad).sum_dim(0).squeeze_dim::<1>(0))
}

/// Linear layers.
pub trait LinearOps: Backend {
    /// `x · weightᵀ + bias`.
    ///
    /// # Shapes
    /// - `x`: `[rows, in]`, `weight`: `[out, in]` (as in the published files), `bias`: `[out]`,
    ///   all of one type
    /// - result: `[rows, out]`
    fn glm_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self> {
        default::linear::<Self>(x, weight, bias)
    }

    /// Gradient of [`glm_linear`](Self::glm_linear) with respect to `x`: `grad · weight`.
    ///
    /// # Shapes
    /// - `grad`: `[rows, out]`, `weight`: `[out, in]`
    /// - result: `[rows, in]`
    fn glm_linear_backward_input(
        grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        default::linear_backward_input::<Self>(grad, weight)
    }
}

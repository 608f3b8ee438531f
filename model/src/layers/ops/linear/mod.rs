//! Products with a weight of `[out, in]`, as published files have it.

mod autodiff;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
pub(super) mod flex;
pub mod kernels;
#[cfg(feature = "flex")]
mod lines;
pub mod memory;
mod pairs;
mod panel;
#[cfg(feature = "flex")]
mod second;
#[cfg(feature = "flex")]
mod sizes;
mod tiles;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use super::primitive::{unwrap, wrap};

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

    /// Gradient of [`glm_linear`](Self::glm_linear) with respect to `weight`: `gradᵀ · x`.
    ///
    /// # Shapes
    /// - `grad`: `[rows, out]`, `x`: `[rows, in]`
    /// - result: `[out, in]`
    fn glm_linear_backward_weight(
        grad: FloatTensor<Self>,
        x: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        default::linear_backward_weight::<Self>(grad, x)
    }

    /// Names of the kernels that a product can be asked for, where the backend lets one choose; the product's result
    /// has so many rows.
    fn glm_product_kernels(_rows: usize) -> Vec<&'static str> {
        Vec::new()
    }

    /// `lhs · rhs` by the kernel of a name; `None` if the backend has none of that name, or it cannot compute this.
    ///
    /// # Shapes
    /// - `lhs`: `[m, k]`, `rhs`: `[k, n]`; result: `[m, n]`
    fn glm_product_by(
        _kernel: &str,
        _lhs: FloatTensor<Self>,
        _rhs: FloatTensor<Self>,
    ) -> Option<FloatTensor<Self>> {
        None
    }
}

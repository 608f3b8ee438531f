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

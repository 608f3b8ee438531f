//! The norms of the family, computed in float32 whatever the type.

mod affine;
mod autodiff;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
pub mod memory;

use burn::tensor::ops::FloatTensor;

pub use affine::AffineGradients;

use super::residual::ResidualOps;

/// Rows that one task of the CPU's backward pass works on; each task sums the weight's gradient on its own.
const ROWS: usize = 64;

/// Root-mean-square norm and layer norm.
pub trait NormOps: ResidualOps {
    /// `x / sqrt(mean(x²) + epsilon) · weight` over the last axis (Zhang and Sennrich 2019).
    ///
    /// # Shapes
    /// - `x` and result: `[…, width]`, `weight`: `[width]`
    fn glm_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        default::rms_norm::<Self>(x, weight, epsilon)
    }

    /// `x + y`, a residual stream and what a branch adds to it, and [`glm_rms_norm`](Self::glm_rms_norm) of the sum.
    ///
    /// # Shapes
    /// - `x`, `y` and results: `[…, width]`, `weight`: `[width]`
    fn glm_residual_rms_norm(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let sum = Self::glm_residual_sum(x, y);
        (sum.clone(), Self::glm_rms_norm(sum, weight, epsilon))
    }

    /// Gradients of [`glm_rms_norm`](Self::glm_rms_norm): of `x`, then of `weight` if that is wanted. `residual`: what
    /// the gradient of `x` is added to, where `x` is a stream that goes on.
    ///
    /// # Shapes
    /// - `x`, `grad`, `residual` and the gradient of `x`: `[…, width]`
    /// - `weight` and its gradient: `[width]`
    fn glm_rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        grad: FloatTensor<Self>,
        residual: Option<FloatTensor<Self>>,
        wants_weight: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        let (grad_x, grad_weight) =
            default::rms_norm_backward::<Self>(x, weight, epsilon, grad, wants_weight);
        (default::onto::<Self>(residual, grad_x), grad_weight)
    }

    /// `(x - mean) / sqrt(variance + epsilon) · weight + bias` over the last axis (Ba et al. 2016).
    ///
    /// # Shapes
    /// - `x` and result: `[rows, width]`, `weight` and `bias`: `[width]`
    fn glm_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        default::layer_norm::<Self>(x, weight, bias, epsilon)
    }

    /// Gradients of [`glm_layer_norm`](Self::glm_layer_norm): of `x`, then of `weight` and `bias` if they are
    /// wanted.
    ///
    /// # Shapes
    /// - `x`, `grad` and the gradient of `x`: `[rows, width]`
    /// - `weight` and the gradients of `weight` and `bias`: `[width]`
    fn glm_layer_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        grad: FloatTensor<Self>,
        wants_weight: bool,
    ) -> (FloatTensor<Self>, Option<AffineGradients<Self>>) {
        default::layer_norm_backward::<Self>(x, weight, epsilon, grad, wants_weight)
    }
}

//! The norms of the family, computed in float32 whatever the type.

mod affine;
mod autodiff;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
pub mod memory;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

pub use affine::AffineGradients;

/// Rows that one task of the CPU's backward pass works on; each task sums the weight's gradient on its own.
const ROWS: usize = 64;

/// Root-mean-square norm and layer norm.
pub trait NormOps: Backend {
    /// `x / sqrt(mean(x²) + epsilon) · weight` over the last axis (Zhang and Sennrich 2019).
    ///
    /// # Shapes
    /// - `x` and result: `[rows, width]`, `weight`: `[width]`
    fn glm_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        default::rms_norm::<Self>(x, weight, epsilon)
    }

    /// Gradients of [`glm_rms_norm`](Self::glm_rms_norm): of `x`, then of `weight` if that is wanted.
    ///
    /// # Shapes
    /// - `x`, `grad` and the gradient of `x`: `[rows, width]`
    /// - `weight` and its gradient: `[width]`
    fn glm_rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        grad: FloatTensor<Self>,
        wants_weight: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        default::rms_norm_backward::<Self>(x, weight, epsilon, grad, wants_weight)
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

//! The activations of the MLPs, computed in float32 whatever the type.

mod autodiff;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
pub mod memory;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

/// SwiGLU and GELU.
pub trait ActivationOps: Backend {
    /// `silu(gate) · up` of a fused projection `[gate | up]` (Shazeer 2020).
    ///
    /// # Shapes
    /// - `x`: `[rows, 2·width]`, result: `[rows, width]`
    fn glm_swiglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        default::swiglu::<Self>(x)
    }

    /// Gradient of [`glm_swiglu`](Self::glm_swiglu) with respect to `x`.
    ///
    /// # Shapes
    /// - `x` and result: `[rows, 2·width]`, `grad`: `[rows, width]`
    fn glm_swiglu_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        default::swiglu_backward::<Self>(x, grad)
    }

    /// GELU by the tanh formula (Hendrycks and Gimpel 2016), element by element.
    ///
    /// # Shapes
    /// - `x` and result: `[rows, width]`
    fn glm_gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        default::gelu_tanh::<Self>(x)
    }

    /// Gradient of [`glm_gelu_tanh`](Self::glm_gelu_tanh) with respect to `x`.
    ///
    /// # Shapes
    /// - `x`, `grad` and result: `[rows, width]`
    fn glm_gelu_tanh_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        default::gelu_tanh_backward::<Self>(x, grad)
    }
}

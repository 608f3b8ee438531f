//! The two norms of the family.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::ops::GlmBackend;
use super::ops::primitive::{unwrap, wrap};
use super::uninitialized;

/// Root-mean-square norm, computed in float32 (ChatGLM2 and later).
#[derive(Module, Debug)]
pub struct RmsNorm<B: Backend> {
    /// Scale, `[width]`.
    pub weight: Param<Tensor<B, 1>>,
    /// Added to the mean square.
    pub epsilon: f64,
}

impl<B: Backend> RmsNorm<B> {
    /// A norm over `width` elements whose weight is yet to be loaded.
    pub fn uninitialized(width: usize, epsilon: f64, dtype: DType, device: &B::Device) -> Self {
        Self {
            weight: uninitialized([width], dtype, device),
            epsilon,
        }
    }
}

impl<B: GlmBackend> RmsNorm<B> {
    /// Normalises the last axis.
    ///
    /// # Shapes
    /// - `x` and result: `[batch, tokens, width]`
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let weight = unwrap(self.weight.val());
        wrap(B::glm_rms_norm(unwrap(x), weight, self.epsilon))
    }

    /// A residual stream with what a branch adds to it, `x + y`, and the same normalised.
    ///
    /// # Shapes
    /// - `x`, `y` and results: `[batch, tokens, width]`
    pub fn forward_sum(&self, x: Tensor<B, 3>, y: Tensor<B, 3>) -> (Tensor<B, 3>, Tensor<B, 3>) {
        let weight = unwrap(self.weight.val());
        let (sum, output) = B::glm_residual_rms_norm(unwrap(x), unwrap(y), weight, self.epsilon);
        (wrap(sum), wrap(output))
    }
}

/// Layer norm with bias, computed in float32 (ChatGLM-6B).
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// Scale, `[width]`.
    pub weight: Param<Tensor<B, 1>>,
    /// Shift, `[width]`.
    pub bias: Param<Tensor<B, 1>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl<B: Backend> LayerNorm<B> {
    /// A norm over `width` elements whose weights are yet to be loaded.
    pub fn uninitialized(width: usize, epsilon: f64, dtype: DType, device: &B::Device) -> Self {
        Self {
            weight: uninitialized([width], dtype, device),
            bias: uninitialized([width], dtype, device),
            epsilon,
        }
    }
}

impl<B: GlmBackend> LayerNorm<B> {
    /// Normalises the last axis.
    ///
    /// # Shapes
    /// - `x` and result: `[batch, tokens, width]`
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let shape = x.dims();
        let rows = x.reshape([-1, shape[2] as i32]);
        let output: Tensor<B, 2> = wrap(B::glm_layer_norm(
            unwrap(rows),
            unwrap(self.weight.val()),
            unwrap(self.bias.val()),
            self.epsilon,
        ));
        output.reshape(shape)
    }
}

//! Products with a weight.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::ops::GlmBackend;
use super::ops::primitive::{to_type, unwrap, wrap};
use super::uninitialized;

/// `x·weightᵀ + bias` in the type of `x`.
///
/// # Shapes
/// - `x`: `[rows, in]`, `weight`: `[out, in]`, `bias`: `[out]`; result: `[rows, out]`
pub fn linear<B: GlmBackend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 2> {
    // A product of mixed types is an error on some backends and garbage on others; a trained weight
    // is a float32 master under a compute type of 16 bits, and the cast passes its gradient.
    let dtype = x.dtype();
    let bias = bias.map(|bias| unwrap(to_type(bias, dtype)));
    wrap(B::glm_linear(
        unwrap(x),
        unwrap(to_type(weight, dtype)),
        bias,
    ))
}

/// `x·Wᵀ + b`, which takes no adapter.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[out, in]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
}

impl<B: Backend> Linear<B> {
    /// A layer whose weights are yet to be loaded.
    pub fn uninitialized(
        [input, output]: [usize; 2],
        bias: bool,
        dtype: DType,
        device: &B::Device,
    ) -> Self {
        Self {
            weight: uninitialized([output, input], dtype, device),
            bias: bias.then(|| uninitialized([output], dtype, device)),
        }
    }

    /// Width of the input and of the output.
    pub fn dims(&self) -> [usize; 2] {
        let shape = self.weight.lazy_shape();
        [shape[1], shape[0]]
    }
}

impl<B: GlmBackend> Linear<B> {
    /// Applies the layer to the last axis.
    ///
    /// # Shapes
    /// - `x`: `[batch, rows, in]`; result: `[batch, rows, out]`, in the type of `x`
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, rows, width] = x.dims();
        let bias = self.bias.as_ref().map(|bias| bias.val());
        let output = linear(x.reshape([batch * rows, width]), self.weight.val(), bias);
        let out = output.dims()[1];
        output.reshape([batch, rows, out])
    }
}

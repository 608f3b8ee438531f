//! Dropout whose mask is computed on the host.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorData, TensorMetadata};

use super::mask::Dropout;
use crate::layers::ops::primitive::{flat, unwrap};

/// See [`DropoutOps::glm_dropout`](super::DropoutOps::glm_dropout). The mask is computed on the host.
pub fn dropout<B: Backend>(x: FloatTensor<B>, dropout: Dropout) -> FloatTensor<B> {
    let (shape, dtype) = (x.shape(), x.dtype());
    let elements = shape.num_elements();
    let x = flat::<B>(x);
    let factors: Vec<f32> = (0..elements).map(|index| dropout.factor(index)).collect();
    let factors = Tensor::from_data(TensorData::new(factors, [elements]), (&x.device(), dtype));
    B::float_reshape(unwrap(x * factors), shape)
}

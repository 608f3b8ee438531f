//! Between tensors and the primitives of backends, and between float types.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, Tensor, TensorMetadata, TensorPrimitive};

/// A tensor around a float primitive.
pub(crate) fn wrap<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The float primitive of a tensor.
pub(crate) fn unwrap<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// `tensor` in another type; no operation if it has that type.
pub(crate) fn to_type<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    dtype: DType,
) -> Tensor<B, D> {
    match tensor.dtype() == dtype {
        true => tensor,
        false => tensor.cast(dtype),
    }
}

/// A primitive as a float32 tensor, beside its own type.
pub(super) fn to_f32<B: Backend, const D: usize>(
    primitive: FloatTensor<B>,
) -> (Tensor<B, D>, DType) {
    let dtype = primitive.dtype();
    let tensor = wrap::<B, D>(primitive);
    match dtype {
        DType::F32 => (tensor, dtype),
        _ => (tensor.cast(DType::F32), dtype),
    }
}

/// A float32 tensor as a primitive of another type.
pub(super) fn from_f32<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    dtype: DType,
) -> FloatTensor<B> {
    match dtype {
        DType::F32 => unwrap(tensor),
        _ => unwrap(tensor.cast(dtype)),
    }
}

/// A tensor of any rank as one row.
pub(super) fn flat<B: Backend>(x: FloatTensor<B>) -> Tensor<B, 1> {
    let elements = x.shape().num_elements();
    wrap(B::float_reshape(x, Shape::new([elements])))
}

//! Rows of tensors made of Burn's operations: right on every backend.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, Tensor, TensorMetadata, TensorPrimitive};

/// See [`CollectiveOps::glm_pack`](super::CollectiveOps::glm_pack).
pub fn pack<B: Backend>(tensors: Vec<FloatTensor<B>>, dtype: DType) -> FloatTensor<B> {
    let rows = tensors.into_iter().map(|tensor| {
        let elements = tensor.shape().num_elements();
        row::<B>(B::float_reshape(tensor, Shape::new([elements]))).cast(dtype)
    });
    let rows: Vec<_> = rows.collect();
    Tensor::cat(rows, 0).into_primitive().tensor()
}

/// See [`CollectiveOps::glm_unpack`](super::CollectiveOps::glm_unpack).
pub fn unpack<B: Backend>(packed: FloatTensor<B>, shapes: &[Shape]) -> Vec<FloatTensor<B>> {
    let packed = row::<B>(packed);
    let tensors = shapes.iter().zip(places(shapes)).map(|(shape, begin)| {
        let part = packed.clone().narrow(0, begin, shape.num_elements());
        B::float_reshape(part.into_primitive().tensor(), shape.clone())
    });
    tensors.collect()
}

/// See [`CollectiveOps::glm_places`](super::CollectiveOps::glm_places).
pub fn places(shapes: &[Shape]) -> Vec<usize> {
    let ends = shapes.iter().scan(0, |end, shape| {
        let begin = *end;
        *end += shape.num_elements();
        Some(begin)
    });
    ends.collect()
}

/// See [`CollectiveOps::glm_join`](super::CollectiveOps::glm_join). Parts of other devices go through the host's memory.
pub fn join<B: Backend>(
    parts: Vec<FloatTensor<B>>,
    shape: Shape,
    device: &B::Device,
) -> FloatTensor<B> {
    let parts = parts.into_iter().map(|part| {
        let part = row::<B>(part);
        match part.device() == *device {
            true => part,
            false => {
                let dtype = part.dtype();
                Tensor::from_data(part.into_data(), (device, dtype))
            }
        }
    });
    let whole = Tensor::cat(parts.collect(), 0);
    let whole = whole.narrow(0, 0, shape.num_elements());
    B::float_reshape(whole.into_primitive().tensor(), shape)
}

fn row<B: Backend>(tensor: FloatTensor<B>) -> Tensor<B, 1> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

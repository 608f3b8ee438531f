//! Parts as slices.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Slice, TensorMetadata};

/// See [`PartsOps::glm_parts`](super::PartsOps::glm_parts).
pub fn parts<B: Backend, const N: usize>(
    x: FloatTensor<B>,
    axis: usize,
    sizes: [usize; N],
) -> [FloatTensor<B>; N] {
    let shape = x.shape();
    let mut end = 0;
    sizes.map(|size| {
        end += size;
        B::float_slice(x.clone(), &place(&shape, axis, end - size, size))
    })
}

/// See [`PartsOps::glm_parts_backward`](super::PartsOps::glm_parts_backward).
pub fn parts_backward<B: Backend>(
    whole: FloatTensor<B>,
    grad: FloatTensor<B>,
    axis: usize,
    start: usize,
) -> FloatTensor<B> {
    let shape = grad.shape();
    B::float_slice_assign(whole, &place(&shape, axis, start, shape[axis]), grad)
}

/// Where in a tensor of a shape a part lies.
fn place(shape: &[usize], axis: usize, start: usize, size: usize) -> Vec<Slice> {
    let whole = shape.iter().map(|&length| Slice::from(0..length));
    let mut place: Vec<Slice> = whole.collect();
    place[axis] = Slice::from(start..start + size);
    place
}

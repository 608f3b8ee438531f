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
    places(&x.shape(), axis, sizes).map(|place| B::float_slice(x.clone(), &place))
}

/// Where in a tensor of a shape the parts lie.
pub(super) fn places<const N: usize>(
    shape: &[usize],
    axis: usize,
    sizes: [usize; N],
) -> [Vec<Slice>; N] {
    let mut end = 0;
    sizes.map(|size| {
        let start = end;
        end += size;
        let whole = shape.iter().map(|&length| Slice::from(0..length));
        let mut place: Vec<Slice> = whole.collect();
        place[axis] = Slice::from(start..end);
        place
    })
}

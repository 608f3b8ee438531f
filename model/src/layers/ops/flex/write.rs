//! Writing into a tensor where it lies: the backend's own assignment of a slice copies the whole first.

use burn::tensor::{DType, Element, TensorMetadata};
use burn_flex::{Flex, FlexTensor};
use half::{bf16, f16};

use super::Float;
use crate::layers::ops::parts::default::parts_backward;

/// `buffer` with `new` at `start` of an axis: itself if nobody else holds it, else a copy.
///
/// # Shapes
/// - `new`: as `buffer`, but for the axis
pub fn write_along(mut buffer: Float, new: Float, axis: usize, start: usize) -> Float {
    let dtype = buffer.dtype();
    if dtype != new.dtype() {
        return parts_backward::<Flex>(buffer, new, axis, start);
    }
    let new = new.to_contiguous();
    // In its own place, so that the buffer has one holder.
    buffer = buffer.to_contiguous();
    match dtype {
        DType::F32 => copy::<f32>(&mut buffer, &new, axis, start),
        DType::F16 => copy::<f16>(&mut buffer, &new, axis, start),
        DType::BF16 => copy::<bf16>(&mut buffer, &new, axis, start),
        _ => return parts_backward::<Flex>(buffer, new, axis, start),
    }
    buffer
}

fn copy<E: Element + bytemuck::Pod>(
    buffer: &mut FlexTensor,
    new: &FlexTensor,
    axis: usize,
    start: usize,
) {
    let (shape, length) = (buffer.shape(), new.shape()[axis]);
    let inner: usize = shape[axis + 1..].iter().product();
    let (to, from) = (shape[axis] * inner, length * inner);
    if from == 0 {
        return;
    }
    let lines = buffer.storage_mut::<E>().chunks_mut(to);
    for (line, new) in lines.zip(new.storage::<E>().chunks(from)) {
        line[start * inner..][..from].copy_from_slice(new);
    }
}

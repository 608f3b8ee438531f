//! What tells a tensor from another one, from a bounded number of bytes.

use super::reader::Checkpoint;
use super::tensor::TensorInfo;
use crate::digest::Digest;
use crate::error::Result;

/// Values taken from each of three places of a tensor.
const STRETCH: usize = 16;

/// Adds a tensor to a digest: its name, its shape and some of its values, as float32. Gives the one in its middle.
pub(crate) fn add_tensor(
    digest: &mut Digest,
    checkpoint: &Checkpoint,
    info: &TensorInfo,
) -> Result<f32> {
    let mut sum = std::mem::take(digest)
        .with(&info.name)
        .with(format!("{:?}", info.shape));
    let elements = info.elements();
    let middle = elements / 2;
    let mut value = 0.0;
    for first in [0, middle, elements.saturating_sub(STRETCH)] {
        let count = STRETCH.min(elements - first);
        let stretch = checkpoint.floats(&info.name, first, count)?;
        sum = sum.with(bytemuck::cast_slice::<f32, u8>(&stretch));
        if first == middle {
            value = stretch.first().copied().unwrap_or(0.0);
        }
    }
    *digest = sum;
    Ok(value)
}

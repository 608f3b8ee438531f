//! The parts of a joint projection.

use burn::tensor::Tensor;

use super::ops::GlmBackend;
use super::ops::primitive::{unwrap, wrap};

/// Neighbouring parts of a tensor along an axis, of the given sizes, from its beginning on.
///
/// # Shapes
/// - `x`: of any rank; results: as `x`, but for the axis
pub fn parts<B: GlmBackend, const D: usize, const N: usize>(
    x: Tensor<B, D>,
    axis: usize,
    sizes: [usize; N],
) -> [Tensor<B, D>; N] {
    B::glm_parts(unwrap(x), axis, sizes).map(wrap)
}

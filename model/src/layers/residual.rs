//! The stream that every block adds to.

use burn::tensor::Tensor;

use super::ops::GlmBackend;
use super::ops::primitive::{unwrap, wrap};

/// `x + y`: a residual stream and what a branch adds to it.
///
/// # Shapes
/// - `x`, `y` and result: of any rank, all of one shape and type
pub fn residual_sum<B: GlmBackend, const D: usize>(
    x: Tensor<B, D>,
    y: Tensor<B, D>,
) -> Tensor<B, D> {
    wrap(B::glm_residual_sum(unwrap(x), unwrap(y)))
}

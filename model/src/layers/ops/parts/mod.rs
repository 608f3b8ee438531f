//! The parts of a joint projection, whose gradients are written side by side.

mod autodiff;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
pub mod memory;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

/// A tensor taken apart.
pub trait PartsOps: Backend {
    /// Views of neighbouring parts of a tensor along an axis, of the given sizes, from its beginning on. In the backward
    /// pass, the gradient of the whole is made once, and each part's is written to its place.
    ///
    /// # Shapes
    /// - `x`: of any rank; results: as `x`, but for the axis
    fn glm_parts<const N: usize>(
        x: FloatTensor<Self>,
        axis: usize,
        sizes: [usize; N],
    ) -> [FloatTensor<Self>; N] {
        default::parts::<Self, N>(x, axis, sizes)
    }

    /// The gradient of the whole, with that of a part in its place.
    ///
    /// # Shapes
    /// - `grad`: of the part; `whole` and result: of the whole
    fn glm_parts_backward(
        whole: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        axis: usize,
        start: usize,
    ) -> FloatTensor<Self> {
        default::parts_backward::<Self>(whole, grad, axis, start)
    }
}

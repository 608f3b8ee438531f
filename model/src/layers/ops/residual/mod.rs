//! The sum of a residual stream and what a branch adds to it.

pub(super) mod autodiff;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
pub mod memory;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

/// Residual sums.
pub trait ResidualOps: Backend {
    /// `x + y`, in the type of both; the gradient of either is that of the sum. Written over `y` where nobody else
    /// holds that: a branch's output is read by nothing else.
    ///
    /// # Shapes
    /// - `x`, `y` and result: of any rank, all of one shape and type
    fn glm_residual_sum(x: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self> {
        default::residual_sum::<Self>(x, y)
    }
}

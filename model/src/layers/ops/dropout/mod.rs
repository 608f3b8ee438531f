//! Dropout whose mask is a function of a seed and of the place of an element, never stored.

mod autodiff;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(super) mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
mod mask;
pub mod memory;

pub use mask::Dropout;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

/// Dropout.
pub trait DropoutOps: Backend {
    /// Zeroes elements by a mask that [`Dropout`] determines and scales the others; the backward pass
    /// is the same operation on the gradient (Srivastava et al. 2014).
    ///
    /// # Shapes
    /// - `x` and result: of any rank
    fn glm_dropout(x: FloatTensor<Self>, dropout: Dropout) -> FloatTensor<Self> {
        default::dropout::<Self>(x, dropout)
    }
}

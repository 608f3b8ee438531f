//! The heads of a joint projection: queries and keys turned by their positions, values as they are.

mod autodiff;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
pub mod memory;
mod operands;

pub use operands::{HeadAngles, HeadCut};

use burn::tensor::Shape;
use burn::tensor::ops::FloatTensor;

use super::parts::PartsOps;
use super::rotary::RotaryOps;

/// Queries, keys and values of a joint projection.
pub trait HeadsOps: PartsOps + RotaryOps {
    /// Queries, keys and values, the first two turned by the angles of a table. In the backward pass the gradient of
    /// the whole is made once.
    ///
    /// # Shapes
    /// - `joint`: `[batch, tokens, heads, width]`
    /// - results: as `joint`, but for the axis that is cut
    fn glm_heads(
        joint: FloatTensor<Self>,
        cut: HeadCut,
        angles: HeadAngles<Self>,
    ) -> [FloatTensor<Self>; 3] {
        default::heads::<Self>(joint, cut, angles)
    }

    /// The gradient of [`glm_heads`](Self::glm_heads)' `joint`, of a shape, from those of its results, at least one of
    /// which is there.
    fn glm_heads_backward(
        grads: [Option<FloatTensor<Self>>; 3],
        shape: Shape,
        cut: HeadCut,
        angles: HeadAngles<Self>,
    ) -> Option<FloatTensor<Self>> {
        default::heads_backward::<Self>(grads, shape, cut, angles)
    }
}

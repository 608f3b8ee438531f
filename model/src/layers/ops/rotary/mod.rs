//! Rotary position embedding of a head by a table of angles.

mod autodiff;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(super) mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
pub mod memory;
mod operands;

pub use operands::{Direction, RotaryPairs};

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

/// Rotary position embedding.
pub trait RotaryOps: Backend {
    /// Rotates pairs of each head by the angles of a table; the backward pass is the rotation in the
    /// other direction (Su et al. 2021).
    ///
    /// # Shapes
    /// - `x` and result: `[batch, tokens, heads, head_dim]`
    /// - `cos`, `sin`: `[batch or 1, tokens, pairs]`, float32
    fn glm_rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        pairs: RotaryPairs,
        direction: Direction,
    ) -> FloatTensor<Self> {
        default::rotary::<Self>(x, cos, sin, pairs, direction)
    }
}

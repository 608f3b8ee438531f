//! Rotary position embedding of a head by a table of angles.

mod autodiff;
pub mod default;
#[cfg(feature = "flex")]
mod flex;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

/// Which elements of a head form a pair that is rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryPairs {
    /// `(2i, 2i + 1)` of the first `2·pairs` dimensions, the rest passes (ChatGLM2 and later).
    Interleaved,
    /// The head is cut in two halves of `head_dim/2`; in each, `(i, i + head_dim/4)`
    /// (ChatGLM-6B: the first half turns by the position, the second by the block position).
    TwoHalves,
}

/// Which way to turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// By the angle.
    Forward,
    /// By minus the angle: the transpose of the rotation, which is its backward pass.
    Inverse,
}

impl Direction {
    /// The other direction.
    pub fn reversed(self) -> Self {
        match self {
            Self::Forward => Self::Inverse,
            Self::Inverse => Self::Forward,
        }
    }
}

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

//! How a rotary embedding pairs and turns.

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

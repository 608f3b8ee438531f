//! How a joint projection is cut, and how its heads are turned.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use crate::layers::ops::rotary::RotaryPairs;

/// How `[batch, tokens, heads, width]` is cut into queries, keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadCut {
    /// All heads of the queries, then those of the keys, then those of the values: so many of each.
    Joint([usize; 3]),
    /// Within each head, in three equal parts.
    WithinHeads,
}

impl HeadCut {
    /// The axis, and the sizes of the parts along it, of a projection whose heads are so wide.
    pub fn along(self, width: usize) -> (usize, [usize; 3]) {
        match self {
            Self::Joint(counts) => (2, counts),
            Self::WithinHeads => (3, [width / 3; 3]),
        }
    }
}

/// The angles by which queries and keys are turned, as those of
/// [`glm_rotary`](crate::layers::ops::rotary::RotaryOps::glm_rotary).
#[derive(Debug, Clone)]
pub struct HeadAngles<B: Backend> {
    /// Cosines, `[batch or 1, tokens, pairs]`, float32.
    pub cos: FloatTensor<B>,
    /// Sines, `[batch or 1, tokens, pairs]`, float32.
    pub sin: FloatTensor<B>,
    /// How elements are paired.
    pub pairs: RotaryPairs,
}

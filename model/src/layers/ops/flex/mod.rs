//! What fused operations on the CPU share: rayon over rows and heads, AVX2 or AVX-512 where the processor
//! has it (chosen at run time), float32 arithmetic whatever the storage type.

pub(super) mod products;
pub mod simd;
pub mod values;
mod vector;
pub mod write;

use burn::tensor::ops::FloatTensor;
use burn_flex::Flex;

/// A float tensor of the CPU backend.
pub type Float = FloatTensor<Flex>;

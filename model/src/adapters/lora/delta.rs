//! `scaling·B·A`, row by row, as it is folded into a base.

use crate::adapters::folding::WeightDelta;
use crate::checkpoint::RawTensor;

/// The factors at one weight, in float32.
pub(super) struct LoraDelta {
    rank: usize,
    /// `[rank, in]`.
    a: Vec<f32>,
    /// `scaling·B`, `[out, rank]`.
    scaled_b: Vec<f32>,
}

impl LoraDelta {
    /// The product of the factors A and B, float32.
    pub(super) fn new(rank: usize, scaling: f64, (a, b): &(RawTensor, RawTensor)) -> Self {
        let scaled = |value: f32| (f64::from(value) * scaling) as f32;
        Self {
            rank,
            a: floats(&a.bytes).collect(),
            scaled_b: floats(&b.bytes).map(scaled).collect(),
        }
    }
}

impl WeightDelta for LoraDelta {
    fn add_row(&self, row: usize, _base: &[f32], delta: &mut [f32]) {
        let coefficients = &self.scaled_b[row * self.rank..(row + 1) * self.rank];
        for (&coefficient, a) in coefficients.iter().zip(self.a.chunks_exact(delta.len())) {
            for (sum, &a) in delta.iter_mut().zip(a) {
                *sum += coefficient * a;
            }
        }
    }
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

//! What lies between the factors, brought to shared memory.

// What the macro makes of a function has no comments.
#![allow(missing_docs)]

use burn_cubecl::cubecl;
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::factor::{RANKS, UNITS};

/// Brings so many rows of `low`, `[rows, rank]`, to shared memory, some of their ranks; what is beyond it is zero.
#[cube]
pub(super) fn load_low<L: Float>(
    low: &LinearView<L>,
    shared: &mut SharedMemory<f32>,
    first_row: usize,
    first_rank: usize,
    rows: usize,
    rank: usize,
    #[comptime] count: usize,
) {
    let mut place = UNIT_POS as usize;
    while place < comptime!(count * RANKS) {
        let (row, rank_index) = (first_row + place / RANKS, first_rank + place % RANKS);
        let mut value = f32::new(0.0);
        if row < rows && rank_index < rank {
            value = f32::cast_from(low[row * rank + rank_index]);
        }
        shared[place] = value;
        place += UNITS;
    }
}

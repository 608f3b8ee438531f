//! What lies between the factors times a factor, added to a wide matrix: `out += bias + drop(low·factor)`.
//!
//! A cube has a tile of the result, a unit one of its columns.

use burn::tensor::TensorMetadata;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::factor::{Factor, RANKS, UNITS};
use super::low::load_low;
use crate::layers::ops::dropout::Dropout;
use crate::layers::ops::dropout::cube::{Mask, mask, masked};

/// Rows of a tile.
const ROWS: usize = 16;

/// Adds to `out`, `[rows, width]`, in its place. `low`: `[rows, rank]`, `bias`: `[width]`.
pub(super) fn spread<R: CubeRuntime>(
    out: &CubeTensor<R>,
    low: CubeTensor<R>,
    factor: Factor<R>,
    bias: Option<CubeTensor<R>>,
    dropout: Option<Dropout>,
) {
    let (client, shape, rank) = (out.client.clone(), out.shape(), factor.rank());
    let count = [shape[1].div_ceil(UNITS), shape[0].div_ceil(ROWS)].map(|count| count as u32);
    let has_bias = bias.is_some();
    // Where there is none, the argument is not read.
    let bias = bias.unwrap_or_else(|| low.clone());
    let dtypes = [out.dtype, low.dtype, factor.tensor.dtype, bias.dtype].map(Into::into);
    // SAFETY: no unit reads or writes beyond the rows, the columns and the ranks.
    unsafe {
        spread_kernel::launch_unchecked(
            &client,
            CubeCount::Static(count[0], count[1], 1),
            CubeDim::new_1d(UNITS as u32),
            out.clone().into_linear_view(),
            low.into_linear_view(),
            factor.tensor.into_linear_view(),
            bias.into_linear_view(),
            mask(dropout),
            shape[0],
            shape[1],
            rank,
            factor.lines_are_wide,
            has_bias,
            dtypes,
        );
    }
}

#[cube(launch_unchecked)]
fn spread_kernel<O: Float, L: Float, T: Float, S: Float>(
    out: &mut LinearView<O, ReadWrite>,
    low: &LinearView<L>,
    factor: &LinearView<T>,
    bias: &LinearView<S>,
    mask: &Mask,
    rows: usize,
    width: usize,
    rank: usize,
    #[comptime] lines_are_wide: bool,
    #[comptime] has_bias: bool,
    #[define(O, L, T, S)] _dtypes: [StorageType; 4],
) {
    let unit = UNIT_POS as usize;
    let column = CUBE_POS_X as usize * UNITS + unit;
    let first_row = CUBE_POS_Y as usize * ROWS;
    let mut tile = SharedMemory::<f32>::new(comptime!(ROWS * RANKS));
    let mut sums = Array::<f32>::new(ROWS);
    #[unroll]
    for row in 0..ROWS {
        sums[row] = f32::new(0.0);
    }
    let mut first_rank = 0usize.runtime();
    while first_rank < rank {
        load_low::<L>(low, &mut tile, first_row, first_rank, rows, rank, ROWS);
        sync_cube();
        if column < width {
            #[unroll]
            for own_rank in 0..RANKS {
                let rank_index = first_rank + own_rank;
                if rank_index < rank {
                    let mut from = column * rank + rank_index;
                    if comptime!(lines_are_wide) {
                        from = rank_index * width + column;
                    }
                    let coefficient = f32::cast_from(factor[from]);
                    #[unroll]
                    for row in 0..ROWS {
                        sums[row] += tile[comptime!(row * RANKS + own_rank)] * coefficient;
                    }
                }
            }
        }
        sync_cube();
        first_rank += RANKS;
    }
    if column < width {
        let mut constant = f32::new(0.0);
        if comptime!(has_bias) {
            constant = f32::cast_from(bias[column]);
        }
        #[unroll]
        for row in 0..ROWS {
            if first_row + row < rows {
                let place = (first_row + row) * width + column;
                let delta = masked(sums[row], place, mask) + constant;
                out[place] = O::cast_from(f32::cast_from(out[place]) + delta);
            }
        }
    }
}

//! The gradient of a factor: the sum over the rows of `drop(values) ⊗ low`.
//!
//! A cube has a few columns and some of the ranks. Its units share the rows, and their sums are added in the order
//! of the units.

use burn::tensor::TensorMetadata;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::factor::{Factor, RANKS, UNITS};
use super::low::load_low;
use crate::layers::ops::cube::empty;
use crate::layers::ops::dropout::Dropout;
use crate::layers::ops::dropout::cube::{Mask, mask, masked};

/// Columns of a cube.
const COLUMNS: usize = 32;
/// Units that share the rows of a column.
const LANES: usize = UNITS / COLUMNS;
/// Rows of `low` that are in shared memory at a time.
const ROWS: usize = 64;

/// The gradient of `factor`, in its shape and type. `values`: `[rows, width]`, `low`: `[rows, rank]`.
pub(super) fn outer<R: CubeRuntime>(
    values: CubeTensor<R>,
    low: CubeTensor<R>,
    factor: &Factor<R>,
    dropout: Option<Dropout>,
) -> CubeTensor<R> {
    let (client, shape, rank) = (values.client.clone(), values.shape(), factor.rank());
    let out = empty(&values, factor.tensor.shape(), factor.tensor.dtype);
    let count = [shape[1].div_ceil(COLUMNS), rank.div_ceil(RANKS)].map(|count| count as u32);
    let dtypes = [values.dtype.into(), low.dtype.into(), out.dtype.into()];
    // SAFETY: no unit reads or writes beyond the rows, the columns and the ranks.
    unsafe {
        outer_kernel::launch_unchecked(
            &client,
            CubeCount::Static(count[0], count[1], 1),
            CubeDim::new_1d(UNITS as u32),
            values.into_linear_view(),
            low.into_linear_view(),
            out.clone().into_linear_view(),
            mask(dropout),
            shape[0],
            shape[1],
            rank,
            factor.lines_are_wide,
            dtypes,
        );
    }
    out
}

#[cube(launch_unchecked)]
fn outer_kernel<V: Float, L: Float, T: Float>(
    values: &LinearView<V>,
    low: &LinearView<L>,
    out: &mut LinearView<T, ReadWrite>,
    mask: &Mask,
    rows: usize,
    width: usize,
    rank: usize,
    #[comptime] lines_are_wide: bool,
    #[define(V, L, T)] _dtypes: [StorageType; 3],
) {
    let unit = UNIT_POS as usize;
    let (column, lane) = (
        CUBE_POS_X as usize * COLUMNS + unit % COLUMNS,
        unit / COLUMNS,
    );
    let first_rank = CUBE_POS_Y as usize * RANKS;
    // First for some rows of `low`, in the end for the sums of all units.
    let mut shared = SharedMemory::<f32>::new(comptime!(RANKS * UNITS));
    let mut sums = Array::<f32>::new(RANKS);
    #[unroll]
    for rank in 0..RANKS {
        sums[rank] = f32::new(0.0);
    }
    let mut start = 0usize.runtime();
    while start < rows {
        load_low::<L>(low, &mut shared, start, first_rank, rows, rank, ROWS);
        sync_cube();
        if column < width {
            let end = min(ROWS, rows - start);
            let mut row = lane;
            while row < end {
                let from = (start + row) * width + column;
                let value = masked(f32::cast_from(values[from]), from, mask);
                #[unroll]
                for rank in 0..RANKS {
                    sums[rank] += value * shared[row * RANKS + rank];
                }
                row += LANES;
            }
        }
        sync_cube();
        start += ROWS;
    }
    #[unroll]
    for rank in 0..RANKS {
        shared[comptime!(rank * UNITS) + unit] = sums[rank];
    }
    sync_cube();
    let mut place = unit;
    while place < comptime!(RANKS * COLUMNS) {
        let (own_rank, column) = (place / COLUMNS, place % COLUMNS);
        let mut sum = f32::new(0.0);
        for lane in 0..LANES {
            sum += shared[own_rank * UNITS + lane * COLUMNS + column];
        }
        let rank_index = first_rank + own_rank;
        let column = CUBE_POS_X as usize * COLUMNS + column;
        if rank_index < rank && column < width {
            let mut to = column * rank + rank_index;
            if comptime!(lines_are_wide) {
                to = rank_index * width + column;
            }
            out[to] = T::cast_from(sum);
        }
        place += UNITS;
    }
}

//! A wide matrix times a factor, to the rank: `scale·drop(values)·factor`.
//!
//! A cube has a few rows. Its units bring a stretch of their columns to shared memory, each element masked once,
//! and share the ranks and the columns of the stretch among them.

use burn::tensor::{Shape, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::factor::{Factor, RANKS, UNITS};
use crate::layers::ops::cube::{empty, vector_size};
use crate::layers::ops::dropout::Dropout;
use crate::layers::ops::dropout::cube::{Mask, mask, masked};

/// Rows of a cube.
const ROWS: usize = 8;
/// Columns that are in shared memory at a time, a multiple of what a unit reads at once.
const COLUMNS: usize = 512;
/// Units that share the columns of a rank.
const LANES: usize = UNITS / RANKS;

/// `[rows, rank]`, in the type of `values`, `[rows, width]`.
pub(super) fn contract<R: CubeRuntime>(
    values: CubeTensor<R>,
    factor: Factor<R>,
    scale: f32,
    dropout: Option<Dropout>,
) -> CubeTensor<R> {
    let (client, shape, rank) = (values.client.clone(), values.shape(), factor.rank());
    let out = empty(&values, Shape::new([shape[0], rank]), values.dtype);
    let vector = vector_size(&[&values], shape[1]);
    let count = [shape[0].div_ceil(ROWS), rank.div_ceil(RANKS)].map(|count| count as u32);
    let dtypes = [values.dtype.into(), factor.tensor.dtype.into()];
    // SAFETY: no unit reads or writes beyond the rows, the columns and the ranks.
    unsafe {
        contract_kernel::launch_unchecked(
            &client,
            CubeCount::Static(count[0], count[1], 1),
            CubeDim::new_1d(UNITS as u32),
            vector,
            values.into_linear_view(),
            factor.tensor.into_linear_view(),
            out.clone().into_linear_view(),
            mask(dropout),
            shape[0],
            shape[1],
            rank,
            scale,
            factor.lines_are_wide,
            dtypes,
        );
    }
    out
}

#[cube(launch_unchecked)]
fn contract_kernel<V: Float, T: Float, N: Size>(
    values: &LinearView<Vector<V, N>>,
    factor: &LinearView<T>,
    out: &mut LinearView<V, ReadWrite>,
    mask: &Mask,
    rows: usize,
    width: usize,
    rank: usize,
    scale: f32,
    #[comptime] lines_are_wide: bool,
    #[define(V, T)] _dtypes: [StorageType; 2],
) {
    let unit = UNIT_POS as usize;
    let first_row = CUBE_POS_X as usize * ROWS;
    let first_rank = CUBE_POS_Y as usize * RANKS;
    // Neighbours read what lies side by side in the factor.
    let mut own_rank = unit % RANKS;
    let mut lane = unit / RANKS;
    if comptime!(lines_are_wide) {
        own_rank = unit / LANES;
        lane = unit % LANES;
    }
    let rank_index = first_rank + own_rank;
    let mut tile = SharedMemory::<f32>::new(comptime!(ROWS * COLUMNS));
    let mut sums = Array::<f32>::new(ROWS);
    #[unroll]
    for row in 0..ROWS {
        sums[row] = f32::new(0.0);
    }
    let mut start = 0usize.runtime();
    while start < width {
        load_tile::<V, N>(values, &mut tile, mask, first_row, start, rows, width);
        sync_cube();
        if rank_index < rank {
            let end = min(COLUMNS, width - start);
            let mut column = lane;
            while column < end {
                let mut place = (start + column) * rank + rank_index;
                if comptime!(lines_are_wide) {
                    place = rank_index * width + start + column;
                }
                let coefficient = f32::cast_from(factor[place]);
                #[unroll]
                for row in 0..ROWS {
                    sums[row] += tile[comptime!(row * COLUMNS) + column] * coefficient;
                }
                column += LANES;
            }
        }
        sync_cube();
        start += COLUMNS;
    }
    // What was for the columns holds the sums now, those of a rank side by side.
    let place = own_rank * LANES + lane;
    #[unroll]
    for row in 0..ROWS {
        tile[comptime!(row * UNITS) + place] = sums[row];
    }
    sync_cube();
    let row = unit / RANKS;
    let rank_index = first_rank + unit % RANKS;
    if row < ROWS && first_row + row < rows && rank_index < rank {
        let mut sum = f32::new(0.0);
        for lane in 0..LANES {
            sum += tile[row * UNITS + unit % RANKS * LANES + lane];
        }
        out[(first_row + row) * rank + rank_index] = V::cast_from(sum * scale);
    }
}

/// Brings a stretch of the columns of a cube's rows to shared memory.
#[cube]
fn load_tile<V: Float, N: Size>(
    values: &LinearView<Vector<V, N>>,
    tile: &mut SharedMemory<f32>,
    mask: &Mask,
    first_row: usize,
    start: usize,
    rows: usize,
    width: usize,
) {
    let across = COLUMNS / N::value();
    let mut place = UNIT_POS as usize;
    while place < ROWS * across {
        let row = first_row + place / across;
        let column = start / N::value() + place % across;
        if row < rows && column < width / N::value() {
            let from = row * (width / N::value()) + column;
            let vector = Vector::<f32, N>::cast_from(values[from]);
            #[unroll]
            for lane in 0..N::value() {
                tile[place * N::value() + lane] =
                    masked(vector[lane], from * N::value() + lane, mask);
            }
        } else {
            #[unroll]
            for lane in 0..N::value() {
                tile[place * N::value() + lane] = f32::new(0.0);
            }
        }
        place += UNITS;
    }
}

//! The forward pass: a cube has a tile of rows, and goes over the keys with a running maximum and sum (Dao et al.
//! 2022). Where there are too few rows to occupy a device, as in generation, several cubes share the keys of a tile.

// What the macro makes of a function has no comments.
#![allow(missing_docs)]
// Kernels know no such method of integers.
#![allow(clippy::manual_is_multiple_of)]

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::core_forward;
use super::heads::{HeadView, head_view};
use super::launch::Launch;
use super::tile::{
    Extent, Tile, add_weighted_keys, any_visible, head_and_query, load_intervals, load_keys,
    load_rows, place, products, result_index, sees, sum_index, unit, visible_range, zeroes,
};
use crate::layers::ops::cube::{empty, units};

/// Bytes of shared memory that a tile takes.
pub fn bytes(tile: &Tile) -> usize {
    let maxima = tile.rows() * tile.unit_keys * size_of::<f32>();
    let bounds = 2 * tile.rows() * size_of::<u32>();
    let others = match tile.tensor_cores {
        // Values beside keys, scores beside weights, and a factor for each row.
        true => tile.line_bytes(tile.keys()) + tile.score_bytes() + tile.rows() * size_of::<f32>(),
        false => 0,
    };
    tile.line_bytes(tile.rows() + tile.keys()) + tile.weight_bytes() + maxima + bounds + others
}

/// The result, and the logarithm of the sum of the exponentiated scores of each row.
pub fn forward<R: CubeRuntime>(
    launch: &Launch<R>,
    tile: Tile,
    [query, key, value]: [CubeTensor<R>; 3],
) -> (CubeTensor<R>, CubeTensor<R>) {
    let sizes = &launch.sizes;
    let (client, dtype) = (query.client.clone(), query.dtype);
    let tiles = sizes.keys.div_ceil(tile.keys());
    let row_tiles = sizes.rows().div_ceil(tile.rows());
    let splits = launch.splits(row_tiles, tiles);
    let part_dtype = if splits == 1 { dtype } else { DType::F32 };
    let [batch, queries, heads] = [sizes.batch, sizes.queries, sizes.heads];
    let shape = Shape::new([splits * batch, queries, heads, sizes.head_dim]);
    let out = empty(&query, shape, part_dtype);
    let sums = empty(
        &query,
        Shape::new([splits * batch, heads, queries]),
        DType::F32,
    );
    let dtypes = [dtype.into(), part_dtype.into()];
    let like = query.clone();
    // SAFETY: no unit reads or writes beyond the rows and keys.
    unsafe {
        let kernel = match tile.tensor_cores {
            true => core_forward::forward_kernel::launch_unchecked,
            false => forward_kernel::launch_unchecked,
        };
        kernel(
            &client,
            launch.cubes(row_tiles, splits),
            CubeDim::new_1d(tile.units() as u32),
            tile.lanes,
            head_view(query, tile.lanes),
            head_view(key, tile.lanes),
            head_view(value, tile.lanes),
            launch.intervals.clone().into_array_arg(),
            out.clone().into_array_arg(),
            sums.clone().into_array_arg(),
            launch.extent(tiles.div_ceil(splits)),
            launch.scale,
            launch.masked,
            tile,
            dtypes,
        );
    }
    match splits {
        1 => (out, sums),
        _ => merge(launch, tile, like, out, sums, splits),
    }
}

/// The result of what several cubes have of the same rows.
fn merge<R: CubeRuntime>(
    launch: &Launch<R>,
    tile: Tile,
    query: CubeTensor<R>,
    parts: CubeTensor<R>,
    part_sums: CubeTensor<R>,
    splits: usize,
) -> (CubeTensor<R>, CubeTensor<R>) {
    let (client, sizes, dtype) = (query.client.clone(), &launch.sizes, query.dtype);
    let out = empty(&query, query.shape(), dtype);
    let shape = Shape::new([sizes.batch, sizes.heads, sizes.queries]);
    let sums = empty(&query, shape, DType::F32);
    let (count, dim) = units(&client, out.shape().num_elements() / tile.lanes);
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        merge_kernel::launch_unchecked(
            &client,
            count,
            dim,
            tile.lanes,
            parts.into_array_arg(),
            part_sums.into_array_arg(),
            out.clone().into_array_arg(),
            sums.clone().into_array_arg(),
            splits,
            sizes.heads,
            sizes.queries,
            tile.width,
            dtype.into(),
        );
    }
    (out, sums)
}

#[cube(launch_unchecked)]
fn forward_kernel<F: Float, O: Float, N: Size>(
    query: &HeadView<Vector<F, N>>,
    key: &HeadView<Vector<F, N>>,
    value: &HeadView<Vector<F, N>>,
    intervals: &Array<i32>,
    out: &mut Array<Vector<O, N>>,
    sums: &mut Array<f32>,
    extent: Extent,
    scale: f32,
    #[comptime] masked: bool,
    #[comptime] tile: Tile,
    #[define(F, O)] _dtypes: [StorageType; 2],
) {
    let rows_each = comptime!(tile.rows_each);
    let keys_each = comptime!(tile.keys_each);
    let columns_each = comptime!(tile.columns_each());
    let (x, y) = unit(tile);
    let first_row = CUBE_POS_X as usize * comptime!(tile.rows());

    let mut rows = SharedMemory::<Vector<f32, N>>::new(comptime!(tile.rows() * tile.pitch()));
    // Of keys, then of their values.
    let mut lines = SharedMemory::<Vector<f32, N>>::new(comptime!(tile.keys() * tile.pitch()));
    let mut weights = SharedMemory::<f32>::new(comptime!(tile.rows() * tile.score_pitch()));
    let mut maxima = SharedMemory::<f32>::new(comptime!(tile.rows() * tile.unit_keys));
    let mut bounds = SharedMemory::<u32>::new(comptime!(2 * tile.rows()));
    load_rows::<F, f32, N>(query, &mut rows, first_row, &extent, tile);
    load_intervals(intervals, &mut bounds, first_row, &extent, masked, tile);
    sync_cube();
    let (low, high) = visible_range(&bounds, tile);

    let mut largest = Array::<f32>::new(rows_each);
    // Of the keys of this unit alone.
    let mut total = Array::<f32>::new(rows_each);
    #[unroll]
    for i in 0..rows_each {
        largest[i] = f32::min_value();
        total[i] = f32::new(0.0);
    }
    let mut context = zeroes::<N>(comptime!(rows_each * columns_each));
    let mut scores = Array::<f32>::new(comptime!(rows_each * keys_each));

    let mut first_key = CUBE_POS_Z as usize * extent.span * comptime!(tile.keys());
    let end = min(
        first_key + extent.span * comptime!(tile.keys()),
        extent.keys,
    );
    while first_key < end {
        if any_visible(first_key, low, high, &extent, tile) {
            load_keys::<F, f32, N>(key, &mut lines, first_key, &extent, tile);
            sync_cube();
            products::<N>(&rows, &lines, &mut scores, tile);
            #[unroll]
            for i in 0..rows_each {
                let line = y + comptime!(i * tile.unit_rows);
                let mut top = f32::min_value();
                #[unroll]
                for j in 0..keys_each {
                    let key = first_key + x + comptime!(j * tile.unit_keys);
                    let seen = sees(&bounds, line, key, &extent, tile);
                    let score = scores[comptime!(i * keys_each + j)] * scale;
                    let score = select(seen, score, f32::min_value());
                    scores[comptime!(i * keys_each + j)] = score;
                    top = max(top, score);
                }
                maxima[line * comptime!(tile.unit_keys) + x] = top;
            }
            sync_cube();
            load_keys::<F, f32, N>(value, &mut lines, first_key, &extent, tile);
            #[unroll]
            for i in 0..rows_each {
                let line = y + comptime!(i * tile.unit_rows);
                let before = largest[i];
                let mut top = before;
                #[unroll]
                for other in 0..comptime!(tile.unit_keys) {
                    top = max(top, maxima[line * comptime!(tile.unit_keys) + other]);
                }
                let kept = f32::exp(before - top);
                let mut sum = total[i] * kept;
                #[unroll]
                for j in 0..keys_each {
                    let score = scores[comptime!(i * keys_each + j)];
                    let hidden = score <= f32::min_value();
                    let weight = select(hidden, f32::new(0.0), f32::exp(score - top));
                    sum += weight;
                    let column = x + comptime!(j * tile.unit_keys);
                    weights[line * comptime!(tile.score_pitch()) + column] = weight;
                }
                largest[i] = top;
                total[i] = sum;
                #[unroll]
                for j in 0..columns_each {
                    let scaled = context[comptime!(i * columns_each + j)] * Vector::new(kept);
                    context[comptime!(i * columns_each + j)] = scaled;
                }
            }
            sync_cube();
            add_weighted_keys::<N>(&weights, &lines, &mut context, tile);
            sync_cube();
        }
        first_key += comptime!(tile.keys());
    }

    #[unroll]
    for i in 0..rows_each {
        let line = y + comptime!(i * tile.unit_rows);
        maxima[line * comptime!(tile.unit_keys) + x] = total[i];
    }
    sync_cube();
    let (row_of_batch, group) = place(&extent);
    let batch = CUBE_POS_Z as usize * extent.batch + row_of_batch;
    #[unroll]
    for i in 0..rows_each {
        let line = y + comptime!(i * tile.unit_rows);
        let row = first_row + line;
        if row < extent.rows {
            let mut sum = f32::new(0.0);
            #[unroll]
            for other in 0..comptime!(tile.unit_keys) {
                sum += maxima[line * comptime!(tile.unit_keys) + other];
            }
            // A row that sees nothing is zero.
            let seen = sum > f32::new(0.0);
            let divisor = select(seen, sum, f32::new(1.0));
            let inverse = f32::new(1.0) / divisor;
            let (head, query) = head_and_query(row, group, &extent);
            if x == 0 {
                let log_sum = select(seen, largest[i] + f32::ln(divisor), f32::min_value());
                sums[sum_index(batch, head, query, &extent)] = log_sum;
            }
            let start = result_index(batch, head, query, &extent, tile);
            #[unroll]
            for j in 0..columns_each {
                let column = x + comptime!(j * tile.unit_keys);
                if column < comptime!(tile.width) {
                    let result = context[comptime!(i * columns_each + j)] * Vector::new(inverse);
                    out[start + column] = Vector::cast_from(result);
                }
            }
        }
    }
}

/// `width`: vectors of a head.
#[cube(launch_unchecked)]
fn merge_kernel<F: Float, N: Size>(
    parts: &Array<Vector<f32, N>>,
    part_sums: &Array<f32>,
    out: &mut Array<Vector<F, N>>,
    sums: &mut Array<f32>,
    splits: usize,
    heads: usize,
    queries: usize,
    width: usize,
    #[define(F)] _dtype: StorageType,
) {
    let elements = out.len();
    if ABSOLUTE_POS >= elements {
        terminate!();
    }
    let line = ABSOLUTE_POS / width;
    let (head, token) = (line % heads, line / heads);
    let sum = (token / queries * heads + head) * queries + token % queries;
    let rows = elements / width;
    let mut largest = f32::min_value();
    for split in 0..splits {
        largest = max(largest, part_sums[split * rows + sum]);
    }
    let mut total = f32::new(0.0);
    let mut result = Vector::<f32, N>::new(f32::new(0.0));
    for split in 0..splits {
        let weight = f32::exp(part_sums[split * rows + sum] - largest);
        total += weight;
        result += Vector::new(weight) * parts[split * elements + ABSOLUTE_POS];
    }
    out[ABSOLUTE_POS] = Vector::cast_from(result * Vector::new(f32::new(1.0) / total));
    if ABSOLUTE_POS % width == 0 {
        sums[sum] = largest + f32::ln(total);
    }
}

//! The backward pass: the sums `rowsum(dO ∘ O)`, then the gradients of keys and values by cubes that have a tile of
//! keys and go over the rows, and those of queries by cubes that have a tile of rows and go over the keys. Both
//! compute the probabilities anew from the logarithms of their sums; no cube adds to what another one writes.

// What the macro makes of a function has no comments.
#![allow(missing_docs)]

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::core_backward;
use super::heads::{HeadView, head_view};
use super::launch::Launch;
use super::tile::{
    Extent, Tile, add_weighted_keys, add_weighted_rows, any_visible, head_and_query,
    load_intervals, load_keys, load_rows, load_sums, place, products, result_index, sees, unit,
    visible_range, zeroes,
};
use crate::layers::ops::cube::{empty, units};

/// Bytes of shared memory that a tile takes.
pub fn bytes(tile: &Tile) -> usize {
    let lines = tile.line_bytes(2 * (tile.rows() + tile.keys()));
    let scratch = if tile.tensor_cores {
        tile.score_bytes()
    } else {
        0
    };
    let sums = 2 * tile.rows() * size_of::<f32>();
    lines + scratch + 2 * tile.weight_bytes() + sums + 2 * tile.rows() * size_of::<u32>()
}

/// The gradients of queries, keys and values. `results`: the result, the logarithms of the sums, and the gradient of
/// the result.
pub fn backward<R: CubeRuntime>(
    launch: &Launch<R>,
    tile: Tile,
    operands: [CubeTensor<R>; 3],
    [output, log_sum_exp, grad]: [CubeTensor<R>; 3],
) -> (CubeTensor<R>, CubeTensor<R>, CubeTensor<R>) {
    let along = along(launch, tile, output, grad.clone());
    let results = [grad, log_sum_exp, along];
    let (grad_key, grad_value) = keys_and_values(launch, tile, operands.clone(), results.clone());
    let grad_query = queries(launch, tile, operands, results);
    (grad_query, grad_key, grad_value)
}

/// `rowsum(dO ∘ O)`, `[batch, heads, queries]`.
fn along<R: CubeRuntime>(
    launch: &Launch<R>,
    tile: Tile,
    output: CubeTensor<R>,
    grad: CubeTensor<R>,
) -> CubeTensor<R> {
    let (client, sizes) = (grad.client.clone(), &launch.sizes);
    let dtype = grad.dtype;
    let shape = Shape::new([sizes.batch, sizes.heads, sizes.queries]);
    let rows = shape.num_elements();
    let out = empty(&grad, shape, DType::F32);
    let (count, dim) = units(&client, rows);
    // SAFETY: no unit reads or writes beyond the rows.
    unsafe {
        along_kernel::launch_unchecked(
            &client,
            count,
            dim,
            tile.lanes,
            head_view(output, tile.lanes),
            head_view(grad, tile.lanes),
            out.clone().into_array_arg(),
            sizes.heads,
            sizes.queries,
            tile.width,
            dtype.into(),
        );
    }
    out
}

fn keys_and_values<R: CubeRuntime>(
    launch: &Launch<R>,
    tile: Tile,
    [query, key, value]: [CubeTensor<R>; 3],
    [grad, log_sum_exp, along]: [CubeTensor<R>; 3],
) -> (CubeTensor<R>, CubeTensor<R>) {
    let (client, sizes, dtype) = (query.client.clone(), &launch.sizes, query.dtype);
    let tiles = sizes.rows().div_ceil(tile.rows());
    let key_tiles = sizes.keys.div_ceil(tile.keys());
    let splits = launch.splits(key_tiles, tiles);
    let part_dtype = if splits == 1 { dtype } else { DType::F32 };
    let shape = |parts| {
        Shape::new([
            parts * sizes.batch,
            sizes.keys,
            sizes.groups,
            sizes.head_dim,
        ])
    };
    let grad_key = empty(&query, shape(splits), part_dtype);
    let grad_value = empty(&query, shape(splits), part_dtype);
    let dtypes = [dtype.into(), part_dtype.into()];
    // SAFETY: no unit reads or writes beyond the rows and keys.
    unsafe {
        let kernel = match tile.tensor_cores {
            true => core_backward::keys_kernel::launch_unchecked,
            false => keys_kernel::launch_unchecked,
        };
        kernel(
            &client,
            launch.cubes(key_tiles, splits),
            CubeDim::new_1d(tile.units() as u32),
            tile.lanes,
            head_view(query, tile.lanes),
            head_view(key, tile.lanes),
            head_view(value, tile.lanes),
            head_view(grad, tile.lanes),
            log_sum_exp.into_linear_view(),
            along.into_array_arg(),
            launch.intervals.clone().into_array_arg(),
            grad_key.clone().into_array_arg(),
            grad_value.clone().into_array_arg(),
            launch.extent(tiles.div_ceil(splits)),
            launch.scale,
            launch.masked,
            tile,
            dtypes,
        );
    }
    match splits {
        1 => (grad_key, grad_value),
        _ => {
            let sum = |parts| add_parts(parts, shape(1), dtype, tile.lanes, splits);
            (sum(grad_key), sum(grad_value))
        }
    }
}

/// The sum of parts that lie one after another.
fn add_parts<R: CubeRuntime>(
    parts: CubeTensor<R>,
    shape: Shape,
    dtype: DType,
    vector: usize,
    splits: usize,
) -> CubeTensor<R> {
    let client = parts.client.clone();
    let (count, dim) = units(&client, shape.num_elements() / vector);
    let out = empty(&parts, shape, dtype);
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        add_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            parts.into_array_arg(),
            out.clone().into_array_arg(),
            splits,
            dtype.into(),
        );
    }
    out
}

fn queries<R: CubeRuntime>(
    launch: &Launch<R>,
    tile: Tile,
    [query, key, value]: [CubeTensor<R>; 3],
    [grad, log_sum_exp, along]: [CubeTensor<R>; 3],
) -> CubeTensor<R> {
    let (client, sizes, dtype) = (query.client.clone(), &launch.sizes, query.dtype);
    let tiles = sizes.rows().div_ceil(tile.rows());
    let grad_query = empty(&query, query.shape(), dtype);
    // SAFETY: no unit reads or writes beyond the rows and keys.
    unsafe {
        let kernel = match tile.tensor_cores {
            true => core_backward::queries_kernel::launch_unchecked,
            false => queries_kernel::launch_unchecked,
        };
        kernel(
            &client,
            launch.cubes(tiles, 1),
            CubeDim::new_1d(tile.units() as u32),
            tile.lanes,
            head_view(query, tile.lanes),
            head_view(key, tile.lanes),
            head_view(value, tile.lanes),
            head_view(grad, tile.lanes),
            log_sum_exp.into_linear_view(),
            along.into_array_arg(),
            launch.intervals.clone().into_array_arg(),
            grad_query.clone().into_array_arg(),
            launch.extent(sizes.keys.div_ceil(tile.keys())),
            launch.scale,
            launch.masked,
            tile,
            dtype.into(),
        );
    }
    grad_query
}

/// A unit has a row. `width`: vectors of a head.
#[cube(launch_unchecked)]
fn along_kernel<F: Float, N: Size>(
    output: &HeadView<Vector<F, N>>,
    grad: &HeadView<Vector<F, N>>,
    out: &mut Array<f32>,
    heads: usize,
    queries: usize,
    width: usize,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let (query, line) = (ABSOLUTE_POS % queries, ABSOLUTE_POS / queries);
    let (head, batch) = (line % heads, line / heads);
    let mut sum = f32::new(0.0);
    for column in 0..width {
        let a = output[(batch, query, head, column)];
        let b = grad[(batch, query, head, column)];
        let product = Vector::<f32, N>::cast_from(a) * Vector::<f32, N>::cast_from(b);
        #[unroll]
        for lane in 0..N::value() {
            sum += product[lane];
        }
    }
    out[ABSOLUTE_POS] = sum;
}

#[cube(launch_unchecked)]
fn add_kernel<F: Float, N: Size>(
    parts: &Array<Vector<f32, N>>,
    out: &mut Array<Vector<F, N>>,
    splits: usize,
    #[define(F)] _dtype: StorageType,
) {
    let elements = out.len();
    if ABSOLUTE_POS >= elements {
        terminate!();
    }
    let mut sum = Vector::<f32, N>::new(f32::new(0.0));
    for split in 0..splits {
        sum += parts[split * elements + ABSOLUTE_POS];
    }
    out[ABSOLUTE_POS] = Vector::cast_from(sum);
}

/// Probabilities in the place of products of queries and keys, and gradients of the scores in the place of products
/// of gradients and values: `dS = P ∘ (dP - rowsum(dO ∘ O)) · scale`.
#[cube]
fn score_gradients(
    scores: &mut Array<f32>,
    grads: &mut Array<f32>,
    sums: &SharedMemory<f32>,
    bounds: &SharedMemory<u32>,
    first_key: usize,
    extent: &Extent,
    scale: f32,
    #[comptime] tile: Tile,
) {
    let (x, y) = unit(tile);
    let keys_each = comptime!(tile.keys_each);
    #[unroll]
    for i in 0..comptime!(tile.rows_each) {
        let line = y + comptime!(i * tile.unit_rows);
        let log_sum = sums[line];
        let along = sums[comptime!(tile.rows()) + line];
        #[unroll]
        for j in 0..keys_each {
            let index = comptime!(i * keys_each + j);
            let key = first_key + x + comptime!(j * tile.unit_keys);
            let seen = sees(bounds, line, key, extent, tile);
            let exponent = select(seen, scores[index] * scale - log_sum, f32::new(0.0));
            let probability = select(seen, f32::exp(exponent), f32::new(0.0));
            scores[index] = probability;
            grads[index] = probability * (grads[index] - along) * scale;
        }
    }
}

/// Writes a unit's scores to shared memory.
#[cube]
fn store_scores(scores: &Array<f32>, shared: &mut SharedMemory<f32>, #[comptime] tile: Tile) {
    let (x, y) = unit(tile);
    let keys_each = comptime!(tile.keys_each);
    #[unroll]
    for i in 0..comptime!(tile.rows_each) {
        let line = y + comptime!(i * tile.unit_rows);
        #[unroll]
        for j in 0..keys_each {
            let column = x + comptime!(j * tile.unit_keys);
            shared[line * comptime!(tile.score_pitch()) + column] =
                scores[comptime!(i * keys_each + j)];
        }
    }
}

#[cube(launch_unchecked)]
fn keys_kernel<F: Float, O: Float, N: Size>(
    query: &HeadView<Vector<F, N>>,
    key: &HeadView<Vector<F, N>>,
    value: &HeadView<Vector<F, N>>,
    grad: &HeadView<Vector<F, N>>,
    log_sum_exp: &LinearView<f32>,
    along: &Array<f32>,
    intervals: &Array<i32>,
    grad_key: &mut Array<Vector<O, N>>,
    grad_value: &mut Array<Vector<O, N>>,
    extent: Extent,
    scale: f32,
    #[comptime] masked: bool,
    #[comptime] tile: Tile,
    #[define(F, O)] _dtypes: [StorageType; 2],
) {
    let rows_each = comptime!(tile.rows_each);
    let keys_each = comptime!(tile.keys_each);
    let columns_each = comptime!(tile.columns_each());
    // Keys of which a unit sums the gradients.
    let sums_each = comptime!(tile.keys() / tile.unit_rows);
    let (x, y) = unit(tile);
    let first_key = CUBE_POS_X as usize * comptime!(tile.keys());

    let mut keys = SharedMemory::<Vector<f32, N>>::new(comptime!(tile.keys() * tile.pitch()));
    let mut values = SharedMemory::<Vector<f32, N>>::new(comptime!(tile.keys() * tile.pitch()));
    let mut rows = SharedMemory::<Vector<f32, N>>::new(comptime!(tile.rows() * tile.pitch()));
    let mut grads = SharedMemory::<Vector<f32, N>>::new(comptime!(tile.rows() * tile.pitch()));
    let mut weights = SharedMemory::<f32>::new(comptime!(tile.rows() * tile.score_pitch()));
    let mut slopes = SharedMemory::<f32>::new(comptime!(tile.rows() * tile.score_pitch()));
    let mut sums = SharedMemory::<f32>::new(comptime!(2 * tile.rows()));
    let mut bounds = SharedMemory::<u32>::new(comptime!(2 * tile.rows()));
    load_keys::<F, f32, N>(key, &mut keys, first_key, &extent, tile);
    load_keys::<F, f32, N>(value, &mut values, first_key, &extent, tile);

    let mut of_keys = zeroes::<N>(comptime!(sums_each * columns_each));
    let mut of_values = zeroes::<N>(comptime!(sums_each * columns_each));
    let mut scores = Array::<f32>::new(comptime!(rows_each * keys_each));
    let mut score_grads = Array::<f32>::new(comptime!(rows_each * keys_each));

    let mut first_row = CUBE_POS_Z as usize * extent.span * comptime!(tile.rows());
    let end = min(
        first_row + extent.span * comptime!(tile.rows()),
        extent.rows,
    );
    while first_row < end {
        load_intervals(intervals, &mut bounds, first_row, &extent, masked, tile);
        sync_cube();
        let (low, high) = visible_range(&bounds, tile);
        if any_visible(first_key, low, high, &extent, tile) {
            load_rows::<F, f32, N>(query, &mut rows, first_row, &extent, tile);
            load_rows::<F, f32, N>(grad, &mut grads, first_row, &extent, tile);
            load_sums(log_sum_exp, along, &mut sums, first_row, &extent, tile);
            sync_cube();
            products::<N>(&rows, &keys, &mut scores, tile);
            products::<N>(&grads, &values, &mut score_grads, tile);
            score_gradients(
                &mut scores,
                &mut score_grads,
                &sums,
                &bounds,
                first_key,
                &extent,
                scale,
                tile,
            );
            store_scores(&scores, &mut weights, tile);
            store_scores(&score_grads, &mut slopes, tile);
            sync_cube();
            add_weighted_rows::<N>(&weights, &grads, &mut of_values, tile);
            add_weighted_rows::<N>(&slopes, &rows, &mut of_keys, tile);
        }
        // The memory serves the next rows.
        sync_cube();
        first_row += comptime!(tile.rows());
    }

    let (row_of_batch, group) = place(&extent);
    let batch = CUBE_POS_Z as usize * extent.batch + row_of_batch;
    #[unroll]
    for i in 0..sums_each {
        let key = first_key + y + comptime!(i * tile.unit_rows);
        if key < extent.keys {
            let line = (batch * extent.keys + key) * extent.groups + group;
            let start = line * comptime!(tile.width);
            #[unroll]
            for j in 0..columns_each {
                let column = x + comptime!(j * tile.unit_keys);
                if column < comptime!(tile.width) {
                    let index = comptime!(i * columns_each + j);
                    grad_key[start + column] = Vector::cast_from(of_keys[index]);
                    grad_value[start + column] = Vector::cast_from(of_values[index]);
                }
            }
        }
    }
}

#[cube(launch_unchecked)]
fn queries_kernel<F: Float, N: Size>(
    query: &HeadView<Vector<F, N>>,
    key: &HeadView<Vector<F, N>>,
    value: &HeadView<Vector<F, N>>,
    grad: &HeadView<Vector<F, N>>,
    log_sum_exp: &LinearView<f32>,
    along: &Array<f32>,
    intervals: &Array<i32>,
    grad_query: &mut Array<Vector<F, N>>,
    extent: Extent,
    scale: f32,
    #[comptime] masked: bool,
    #[comptime] tile: Tile,
    #[define(F)] _dtype: StorageType,
) {
    let rows_each = comptime!(tile.rows_each);
    let keys_each = comptime!(tile.keys_each);
    let columns_each = comptime!(tile.columns_each());
    let (x, y) = unit(tile);
    let first_row = CUBE_POS_X as usize * comptime!(tile.rows());

    let mut keys = SharedMemory::<Vector<f32, N>>::new(comptime!(tile.keys() * tile.pitch()));
    let mut values = SharedMemory::<Vector<f32, N>>::new(comptime!(tile.keys() * tile.pitch()));
    let mut rows = SharedMemory::<Vector<f32, N>>::new(comptime!(tile.rows() * tile.pitch()));
    let mut grads = SharedMemory::<Vector<f32, N>>::new(comptime!(tile.rows() * tile.pitch()));
    let mut slopes = SharedMemory::<f32>::new(comptime!(tile.rows() * tile.score_pitch()));
    let mut sums = SharedMemory::<f32>::new(comptime!(2 * tile.rows()));
    let mut bounds = SharedMemory::<u32>::new(comptime!(2 * tile.rows()));
    load_rows::<F, f32, N>(query, &mut rows, first_row, &extent, tile);
    load_rows::<F, f32, N>(grad, &mut grads, first_row, &extent, tile);
    load_sums(log_sum_exp, along, &mut sums, first_row, &extent, tile);
    load_intervals(intervals, &mut bounds, first_row, &extent, masked, tile);
    sync_cube();
    let (low, high) = visible_range(&bounds, tile);

    let mut of_rows = zeroes::<N>(comptime!(rows_each * columns_each));
    let mut scores = Array::<f32>::new(comptime!(rows_each * keys_each));
    let mut score_grads = Array::<f32>::new(comptime!(rows_each * keys_each));

    let mut first_key = comptime!(0usize).runtime();
    while first_key < extent.keys {
        if any_visible(first_key, low, high, &extent, tile) {
            load_keys::<F, f32, N>(key, &mut keys, first_key, &extent, tile);
            load_keys::<F, f32, N>(value, &mut values, first_key, &extent, tile);
            sync_cube();
            products::<N>(&rows, &keys, &mut scores, tile);
            products::<N>(&grads, &values, &mut score_grads, tile);
            score_gradients(
                &mut scores,
                &mut score_grads,
                &sums,
                &bounds,
                first_key,
                &extent,
                scale,
                tile,
            );
            store_scores(&score_grads, &mut slopes, tile);
            sync_cube();
            add_weighted_keys::<N>(&slopes, &keys, &mut of_rows, tile);
            sync_cube();
        }
        first_key += comptime!(tile.keys());
    }

    let (batch, group) = place(&extent);
    #[unroll]
    for i in 0..rows_each {
        let row = first_row + y + comptime!(i * tile.unit_rows);
        if row < extent.rows {
            let (head, query) = head_and_query(row, group, &extent);
            let start = result_index(batch, head, query, &extent, tile);
            #[unroll]
            for j in 0..columns_each {
                let column = x + comptime!(j * tile.unit_keys);
                if column < comptime!(tile.width) {
                    let result = of_rows[comptime!(i * columns_each + j)];
                    grad_query[start + column] = Vector::cast_from(result);
                }
            }
        }
    }
}

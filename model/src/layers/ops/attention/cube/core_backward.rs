//! The backward pass on tensor cores: as in `backward.rs`, a plane having sixteen rows or keys.

// What the macro makes of a function has no comments.
#![allow(missing_docs)]

use burn_cubecl::cubecl;
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::fragments::{add_fragment_products, fragment_products, write_fragments, zero_fragments};
use super::heads::HeadView;
use super::tile::{
    Extent, Tile, any_visible, head_and_query, load_intervals, load_keys, load_rows, load_sums,
    place, result_index, sees, unit, visible_range,
};

/// The probabilities of a unit's scores, and the gradients of the scores to shared memory.
#[cube]
fn score_gradients<F: Float, N: Size>(
    rows: &SharedMemory<Vector<F, N>>,
    grads: &SharedMemory<Vector<F, N>>,
    keys: &SharedMemory<Vector<F, N>>,
    values: &SharedMemory<Vector<F, N>>,
    scratch: &mut SharedMemory<f32>,
    probabilities: &mut Array<f32>,
    slopes: &mut SharedMemory<F>,
    sums: &SharedMemory<f32>,
    bounds: &SharedMemory<u32>,
    first_key: usize,
    extent: &Extent,
    scale: f32,
    #[comptime] tile: Tile,
) {
    let (x, y) = unit(tile);
    let keys_each = comptime!(tile.keys_each);
    let log_sum = sums[y];
    let along = sums[comptime!(tile.rows()) + y];
    fragment_products::<F, N>(rows, keys, scratch, tile);
    sync_plane();
    #[unroll]
    for j in 0..keys_each {
        let column = x + comptime!(2 * j);
        let seen = sees(bounds, y, first_key + column, extent, tile);
        let score = scratch[y * comptime!(tile.score_pitch()) + column] * scale;
        let exponent = select(seen, score - log_sum, f32::new(0.0));
        probabilities[j] = select(seen, f32::exp(exponent), f32::new(0.0));
    }
    sync_plane();
    fragment_products::<F, N>(grads, values, scratch, tile);
    sync_plane();
    #[unroll]
    for j in 0..keys_each {
        let column = x + comptime!(2 * j);
        let grad = scratch[y * comptime!(tile.score_pitch()) + column];
        let slope = probabilities[j] * (grad - along) * scale;
        slopes[y * comptime!(tile.weight_pitch()) + column] = F::cast_from(slope);
    }
}

#[cube(launch_unchecked)]
pub fn keys_kernel<F: Float, O: Float, N: Size>(
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
    let keys_each = comptime!(tile.keys_each);
    let (x, y) = unit(tile);
    let first_key = CUBE_POS_X as usize * comptime!(tile.keys());

    let row_vectors = comptime!(tile.rows() * tile.pitch());
    let key_vectors = comptime!(tile.keys() * tile.pitch());
    let mut keys = SharedMemory::<Vector<F, N>>::new_aligned(key_vectors, 32usize);
    let mut values = SharedMemory::<Vector<F, N>>::new_aligned(key_vectors, 32usize);
    let mut rows = SharedMemory::<Vector<F, N>>::new_aligned(row_vectors, 32usize);
    let mut grads = SharedMemory::<Vector<F, N>>::new_aligned(row_vectors, 32usize);
    let scratch_size = comptime!(tile.rows() * tile.score_pitch());
    let mut scratch = SharedMemory::<f32>::new_aligned(scratch_size, 32usize);
    let weights_size = comptime!(tile.rows() * tile.weight_pitch());
    let mut weights = SharedMemory::<F>::new_aligned(weights_size, 32usize);
    let mut slopes = SharedMemory::<F>::new_aligned(weights_size, 32usize);
    let mut sums = SharedMemory::<f32>::new(comptime!(2 * tile.rows()));
    let mut bounds = SharedMemory::<u32>::new(comptime!(2 * tile.rows()));
    load_keys::<F, F, N>(key, &mut keys, first_key, &extent, tile);
    load_keys::<F, F, N>(value, &mut values, first_key, &extent, tile);

    let of_keys = zero_fragments(comptime!(tile.fragments()));
    let of_values = zero_fragments(comptime!(tile.fragments()));
    let mut probabilities = Array::<f32>::new(keys_each);

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
            load_rows::<F, F, N>(query, &mut rows, first_row, &extent, tile);
            load_rows::<F, F, N>(grad, &mut grads, first_row, &extent, tile);
            load_sums(log_sum_exp, along, &mut sums, first_row, &extent, tile);
            sync_cube();
            score_gradients::<F, N>(
                &rows,
                &grads,
                &keys,
                &values,
                &mut scratch,
                &mut probabilities,
                &mut slopes,
                &sums,
                &bounds,
                first_key,
                &extent,
                scale,
                tile,
            );
            #[unroll]
            for j in 0..keys_each {
                let column = x + comptime!(2 * j);
                let probability = F::cast_from(probabilities[j]);
                weights[y * comptime!(tile.weight_pitch()) + column] = probability;
            }
            sync_cube();
            add_fragment_products::<F, N>(&weights, &grads, &of_values, true, tile);
            add_fragment_products::<F, N>(&slopes, &rows, &of_keys, true, tile);
        }
        // The memory serves the next rows.
        sync_cube();
        first_row += comptime!(tile.rows());
    }

    let (row_of_batch, group) = place(&extent);
    let batch = CUBE_POS_Z as usize * extent.batch + row_of_batch;
    let exists = first_key + y < extent.keys;
    let line = (batch * extent.keys + first_key + y) * extent.groups + group;
    let start = line * comptime!(tile.width);
    let one = f32::new(1.0);
    write_fragments::<O, N>(&of_keys, grad_key, start, one, exists, &mut scratch, tile);
    write_fragments::<O, N>(
        &of_values,
        grad_value,
        start,
        one,
        exists,
        &mut scratch,
        tile,
    );
}

#[cube(launch_unchecked)]
pub fn queries_kernel<F: Float, N: Size>(
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
    let keys_each = comptime!(tile.keys_each);
    let (_x, y) = unit(tile);
    let first_row = CUBE_POS_X as usize * comptime!(tile.rows());

    let row_vectors = comptime!(tile.rows() * tile.pitch());
    let key_vectors = comptime!(tile.keys() * tile.pitch());
    let mut keys = SharedMemory::<Vector<F, N>>::new_aligned(key_vectors, 32usize);
    let mut values = SharedMemory::<Vector<F, N>>::new_aligned(key_vectors, 32usize);
    let mut rows = SharedMemory::<Vector<F, N>>::new_aligned(row_vectors, 32usize);
    let mut grads = SharedMemory::<Vector<F, N>>::new_aligned(row_vectors, 32usize);
    let scratch_size = comptime!(tile.rows() * tile.score_pitch());
    let mut scratch = SharedMemory::<f32>::new_aligned(scratch_size, 32usize);
    let weights_size = comptime!(tile.rows() * tile.weight_pitch());
    let mut slopes = SharedMemory::<F>::new_aligned(weights_size, 32usize);
    let mut sums = SharedMemory::<f32>::new(comptime!(2 * tile.rows()));
    let mut bounds = SharedMemory::<u32>::new(comptime!(2 * tile.rows()));
    load_rows::<F, F, N>(query, &mut rows, first_row, &extent, tile);
    load_rows::<F, F, N>(grad, &mut grads, first_row, &extent, tile);
    load_sums(log_sum_exp, along, &mut sums, first_row, &extent, tile);
    load_intervals(intervals, &mut bounds, first_row, &extent, masked, tile);
    sync_cube();
    let (low, high) = visible_range(&bounds, tile);

    let of_rows = zero_fragments(comptime!(tile.fragments()));
    let mut probabilities = Array::<f32>::new(keys_each);

    let mut first_key = comptime!(0usize).runtime();
    while first_key < extent.keys {
        if any_visible(first_key, low, high, &extent, tile) {
            load_keys::<F, F, N>(key, &mut keys, first_key, &extent, tile);
            load_keys::<F, F, N>(value, &mut values, first_key, &extent, tile);
            sync_cube();
            score_gradients::<F, N>(
                &rows,
                &grads,
                &keys,
                &values,
                &mut scratch,
                &mut probabilities,
                &mut slopes,
                &sums,
                &bounds,
                first_key,
                &extent,
                scale,
                tile,
            );
            sync_plane();
            add_fragment_products::<F, N>(&slopes, &keys, &of_rows, false, tile);
            sync_cube();
        }
        first_key += comptime!(tile.keys());
    }

    let (batch, group) = place(&extent);
    let exists = first_row + y < extent.rows;
    let row = min(first_row + y, extent.rows - 1);
    let (head, query) = head_and_query(row, group, &extent);
    let start = result_index(batch, head, query, &extent, tile);
    let one = f32::new(1.0);
    write_fragments::<F, N>(&of_rows, grad_query, start, one, exists, &mut scratch, tile);
}

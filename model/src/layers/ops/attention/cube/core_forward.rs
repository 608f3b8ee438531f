//! The forward pass on tensor cores: a plane has sixteen rows, and two units each row of scores.
//!
//! The sums of a row stand for a maximum that is raised only when a score is far above it, because to scale them
//! costs more than to add to them.

// What the macro makes of a function has no comments.
#![allow(missing_docs)]

use burn_cubecl::cubecl;
use cubecl::prelude::*;

use super::fragments::{
    add_fragment_products, first_own_row, fragment_products, scale_fragments, write_fragments,
    zero_fragments,
};
use super::heads::HeadView;
use super::tile::{
    Extent, SIDE, Tile, any_visible, head_and_query, load_intervals, load_keys, load_rows, place,
    result_index, sees, sum_index, unit, visible_range,
};

/// How far above the maximum a score may be: its exponential is then below 3,000, which f16 holds.
const SLACK: f32 = 8.0;

#[cube(launch_unchecked)]
pub fn forward_kernel<F: Float, O: Float, N: Size>(
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
    let keys_each = comptime!(tile.keys_each);
    let (x, y) = unit(tile);
    let own = first_own_row();
    let first_row = CUBE_POS_X as usize * comptime!(tile.rows());

    let row_vectors = comptime!(tile.rows() * tile.pitch());
    let key_vectors = comptime!(tile.keys() * tile.pitch());
    let mut rows = SharedMemory::<Vector<F, N>>::new_aligned(row_vectors, 32usize);
    let mut keys = SharedMemory::<Vector<F, N>>::new_aligned(key_vectors, 32usize);
    let mut values = SharedMemory::<Vector<F, N>>::new_aligned(key_vectors, 32usize);
    let scratch_size = comptime!(tile.rows() * tile.score_pitch());
    let mut scratch = SharedMemory::<f32>::new_aligned(scratch_size, 32usize);
    let weights_size = comptime!(tile.rows() * tile.weight_pitch());
    let mut weights = SharedMemory::<F>::new_aligned(weights_size, 32usize);
    let mut halves = SharedMemory::<f32>::new(comptime!(2 * tile.rows()));
    let mut factors = SharedMemory::<f32>::new(comptime!(tile.rows()));
    let mut bounds = SharedMemory::<u32>::new(comptime!(2 * tile.rows()));
    load_rows::<F, F, N>(query, &mut rows, first_row, &extent, tile);
    load_intervals(intervals, &mut bounds, first_row, &extent, masked, tile);
    sync_cube();
    let (low, high) = visible_range(&bounds, tile);

    let mut largest = f32::min_value();
    // Of the keys of this unit alone.
    let mut total = f32::new(0.0);
    let context = zero_fragments(comptime!(tile.fragments()));
    let mut scores = Array::<f32>::new(keys_each);

    let mut first_key = CUBE_POS_Z as usize * extent.span * comptime!(tile.keys());
    let end = min(
        first_key + extent.span * comptime!(tile.keys()),
        extent.keys,
    );
    while first_key < end {
        if any_visible(first_key, low, high, &extent, tile) {
            load_keys::<F, F, N>(key, &mut keys, first_key, &extent, tile);
            load_keys::<F, F, N>(value, &mut values, first_key, &extent, tile);
            sync_cube();
            fragment_products::<F, N>(&rows, &keys, &mut scratch, tile);
            sync_plane();
            let mut top = f32::min_value();
            #[unroll]
            for j in 0..keys_each {
                let column = x + comptime!(2 * j);
                let seen = sees(&bounds, y, first_key + column, &extent, tile);
                let score = scratch[y * comptime!(tile.score_pitch()) + column] * scale;
                let score = select(seen, score, f32::min_value());
                scores[j] = score;
                top = max(top, score);
            }
            halves[2 * y + x] = top;
            sync_plane();
            let top = max(halves[2 * y], halves[2 * y + 1]);
            let next = select(top > largest + SLACK, top, largest);
            let factor = f32::exp(largest - next);
            largest = next;
            total *= factor;
            #[unroll]
            for j in 0..keys_each {
                let score = scores[j];
                let hidden = score <= f32::min_value();
                let weight = select(hidden, f32::new(0.0), f32::exp(score - next));
                total += weight;
                let column = x + comptime!(2 * j);
                weights[y * comptime!(tile.weight_pitch()) + column] = F::cast_from(weight);
            }
            factors[y] = factor;
            sync_plane();
            let mut least = f32::new(1.0);
            #[unroll]
            for line in 0..SIDE {
                least = min(least, factors[own + line]);
            }
            if least < f32::new(1.0) {
                scale_fragments(&context, factor, &mut scratch, tile);
            }
            add_fragment_products::<F, N>(&weights, &values, &context, false, tile);
            sync_cube();
        }
        first_key += comptime!(tile.keys());
    }

    halves[2 * y + x] = total;
    sync_plane();
    let sum = halves[2 * y] + halves[2 * y + 1];
    // A row that sees nothing is zero.
    let seen = sum > f32::new(0.0);
    let divisor = select(seen, sum, f32::new(1.0));
    let (row_of_batch, group) = place(&extent);
    let batch = CUBE_POS_Z as usize * extent.batch + row_of_batch;
    let exists = first_row + y < extent.rows;
    let row = min(first_row + y, extent.rows - 1);
    let (head, query) = head_and_query(row, group, &extent);
    if exists && x == 0 {
        let log_sum = select(seen, largest + f32::ln(divisor), f32::min_value());
        sums[sum_index(batch, head, query, &extent)] = log_sum;
    }
    let start = result_index(batch, head, query, &extent, tile);
    let inverse = f32::new(1.0) / divisor;
    write_fragments::<O, N>(&context, out, start, inverse, exists, &mut scratch, tile);
}

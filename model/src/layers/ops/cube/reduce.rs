//! Reductions over the units of a cube, in an order that depends on their number alone.

// What the macro makes of a function has no comments.
#![allow(missing_docs)]

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::{empty, rows};

/// The sum of float32 values times a factor, `[1]`.
pub fn total<R: CubeRuntime>(values: CubeTensor<R>, factor: f64) -> CubeTensor<R> {
    let client = values.client.clone();
    let out = empty(&values, Shape::new([1]), DType::F32);
    let (count, dim) = rows(&client, 1, values.shape().num_elements());
    // SAFETY: no unit reads beyond the values, and one writes the only result.
    unsafe {
        total_kernel::launch_unchecked(
            &client,
            count,
            dim,
            values.into_linear_view(),
            out.clone().into_linear_view(),
            factor as f32,
            dim.x as usize,
        );
    }
    out
}

#[cube(launch_unchecked)]
fn total_kernel(
    values: &LinearView<f32>,
    out: &mut LinearView<f32, ReadWrite>,
    factor: f32,
    #[comptime] units: usize,
) {
    let mut sum = f32::new(0.0);
    let mut place = UNIT_POS as usize;
    while place < values.shape() {
        sum += values[place];
        place += units;
    }
    let sum = cube_sum(sum, units);
    if UNIT_POS == 0 {
        out[0] = sum * factor;
    }
}

/// The sum of a vector's elements.
#[cube]
pub fn lanes_sum<N: Size>(vector: Vector<f32, N>) -> f32 {
    let mut sum = vector[0];
    #[unroll]
    for lane in 1..N::value() {
        sum += vector[lane];
    }
    sum
}

/// The largest of a vector's elements.
#[cube]
pub fn lanes_max<N: Size>(vector: Vector<f32, N>) -> f32 {
    let mut largest = vector[0];
    #[unroll]
    for lane in 1..N::value() {
        largest = max(largest, vector[lane]);
    }
    largest
}

/// The sum of what the units of a cube give; all of them must call it. `units`, a power of two: how many they are.
#[cube]
pub fn cube_sum(value: f32, #[comptime] units: usize) -> f32 {
    let unit = UNIT_POS as usize;
    let mut values = SharedMemory::<f32>::new(units);
    values[unit] = value;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = values[unit + half];
            values[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    let sum = values[0];
    // The memory may serve the next reduction.
    sync_cube();
    sum
}

/// The largest of what the units of a cube give; see [`cube_sum()`].
#[cube]
pub fn cube_max(value: f32, #[comptime] units: usize) -> f32 {
    let unit = UNIT_POS as usize;
    let mut values = SharedMemory::<f32>::new(units);
    values[unit] = value;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = values[unit + half];
            values[unit] = max(values[unit], other);
        }
        sync_cube();
        half /= 2;
    }
    let largest = values[0];
    sync_cube();
    largest
}

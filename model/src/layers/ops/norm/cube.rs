//! Norms with a cube for each row, whose units sum it in shared memory.
//!
//! The gradient of a weight is a sum over all rows. It is made of the sums over a few rows each, which are added
//! in their order.

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::{NormOps, default};
use crate::layers::ops::cube::reduce::{cube_sum, lanes_sum};
use crate::layers::ops::cube::{empty, fused, own, rows, units, vector_size};

impl<R, F, I, BT> NormOps for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_rms_norm(x: CubeTensor<R>, weight: CubeTensor<R>, epsilon: f64) -> CubeTensor<R> {
        match fused(&[&x, &weight]) {
            true => rms_norm(x, weight, epsilon),
            false => default::rms_norm::<Self>(x, weight, epsilon),
        }
    }

    fn glm_residual_rms_norm(
        x: CubeTensor<R>,
        y: CubeTensor<R>,
        weight: CubeTensor<R>,
        epsilon: f64,
    ) -> (CubeTensor<R>, CubeTensor<R>) {
        let are_alike = x.shape() == y.shape() && x.dtype == y.dtype;
        match are_alike && fused(&[&x, &y, &weight]) {
            true => residual_rms_norm(x, y, weight, epsilon),
            false => default::residual_rms_norm::<Self>(x, y, weight, epsilon),
        }
    }

    fn glm_rms_norm_backward(
        x: CubeTensor<R>,
        weight: CubeTensor<R>,
        epsilon: f64,
        grad: CubeTensor<R>,
        residual: Option<CubeTensor<R>>,
        wants_weight: bool,
    ) -> (CubeTensor<R>, Option<CubeTensor<R>>) {
        let alike = |residual: &CubeTensor<R>| residual.dtype == x.dtype;
        if !fused(&[&x, &weight, &grad]) || !residual.as_ref().is_none_or(alike) {
            let (grad_x, grad_weight) =
                default::rms_norm_backward::<Self>(x, weight, epsilon, grad, wants_weight);
            return (default::onto::<Self>(residual, grad_x), grad_weight);
        }
        let (grad_x, grads) = backward(x, weight, epsilon, grad, residual, false, wants_weight);
        (grad_x, grads.map(|[weight, _]| weight))
    }

    fn glm_layer_norm(
        x: CubeTensor<R>,
        weight: CubeTensor<R>,
        bias: CubeTensor<R>,
        epsilon: f64,
    ) -> CubeTensor<R> {
        match fused(&[&x, &weight, &bias]) {
            true => layer_norm(x, weight, bias, epsilon),
            false => default::layer_norm::<Self>(x, weight, bias, epsilon),
        }
    }

    fn glm_layer_norm_backward(
        x: CubeTensor<R>,
        weight: CubeTensor<R>,
        epsilon: f64,
        grad: CubeTensor<R>,
        wants_weight: bool,
    ) -> (CubeTensor<R>, Option<(CubeTensor<R>, CubeTensor<R>)>) {
        if !fused(&[&x, &weight, &grad]) {
            return default::layer_norm_backward::<Self>(x, weight, epsilon, grad, wants_weight);
        }
        let (grad_x, grads) = backward(x, weight, epsilon, grad, None, true, wants_weight);
        (grad_x, grads.map(|[weight, bias]| (weight, bias)))
    }
}

fn rms_norm<R: CubeRuntime>(
    x: CubeTensor<R>,
    weight: CubeTensor<R>,
    epsilon: f64,
) -> CubeTensor<R> {
    let (client, shape) = (x.client.clone(), x.shape());
    let [height, width] = matrix(&shape);
    let out = empty(&x, shape, x.dtype);
    let vector = vector_size(&[&x, &weight, &out], width);
    let (count, dim) = rows(&client, height, width / vector);
    let dtypes = [x.dtype.into(), weight.dtype.into()];
    // SAFETY: no unit reads or writes beyond the rows.
    unsafe {
        rms_norm_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            x.into_linear_view(),
            weight.into_linear_view(),
            out.clone().into_linear_view(),
            epsilon as f32,
            dim.x as usize,
            dtypes,
        );
    }
    out
}

/// Rows and width of `[…, width]`.
fn matrix(shape: &[usize]) -> [usize; 2] {
    let width = shape.last().copied().unwrap_or(1);
    [shape.iter().product::<usize>() / width.max(1), width]
}

/// The sum is written over `y` if nobody else holds it.
fn residual_rms_norm<R: CubeRuntime>(
    x: CubeTensor<R>,
    y: CubeTensor<R>,
    weight: CubeTensor<R>,
    epsilon: f64,
) -> (CubeTensor<R>, CubeTensor<R>) {
    let (client, shape) = (x.client.clone(), x.shape());
    let [height, width] = matrix(&shape);
    let sum = own(y);
    let out = empty(&x, shape, x.dtype);
    let vector = vector_size(&[&x, &sum, &weight, &out], width);
    let (count, dim) = rows(&client, height, width / vector);
    let dtypes = [x.dtype.into(), weight.dtype.into()];
    // SAFETY: no unit reads or writes beyond the rows.
    unsafe {
        residual_rms_norm_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            x.into_linear_view(),
            sum.clone().into_linear_view(),
            weight.into_linear_view(),
            out.clone().into_linear_view(),
            epsilon as f32,
            dim.x as usize,
            dtypes,
        );
    }
    (sum, out)
}

fn layer_norm<R: CubeRuntime>(
    x: CubeTensor<R>,
    weight: CubeTensor<R>,
    bias: CubeTensor<R>,
    epsilon: f64,
) -> CubeTensor<R> {
    let (client, shape) = (x.client.clone(), x.shape());
    let out = empty(&x, shape.clone(), x.dtype);
    let vector = vector_size(&[&x, &weight, &bias, &out], shape[1]);
    let (count, dim) = rows(&client, shape[0], shape[1] / vector);
    let dtypes = [x.dtype.into(), weight.dtype.into(), bias.dtype.into()];
    // SAFETY: no unit reads or writes beyond the rows.
    unsafe {
        layer_norm_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            x.into_linear_view(),
            weight.into_linear_view(),
            bias.into_linear_view(),
            out.clone().into_linear_view(),
            epsilon as f32,
            dim.x as usize,
            dtypes,
        );
    }
    out
}

/// Rows whose part of a weight's gradient one unit sums.
const BLOCK: usize = 32;

/// The gradient of `x`, and those of weight and bias if they are wanted. `centered`: of the layer norm. The gradient of
/// `x` is added to `residual`, in its place if nobody else holds it.
fn backward<R: CubeRuntime>(
    x: CubeTensor<R>,
    weight: CubeTensor<R>,
    epsilon: f64,
    grad: CubeTensor<R>,
    residual: Option<CubeTensor<R>>,
    centered: bool,
    wants_weight: bool,
) -> (CubeTensor<R>, Option<[CubeTensor<R>; 2]>) {
    let (client, shape) = (x.client.clone(), x.shape());
    let [height, width] = matrix(&shape);
    let weight_dtype = weight.dtype;
    let adds = residual.is_some();
    let grad_x = match residual {
        Some(residual) => own(residual),
        None => empty(&x, shape, x.dtype),
    };
    let statistics = empty(&x, Shape::new([height, 2]), DType::F32);
    let vector = vector_size(&[&x, &weight, &grad, &grad_x], width);
    let (count, dim) = rows(&client, height, width / vector);
    let dtypes = [x.dtype.into(), weight_dtype.into(), grad.dtype.into()];
    // SAFETY: no unit reads or writes beyond the rows.
    unsafe {
        backward_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            x.clone().into_linear_view(),
            weight.into_linear_view(),
            grad.clone().into_linear_view(),
            grad_x.clone().into_linear_view(),
            statistics.clone().into_linear_view(),
            epsilon as f32,
            dim.x as usize,
            centered,
            adds,
            dtypes,
        );
    }
    let grads = wants_weight.then(|| weight_gradients(x, grad, statistics, weight_dtype));
    (grad_x, grads)
}

/// The gradients of weight and bias, of a type.
fn weight_gradients<R: CubeRuntime>(
    x: CubeTensor<R>,
    grad: CubeTensor<R>,
    statistics: CubeTensor<R>,
    dtype: DType,
) -> [CubeTensor<R>; 2] {
    let client = x.client.clone();
    let [height, width] = matrix(&x.shape());
    let blocks = height.div_ceil(BLOCK);
    let partial = || empty(&x, Shape::new([blocks, width]), DType::F32);
    let (partial_weight, partial_bias) = (partial(), partial());
    let result = || empty(&x, Shape::new([width]), dtype);
    let (weight, bias) = (result(), result());
    let vector = vector_size(&[&x, &grad, &partial_weight, &weight], width);
    let (count, dim) = units(&client, blocks * width / vector);
    let dtypes = [x.dtype.into(), grad.dtype.into()];
    // SAFETY: no unit reads or writes beyond the blocks, and no block reaches beyond the rows.
    unsafe {
        blocks_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            x.into_linear_view(),
            grad.into_linear_view(),
            statistics.into_linear_view(),
            partial_weight.clone().into_linear_view(),
            partial_bias.clone().into_linear_view(),
            height,
            width / vector,
            BLOCK,
            dtypes,
        );
    }
    let (count, dim) = units(&client, width / vector);
    // SAFETY: no unit reads or writes beyond the columns.
    unsafe {
        columns_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            partial_weight.into_linear_view(),
            partial_bias.into_linear_view(),
            weight.clone().into_linear_view(),
            bias.clone().into_linear_view(),
            blocks,
            dtype.into(),
        );
    }
    [weight, bias]
}

/// The mean of a row of `width` vectors from `start`.
#[cube]
fn row_mean<F: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    start: usize,
    width: usize,
    #[comptime] units: usize,
) -> f32 {
    let mut sum = Vector::<f32, N>::new(f32::new(0.0));
    let mut column = UNIT_POS as usize;
    while column < width {
        sum += Vector::<f32, N>::cast_from(x[start + column]);
        column += units;
    }
    cube_sum(lanes_sum::<N>(sum), units) / f32::cast_from(width * N::value())
}

/// `1 / sqrt(mean((x - mean)²) + epsilon)` of a row of `width` vectors from `start`.
#[cube]
fn inverse_deviation<F: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    start: usize,
    width: usize,
    mean: f32,
    epsilon: f32,
    #[comptime] units: usize,
) -> f32 {
    let mut sum = Vector::<f32, N>::new(f32::new(0.0));
    let mut column = UNIT_POS as usize;
    while column < width {
        let centered = Vector::<f32, N>::cast_from(x[start + column]) - Vector::new(mean);
        sum += centered * centered;
        column += units;
    }
    let sum = cube_sum(lanes_sum::<N>(sum), units);
    let variance = sum / f32::cast_from(width * N::value());
    f32::new(1.0) / f32::sqrt(variance + epsilon)
}

/// `(x - mean) · inverse` of the vector at a place.
#[cube]
fn normalized<F: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    place: usize,
    mean: f32,
    inverse: f32,
) -> Vector<f32, N> {
    (Vector::<f32, N>::cast_from(x[place]) - Vector::new(mean)) * Vector::new(inverse)
}

#[cube(launch_unchecked)]
fn rms_norm_kernel<F: Float, W: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    weight: &LinearView<Vector<W, N>>,
    out: &mut LinearView<Vector<F, N>, ReadWrite>,
    epsilon: f32,
    #[comptime] units: usize,
    #[define(F, W)] _dtypes: [StorageType; 2],
) {
    let width = weight.shape();
    let start = CUBE_POS * width;
    if start >= x.shape() {
        terminate!();
    }
    let inverse = inverse_deviation::<F, N>(x, start, width, f32::new(0.0), epsilon, units);
    let mut column = UNIT_POS as usize;
    while column < width {
        let normalized = Vector::<f32, N>::cast_from(x[start + column]) * Vector::new(inverse);
        let weighted = normalized * Vector::<f32, N>::cast_from(weight[column]);
        out[start + column] = Vector::cast_from(weighted);
        column += units;
    }
}

/// `sum` is `y` before.
#[cube(launch_unchecked)]
fn residual_rms_norm_kernel<F: Float, W: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    sum: &mut LinearView<Vector<F, N>, ReadWrite>,
    weight: &LinearView<Vector<W, N>>,
    out: &mut LinearView<Vector<F, N>, ReadWrite>,
    epsilon: f32,
    #[comptime] units: usize,
    #[define(F, W)] _dtypes: [StorageType; 2],
) {
    let width = weight.shape();
    let start = CUBE_POS * width;
    if start >= x.shape() {
        terminate!();
    }
    let mut squares = Vector::<f32, N>::new(f32::new(0.0));
    let mut column = UNIT_POS as usize;
    while column < width {
        let place = start + column;
        let exact = Vector::<f32, N>::cast_from(x[place]) + Vector::<f32, N>::cast_from(sum[place]);
        let rounded = Vector::<F, N>::cast_from(exact);
        sum[place] = rounded;
        let value = Vector::<f32, N>::cast_from(rounded);
        squares += value * value;
        column += units;
    }
    let mean = cube_sum(lanes_sum::<N>(squares), units) / f32::cast_from(width * N::value());
    let inverse = f32::new(1.0) / f32::sqrt(mean + epsilon);
    // A unit reads what it has written itself.
    let mut column = UNIT_POS as usize;
    while column < width {
        let place = start + column;
        let normalized = Vector::<f32, N>::cast_from(sum[place]) * Vector::new(inverse);
        let weighted = normalized * Vector::<f32, N>::cast_from(weight[column]);
        out[place] = Vector::cast_from(weighted);
        column += units;
    }
}

#[cube(launch_unchecked)]
fn layer_norm_kernel<F: Float, W: Float, V: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    weight: &LinearView<Vector<W, N>>,
    bias: &LinearView<Vector<V, N>>,
    out: &mut LinearView<Vector<F, N>, ReadWrite>,
    epsilon: f32,
    #[comptime] units: usize,
    #[define(F, W, V)] _dtypes: [StorageType; 3],
) {
    let width = weight.shape();
    let start = CUBE_POS * width;
    if start >= x.shape() {
        terminate!();
    }
    let mean = row_mean::<F, N>(x, start, width, units);
    let inverse = inverse_deviation::<F, N>(x, start, width, mean, epsilon, units);
    let mut column = UNIT_POS as usize;
    while column < width {
        let centered = Vector::<f32, N>::cast_from(x[start + column]) - Vector::new(mean);
        let weighted =
            centered * Vector::new(inverse) * Vector::<f32, N>::cast_from(weight[column]);
        let shifted = weighted + Vector::<f32, N>::cast_from(bias[column]);
        out[start + column] = Vector::cast_from(shifted);
        column += units;
    }
}

/// The gradient of `x`, added to what stands in its place if it `adds`, and mean and inverse deviation of each row.
#[cube(launch_unchecked)]
fn backward_kernel<F: Float, W: Float, G: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    weight: &LinearView<Vector<W, N>>,
    grad: &LinearView<Vector<G, N>>,
    grad_x: &mut LinearView<Vector<F, N>, ReadWrite>,
    statistics: &mut LinearView<f32, ReadWrite>,
    epsilon: f32,
    #[comptime] units: usize,
    #[comptime] centered: bool,
    #[comptime] adds: bool,
    #[define(F, W, G)] _dtypes: [StorageType; 3],
) {
    let width = weight.shape();
    let start = CUBE_POS * width;
    if start >= x.shape() {
        terminate!();
    }
    let mut mean = f32::new(0.0);
    if comptime!(centered) {
        mean = row_mean::<F, N>(x, start, width, units);
    }
    let inverse = inverse_deviation::<F, N>(x, start, width, mean, epsilon, units);

    let mut sum = Vector::<f32, N>::new(f32::new(0.0));
    let mut sum_along = Vector::<f32, N>::new(f32::new(0.0));
    let mut column = UNIT_POS as usize;
    while column < width {
        let normalized = normalized::<F, N>(x, start + column, mean, inverse);
        let scaled = Vector::<f32, N>::cast_from(grad[start + column])
            * Vector::<f32, N>::cast_from(weight[column]);
        sum += scaled;
        sum_along += scaled * normalized;
        column += units;
    }
    let count = f32::cast_from(width * N::value());
    let along = cube_sum(lanes_sum::<N>(sum_along), units) / count;
    let mut shift = f32::new(0.0);
    if comptime!(centered) {
        shift = cube_sum(lanes_sum::<N>(sum), units) / count;
    }

    let mut column = UNIT_POS as usize;
    while column < width {
        let normalized = normalized::<F, N>(x, start + column, mean, inverse);
        let scaled = Vector::<f32, N>::cast_from(grad[start + column])
            * Vector::<f32, N>::cast_from(weight[column]);
        let across = scaled - Vector::new(shift) - normalized * Vector::new(along);
        let mut result = across * Vector::new(inverse);
        if comptime!(adds) {
            result += Vector::<f32, N>::cast_from(grad_x[start + column]);
        }
        grad_x[start + column] = Vector::cast_from(result);
        column += units;
    }
    if UNIT_POS == 0 {
        statistics[CUBE_POS * 2] = mean;
        statistics[CUBE_POS * 2 + 1] = inverse;
    }
}

/// Parts of the gradients of weight and bias: the sums over `block` rows each.
#[cube(launch_unchecked)]
fn blocks_kernel<F: Float, G: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    grad: &LinearView<Vector<G, N>>,
    statistics: &LinearView<f32>,
    weight: &mut LinearView<Vector<f32, N>, ReadWrite>,
    bias: &mut LinearView<Vector<f32, N>, ReadWrite>,
    rows: usize,
    width: usize,
    #[comptime] block: usize,
    #[define(F, G)] _dtypes: [StorageType; 2],
) {
    if !weight.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let (first, column) = (ABSOLUTE_POS / width * block, ABSOLUTE_POS % width);
    let last = min(first + block, rows);
    let mut sum_weight = Vector::<f32, N>::new(f32::new(0.0));
    let mut sum_bias = Vector::<f32, N>::new(f32::new(0.0));
    for row in first..last {
        let (mean, inverse) = (statistics[row * 2], statistics[row * 2 + 1]);
        let place = row * width + column;
        let normalized = normalized::<F, N>(x, place, mean, inverse);
        let grad = Vector::<f32, N>::cast_from(grad[place]);
        sum_weight += grad * normalized;
        sum_bias += grad;
    }
    weight[ABSOLUTE_POS] = sum_weight;
    bias[ABSOLUTE_POS] = sum_bias;
}

/// The gradients of weight and bias: the parts of all blocks.
#[cube(launch_unchecked)]
fn columns_kernel<W: Float, N: Size>(
    partial_weight: &LinearView<Vector<f32, N>>,
    partial_bias: &LinearView<Vector<f32, N>>,
    weight: &mut LinearView<Vector<W, N>, ReadWrite>,
    bias: &mut LinearView<Vector<W, N>, ReadWrite>,
    blocks: usize,
    #[define(W)] _dtype: StorageType,
) {
    if !weight.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let width = weight.shape();
    let mut sum_weight = Vector::<f32, N>::new(f32::new(0.0));
    let mut sum_bias = Vector::<f32, N>::new(f32::new(0.0));
    for block in 0..blocks {
        sum_weight += partial_weight[block * width + ABSOLUTE_POS];
        sum_bias += partial_bias[block * width + ABSOLUTE_POS];
    }
    weight[ABSOLUTE_POS] = Vector::cast_from(sum_weight);
    bias[ABSOLUTE_POS] = Vector::cast_from(sum_bias);
}

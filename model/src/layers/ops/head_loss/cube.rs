//! Loss and gradient of a chunk of logits in one launch: a cube for each row, which reads it twice, for its
//! normaliser and for its gradient, and writes the gradient in the place of the logits.

use burn::tensor::ops::IntTensor;
use burn::tensor::{DType, Shape, Tensor, TensorMetadata};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::default::{self, ChunkLoss, RowLosses};
use super::{HeadAdapter, HeadGradients, HeadLoss, HeadLossOps};
use crate::layers::ops::cube::reduce::{cube_max, cube_sum, lanes_max, lanes_sum, total};
use crate::layers::ops::cube::{empty, fused, own, rows, units, vector_size};
use crate::layers::ops::primitive::{unwrap, wrap};

impl<R, F, I, BT> HeadLossOps for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_head_loss(
        hidden: CubeTensor<R>,
        weight: CubeTensor<R>,
        adapter: Option<HeadAdapter<Self>>,
        targets: IntTensor<Self>,
        wanted: HeadGradients,
    ) -> HeadLoss<Self> {
        match fused(&[&hidden, &weight]) {
            true => default::head_loss_by::<Self, Kernel>(hidden, weight, adapter, targets, wanted),
            false => default::head_loss::<Self>(hidden, weight, adapter, targets, wanted),
        }
    }

    fn glm_head_loss_backward(gradient: CubeTensor<R>, grad: CubeTensor<R>) -> CubeTensor<R> {
        match fused(&[&gradient, &grad]) {
            true => scaled(gradient, grad),
            false => default::backward::<Self>(gradient, grad),
        }
    }
}

/// Losses and gradients by the kernel.
struct Kernel;

impl<R, F, I, BT> RowLosses<CubeBackend<R, F, I, BT>> for Kernel
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn row_losses(
        logits: Tensor<CubeBackend<R, F, I, BT>, 2>,
        targets: Tensor<CubeBackend<R, F, I, BT>, 1, burn::tensor::Int>,
        rows: usize,
        factor: f64,
    ) -> ChunkLoss<CubeBackend<R, F, I, BT>> {
        let (losses, grad) = cross_entropy(unwrap(logits), targets.into_primitive(), factor);
        ChunkLoss {
            loss: wrap(total(losses, 1.0 / rows as f64)),
            grad: wrap(grad),
        }
    }
}

/// The loss of each row, and its gradient for the logits times a factor, in their type.
fn cross_entropy<R: CubeRuntime>(
    logits: CubeTensor<R>,
    targets: CubeTensor<R>,
    factor: f64,
) -> (CubeTensor<R>, CubeTensor<R>) {
    let logits = own(logits);
    let (client, shape) = (logits.client.clone(), logits.shape());
    let losses = empty(&logits, Shape::new([shape[0]]), DType::F32);
    let vector = vector_size(&[&logits], shape[1]);
    let (count, dim) = rows(&client, shape[0], shape[1] / vector);
    let dtypes = [logits.dtype.into(), targets.dtype.into()];
    // SAFETY: no unit reads or writes beyond the rows.
    unsafe {
        cross_entropy_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            logits.clone().into_linear_view(),
            targets.into_linear_view(),
            losses.clone().into_linear_view(),
            shape[1] / vector,
            factor as f32,
            dim.x as usize,
            dtypes,
        );
    }
    (losses, logits)
}

/// `values` times the only element of `factor`, in their place.
fn scaled<R: CubeRuntime>(values: CubeTensor<R>, factor: CubeTensor<R>) -> CubeTensor<R> {
    let values = own(values);
    let client = values.client.clone();
    let shape = values.shape();
    let vector = vector_size(&[&values], shape[shape.num_dims() - 1]);
    let (count, dim) = units(&client, shape.num_elements() / vector);
    let dtypes = [values.dtype.into(), factor.dtype.into()];
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        scale_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            values.clone().into_linear_view(),
            factor.into_linear_view(),
            dtypes,
        );
    }
    values
}

#[cube(launch_unchecked)]
fn scale_kernel<F: Float, G: Float, N: Size>(
    values: &mut LinearView<Vector<F, N>, ReadWrite>,
    factor: &LinearView<G>,
    #[define(F, G)] _dtypes: [StorageType; 2],
) {
    if !values.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let factor = Vector::<f32, N>::new(f32::cast_from(factor[0]));
    let product = Vector::<f32, N>::cast_from(values[ABSOLUTE_POS]) * factor;
    values[ABSOLUTE_POS] = Vector::cast_from(product);
}

/// `width`: vectors of a row.
#[cube(launch_unchecked)]
fn cross_entropy_kernel<F: Float, I: Int, N: Size>(
    logits: &mut LinearView<Vector<F, N>, ReadWrite>,
    targets: &LinearView<I>,
    losses: &mut LinearView<f32, ReadWrite>,
    width: usize,
    factor: f32,
    #[comptime] units: usize,
    #[define(F, I)] _dtypes: [StorageType; 2],
) {
    if CUBE_POS >= losses.shape() {
        terminate!();
    }
    let start = CUBE_POS * width;
    let target = usize::cast_from(targets[CUBE_POS]);

    // The largest logit so far, and the sum of the exponentials of the distances from it.
    let mut largest = f32::min_value();
    let mut sum = f32::new(0.0);
    let mut column = UNIT_POS as usize;
    while column < width {
        let values = Vector::<f32, N>::cast_from(logits[start + column]);
        let next = max(largest, lanes_max::<N>(values));
        let exponentials = Vector::exp(values - Vector::new(next));
        sum = sum * f32::exp(largest - next) + lanes_sum::<N>(exponentials);
        largest = next;
        column += units;
    }
    let row_largest = cube_max(largest, units);
    let row_sum = cube_sum(sum * f32::exp(largest - row_largest), units);
    let log_sum_exp = row_largest + f32::ln(row_sum);

    let mut column = UNIT_POS as usize;
    while column < width {
        let values = Vector::<f32, N>::cast_from(logits[start + column]);
        let mut grad = Vector::exp(values - Vector::new(log_sum_exp)) * Vector::new(factor);
        if column == target / N::value() {
            #[unroll]
            for lane in 0..N::value() {
                if lane == target % N::value() {
                    losses[CUBE_POS] = log_sum_exp - values[lane];
                    grad[lane] -= factor;
                }
            }
        }
        logits[start + column] = Vector::cast_from(grad);
        column += units;
    }
}

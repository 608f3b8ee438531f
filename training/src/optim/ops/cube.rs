//! GPUs through CubeCL (wgpu and CUDA): an update in one launch for each parameter, in place, and the squares of a
//! gradient in one.

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;
use glmtune_model::layers::ops::cube::reduce::{cube_sum, lanes_sum};
use glmtune_model::layers::ops::cube::{empty, fused, own, rows, units, vector_size};

use super::coefficients::Coefficients;
use super::{AdamMoments, AdamStep, TrainingBackend, default};

impl<R, F, I, BT> TrainingBackend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_squares(tensors: Vec<CubeTensor<R>>) -> CubeTensor<R> {
        match fused(&tensors.iter().collect::<Vec<_>>()) {
            true => squares(tensors),
            false => default::squares::<Self>(tensors),
        }
    }

    fn glm_adamw(
        weight: CubeTensor<R>,
        grad: CubeTensor<R>,
        moments: AdamMoments<Self>,
        step: &AdamStep,
    ) -> (CubeTensor<R>, AdamMoments<Self>) {
        let AdamMoments { first, second } = moments;
        let exact = [&weight, &first, &second].map(|tensor| tensor.dtype == DType::F32);
        if !fused(&[&weight, &grad, &first, &second]) || exact != [true; 3] {
            return default::adamw::<Self>(weight, grad, AdamMoments { first, second }, step);
        }
        let [weight, first, second] = adamw([weight, first, second], grad, step);
        (weight, AdamMoments { first, second })
    }

    fn glm_memory_in_use(device: &Self::Device) -> Option<u64> {
        // Reserved, not only in use: what the pools hold, no other program has.
        let usage = R::client(device).memory_usage();
        usage.ok().map(|usage| usage.bytes_reserved)
    }
}

/// Most cubes that share the elements of a tensor.
const SHARES: usize = 256;
/// Vectors that a unit reads at least, where there are so many.
const VECTORS: usize = 8;

/// The sums of squares of the shares of all tensors, one tensor after another.
fn squares<R: CubeRuntime>(tensors: Vec<CubeTensor<R>>) -> CubeTensor<R> {
    let width = |tensor: &CubeTensor<R>| tensor.shape().last().copied().unwrap_or(1);
    let plans: Vec<(usize, usize)> = tensors
        .iter()
        .map(|tensor| {
            let vector = vector_size(&[tensor], width(tensor));
            let vectors = tensor.shape().num_elements() / vector;
            let (_, dim) = rows(&tensor.client, 1, vectors);
            let shares = vectors.div_ceil(VECTORS * dim.x as usize);
            (vector, shares.min(SHARES))
        })
        .collect();
    let count = plans.iter().map(|(_, shares)| shares).sum();
    let out = empty(&tensors[0], Shape::new([count]), DType::F32);
    let mut offset = 0;
    for (tensor, (vector, shares)) in tensors.into_iter().zip(plans) {
        let (client, dtype) = (tensor.client.clone(), tensor.dtype);
        let (count, dim) = rows(&client, shares, tensor.shape().num_elements() / vector);
        // SAFETY: no unit reads beyond the elements, and no cube writes but its share.
        unsafe {
            squares_kernel::launch_unchecked(
                &client,
                count,
                dim,
                vector,
                tensor.into_linear_view(),
                out.clone().into_linear_view(),
                offset,
                shares,
                dim.x as usize,
                dtype.into(),
            );
        }
        offset += shares;
    }
    out
}

#[cube(launch_unchecked)]
fn squares_kernel<F: Float, N: Size>(
    values: &LinearView<Vector<F, N>>,
    out: &mut LinearView<f32, ReadWrite>,
    offset: usize,
    shares: usize,
    #[comptime] units: usize,
    #[define(F)] _dtype: StorageType,
) {
    if CUBE_POS >= shares {
        terminate!();
    }
    let mut sum = Vector::<f32, N>::new(f32::new(0.0));
    let mut place = CUBE_POS * units + UNIT_POS as usize;
    while place < values.shape() {
        let value = Vector::<f32, N>::cast_from(values[place]);
        sum += value * value;
        place += shares * units;
    }
    let sum = cube_sum(lanes_sum::<N>(sum), units);
    if UNIT_POS == 0 {
        out[offset + CUBE_POS] = sum;
    }
}

/// The weight and its moments after an update: those that were given, unless somebody else holds them too.
fn adamw<R: CubeRuntime>(
    state: [CubeTensor<R>; 3],
    grad: CubeTensor<R>,
    step: &AdamStep,
) -> [CubeTensor<R>; 3] {
    let [weight, first, second] = state.map(own);
    let (client, grad_dtype, shape) = (weight.client.clone(), grad.dtype, weight.shape());
    let width = shape.last().copied().unwrap_or(1);
    let vector = vector_size(&[&weight, &grad, &first, &second], width);
    let (count, dim) = units(&client, shape.num_elements() / vector);
    let c = Coefficients::of(step);
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        adamw_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            weight.clone().into_linear_view(),
            first.clone().into_linear_view(),
            second.clone().into_linear_view(),
            grad.into_linear_view(),
            c.grad_scale,
            c.beta1,
            c.beta2,
            c.rate,
            c.root,
            c.epsilon,
            c.keep,
            grad_dtype.into(),
        );
    }
    [weight, first, second]
}

#[cube(launch_unchecked)]
fn adamw_kernel<G: Float, N: Size>(
    weight: &mut LinearView<Vector<f32, N>, ReadWrite>,
    first: &mut LinearView<Vector<f32, N>, ReadWrite>,
    second: &mut LinearView<Vector<f32, N>, ReadWrite>,
    grad: &LinearView<Vector<G, N>>,
    grad_scale: f32,
    beta1: f32,
    beta2: f32,
    rate: f32,
    root: f32,
    epsilon: f32,
    keep: f32,
    #[define(G)] _dtype: StorageType,
) {
    let place = ABSOLUTE_POS;
    if !weight.is_in_bounds(place) {
        terminate!();
    }
    let one = f32::new(1.0);
    let g = Vector::<f32, N>::cast_from(grad[place]) * Vector::new(grad_scale);
    let m = Vector::new(beta1) * first[place] + Vector::new(one - beta1) * g;
    let v = Vector::new(beta2) * second[place] + Vector::new(one - beta2) * g * g;
    let denominator = Vector::sqrt(v) * Vector::new(root) + Vector::new(epsilon);
    weight[place] = weight[place] * Vector::new(keep) - Vector::new(rate) * m / denominator;
    first[place] = m;
    second[place] = v;
}

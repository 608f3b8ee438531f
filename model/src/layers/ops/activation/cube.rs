//! Gated activation and GELU in one launch each.

use burn::tensor::{Shape, TensorMetadata};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::{ActivationOps, default};
use crate::layers::ops::cube::{empty, fused, units, vector_size};

impl<R, F, I, BT> ActivationOps for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_swiglu(x: CubeTensor<R>) -> CubeTensor<R> {
        match fused(&[&x]) {
            true => swiglu(x),
            false => default::swiglu::<Self>(x),
        }
    }

    fn glm_swiglu_backward(x: CubeTensor<R>, grad: CubeTensor<R>) -> CubeTensor<R> {
        match fused(&[&x, &grad]) {
            true => swiglu_backward(x, grad),
            false => default::swiglu_backward::<Self>(x, grad),
        }
    }

    fn glm_gelu_tanh(x: CubeTensor<R>) -> CubeTensor<R> {
        match fused(&[&x]) {
            true => gelu_tanh(x),
            false => default::gelu_tanh::<Self>(x),
        }
    }

    fn glm_gelu_tanh_backward(x: CubeTensor<R>, grad: CubeTensor<R>) -> CubeTensor<R> {
        match fused(&[&x, &grad]) {
            true => gelu_tanh_backward(x, grad),
            false => default::gelu_tanh_backward::<Self>(x, grad),
        }
    }
}

fn swiglu<R: CubeRuntime>(x: CubeTensor<R>) -> CubeTensor<R> {
    let (client, dtype, shape) = (x.client.clone(), x.dtype, x.shape());
    let width = shape[1] / 2;
    let out = empty(&x, Shape::new([shape[0], width]), dtype);
    let vector = vector_size(&[&x, &out], width);
    let (count, dim) = units(&client, shape[0] * width / vector);
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        swiglu_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            x.into_linear_view(),
            out.clone().into_linear_view(),
            width / vector,
            dtype.into(),
        );
    }
    out
}

fn swiglu_backward<R: CubeRuntime>(x: CubeTensor<R>, grad: CubeTensor<R>) -> CubeTensor<R> {
    let (client, shape) = (x.client.clone(), x.shape());
    let width = shape[1] / 2;
    let out = empty(&x, shape.clone(), x.dtype);
    let vector = vector_size(&[&x, &grad, &out], width);
    let (count, dim) = units(&client, shape[0] * width / vector);
    let dtypes = [x.dtype.into(), grad.dtype.into()];
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        swiglu_backward_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            x.into_linear_view(),
            grad.into_linear_view(),
            out.clone().into_linear_view(),
            width / vector,
            dtypes,
        );
    }
    out
}

fn gelu_tanh<R: CubeRuntime>(x: CubeTensor<R>) -> CubeTensor<R> {
    let (client, dtype, shape) = (x.client.clone(), x.dtype, x.shape());
    let out = empty(&x, shape.clone(), dtype);
    let vector = vector_size(&[&x, &out], shape[1]);
    let (count, dim) = units(&client, shape.num_elements() / vector);
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        gelu_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            x.into_linear_view(),
            out.clone().into_linear_view(),
            dtype.into(),
        );
    }
    out
}

fn gelu_tanh_backward<R: CubeRuntime>(x: CubeTensor<R>, grad: CubeTensor<R>) -> CubeTensor<R> {
    let (client, shape) = (x.client.clone(), x.shape());
    let out = empty(&x, shape.clone(), x.dtype);
    let vector = vector_size(&[&x, &grad, &out], shape[1]);
    let (count, dim) = units(&client, shape.num_elements() / vector);
    let dtypes = [x.dtype.into(), grad.dtype.into()];
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        gelu_backward_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            x.into_linear_view(),
            grad.into_linear_view(),
            out.clone().into_linear_view(),
            dtypes,
        );
    }
    out
}

#[cube]
fn sigmoid<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(f32::new(1.0));
    one / (one + Vector::exp(Vector::new(f32::new(0.0)) - x))
}

/// `width`: vectors of a row of the result.
#[cube(launch_unchecked)]
fn swiglu_kernel<F: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    out: &mut LinearView<Vector<F, N>, ReadWrite>,
    width: usize,
    #[define(F)] _dtype: StorageType,
) {
    if !out.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    // Before each row of the result, there were the two halves of a row.
    let place = ABSOLUTE_POS / width * width + ABSOLUTE_POS;
    let gate = Vector::<f32, N>::cast_from(x[place]);
    let up = Vector::<f32, N>::cast_from(x[place + width]);
    out[ABSOLUTE_POS] = Vector::cast_from(sigmoid::<N>(gate) * gate * up);
}

/// `width`: vectors of a row of the gradient that comes in.
#[cube(launch_unchecked)]
fn swiglu_backward_kernel<F: Float, G: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    grad: &LinearView<Vector<G, N>>,
    out: &mut LinearView<Vector<F, N>, ReadWrite>,
    width: usize,
    #[define(F, G)] _dtypes: [StorageType; 2],
) {
    if !grad.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let place = ABSOLUTE_POS / width * width + ABSOLUTE_POS;
    let gate = Vector::<f32, N>::cast_from(x[place]);
    let up = Vector::<f32, N>::cast_from(x[place + width]);
    let grad = Vector::<f32, N>::cast_from(grad[ABSOLUTE_POS]);
    let one = Vector::<f32, N>::new(f32::new(1.0));
    let sigmoid = sigmoid::<N>(gate);
    // silu'(g) = σ(g)·(1 + g·(1 - σ(g)))
    let slope = sigmoid * (one + gate * (one - sigmoid));
    out[place] = Vector::cast_from(grad * up * slope);
    out[place + width] = Vector::cast_from(grad * sigmoid * gate);
}

/// `tanh(sqrt(2/π)·(x + 0.044715·x³))`, by an exponential that may overflow: drivers differ in what their own
/// tanh makes of large numbers.
#[cube]
fn gelu_inner<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(f32::new(1.0));
    let cubic = one + Vector::new(f32::new(0.044_715)) * x * x;
    let argument = Vector::new(f32::new(0.797_884_6)) * x * cubic;
    let two = Vector::<f32, N>::new(f32::new(2.0));
    one - two / (one + Vector::exp(two * argument))
}

#[cube(launch_unchecked)]
fn gelu_kernel<F: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    out: &mut LinearView<Vector<F, N>, ReadWrite>,
    #[define(F)] _dtype: StorageType,
) {
    if !out.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let x = Vector::<f32, N>::cast_from(x[ABSOLUTE_POS]);
    let one = Vector::<f32, N>::new(f32::new(1.0));
    let half = Vector::<f32, N>::new(f32::new(0.5));
    out[ABSOLUTE_POS] = Vector::cast_from(half * x * (one + gelu_inner::<N>(x)));
}

#[cube(launch_unchecked)]
fn gelu_backward_kernel<F: Float, G: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    grad: &LinearView<Vector<G, N>>,
    out: &mut LinearView<Vector<F, N>, ReadWrite>,
    #[define(F, G)] _dtypes: [StorageType; 2],
) {
    if !out.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let x = Vector::<f32, N>::cast_from(x[ABSOLUTE_POS]);
    let grad = Vector::<f32, N>::cast_from(grad[ABSOLUTE_POS]);
    let one = Vector::<f32, N>::new(f32::new(1.0));
    let half = Vector::<f32, N>::new(f32::new(0.5));
    let inner = gelu_inner::<N>(x);
    let cubic = one + Vector::new(f32::new(0.134_145)) * x * x;
    let argument_slope = Vector::new(f32::new(0.797_884_6)) * cubic;
    let slope = one + inner + x * (one - inner * inner) * argument_slope;
    out[ABSOLUTE_POS] = Vector::cast_from(half * grad * slope);
}

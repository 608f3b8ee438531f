//! Norms of Burn's operations.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, Tensor, TensorMetadata};

use crate::layers::ops::primitive::{from_f32, to_f32};
use crate::layers::ops::residual::ResidualOps;

/// `1 / sqrt(mean(x²) + epsilon)` per row.
fn inverse_rms<B: Backend>(x: Tensor<B, 2>, epsilon: f64) -> Tensor<B, 2> {
    (x.clone() * x)
        .mean_dim(1)
        .add_scalar(epsilon)
        .sqrt()
        .recip()
}

/// See [`NormOps::glm_rms_norm`](super::NormOps::glm_rms_norm).
pub fn rms_norm<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    epsilon: f64,
) -> FloatTensor<B> {
    let shape = x.shape();
    let (x, dtype) = to_f32::<B, 2>(rows::<B>(x));
    let (weight, _) = to_f32::<B, 1>(weight);
    let normalized = x.clone() * inverse_rms(x, epsilon);
    let output = from_f32(normalized * weight.unsqueeze::<2>(), dtype);
    B::float_reshape(output, shape)
}

/// `[…, width]` as `[rows, width]`.
fn rows<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let width = shape[shape.num_dims() - 1];
    B::float_reshape(x, Shape::new([shape.num_elements() / width.max(1), width]))
}

/// See [`NormOps::glm_residual_rms_norm`](super::NormOps::glm_residual_rms_norm).
pub fn residual_rms_norm<B: ResidualOps>(
    x: FloatTensor<B>,
    y: FloatTensor<B>,
    weight: FloatTensor<B>,
    epsilon: f64,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let sum = B::glm_residual_sum(x, y);
    (sum.clone(), rms_norm::<B>(sum, weight, epsilon))
}

/// A gradient, added to another one if there is one.
pub fn onto<B: ResidualOps>(
    residual: Option<FloatTensor<B>>,
    grad: FloatTensor<B>,
) -> FloatTensor<B> {
    match residual {
        Some(residual) => B::glm_residual_sum(residual, grad),
        None => grad,
    }
}

/// See [`NormOps::glm_rms_norm_backward`](super::NormOps::glm_rms_norm_backward).
pub fn rms_norm_backward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    epsilon: f64,
    grad: FloatTensor<B>,
    wants_weight: bool,
) -> (FloatTensor<B>, Option<FloatTensor<B>>) {
    let shape = x.shape();
    let (x, x_dtype) = to_f32::<B, 2>(rows::<B>(x));
    let (weight, weight_dtype) = to_f32::<B, 1>(weight);
    let (grad, _) = to_f32::<B, 2>(rows::<B>(grad));

    let inverse = inverse_rms(x.clone(), epsilon);
    let normalized = x * inverse.clone();
    let grad_weight =
        wants_weight.then(|| sum_of_rows::<B>(grad.clone() * normalized.clone(), weight_dtype));
    let scaled = grad * weight.unsqueeze::<2>();
    let along = (scaled.clone() * normalized.clone()).mean_dim(1);
    let grad_x = from_f32((scaled - normalized * along) * inverse, x_dtype);
    (B::float_reshape(grad_x, shape), grad_weight)
}

/// The sum over all rows, in a type.
fn sum_of_rows<B: Backend>(rows: Tensor<B, 2>, dtype: DType) -> FloatTensor<B> {
    from_f32(rows.sum_dim(0).squeeze_dim::<1>(0), dtype)
}

/// The standardised rows and the inverse of their standard deviations.
fn standardize<B: Backend>(x: Tensor<B, 2>, epsilon: f64) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let centered = x.clone() - x.mean_dim(1);
    let inverse = inverse_rms(centered.clone(), epsilon);
    (centered * inverse.clone(), inverse)
}

/// See [`NormOps::glm_layer_norm`](super::NormOps::glm_layer_norm).
pub fn layer_norm<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    epsilon: f64,
) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 2>(x);
    let (weight, _) = to_f32::<B, 1>(weight);
    let (bias, _) = to_f32::<B, 1>(bias);
    let (normalized, _) = standardize(x, epsilon);
    from_f32(
        normalized * weight.unsqueeze::<2>() + bias.unsqueeze::<2>(),
        dtype,
    )
}

/// See [`NormOps::glm_layer_norm_backward`](super::NormOps::glm_layer_norm_backward).
pub fn layer_norm_backward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    epsilon: f64,
    grad: FloatTensor<B>,
    wants_weight: bool,
) -> (FloatTensor<B>, Option<super::affine::AffineGradients<B>>) {
    let (x, x_dtype) = to_f32::<B, 2>(x);
    let (weight, weight_dtype) = to_f32::<B, 1>(weight);
    let (grad, _) = to_f32::<B, 2>(grad);

    let (normalized, inverse) = standardize(x, epsilon);
    let grad_weight = wants_weight.then(|| {
        (
            sum_of_rows::<B>(grad.clone() * normalized.clone(), weight_dtype),
            sum_of_rows::<B>(grad.clone(), weight_dtype),
        )
    });
    let scaled = grad * weight.unsqueeze::<2>();
    let mean = scaled.clone().mean_dim(1);
    let along = (scaled.clone() * normalized.clone()).mean_dim(1);
    let grad_x = (scaled - mean - normalized * along) * inverse;
    (from_f32(grad_x, x_dtype), grad_weight)
}

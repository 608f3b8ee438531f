//! AdamW and the norm of gradients: one pass over memory each.

use burn::tensor::{DType, Shape};
use burn_flex::Flex;
use glmtune_model::layers::ops::flex::Float;
use glmtune_model::layers::ops::flex::simd::{simd, sum};
use glmtune_model::layers::ops::flex::values::{Values, from_vec};
use rayon::prelude::*;

use super::{AdamMoments, AdamParameter, AdamStep, TrainingBackend, host_adamw};

/// Elements that one task computes. Fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 1 << 15;

impl TrainingBackend for Flex {
    fn glm_squares(tensors: Vec<Float>) -> Float {
        let sums: Vec<f32> = tensors.into_iter().map(sum_of_squares).collect();
        let shape = Shape::new([sums.len()]);
        from_vec(sums, shape, DType::F32)
    }

    fn glm_adamw(
        parameters: Vec<(AdamParameter<Flex>, Float)>,
        step: &AdamStep,
    ) -> Vec<AdamParameter<Flex>> {
        let parameters = parameters.into_iter();
        parameters
            .map(|(parameter, grad)| adamw(parameter, grad, step))
            .collect()
    }
}

fn sum_of_squares(x: Float) -> f32 {
    let x = Values::of(x);
    let sums: Vec<f64> = x.par_chunks(CHUNK).map(squares).collect();
    sums.iter().sum::<f64>() as f32
}

simd! {
fn squares(values: &[f32]) -> f64 {
    f64::from(sum(values.len(), |i| values[i] * values[i]))
}
}

/// See [`TrainingBackend::glm_adamw`](super::TrainingBackend::glm_adamw).
fn adamw(
    AdamParameter { weight, moments }: AdamParameter<Flex>,
    grad: Float,
    step: &AdamStep,
) -> AdamParameter<Flex> {
    let grad = Values::of(grad);
    let owned = |tensor: Float| tensor.to_contiguous();
    let mut weight = owned(weight);
    let (mut first, mut second) = (owned(moments.first), owned(moments.second));
    // In place; a tensor that is shared is copied first.
    host_adamw(
        weight.storage_mut(),
        first.storage_mut(),
        second.storage_mut(),
        &grad,
        step,
    );
    let moments = AdamMoments { first, second };
    AdamParameter { weight, moments }
}

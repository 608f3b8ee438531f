//! AdamW on the host's memory: one pass, in place, on all threads. The CPU backend and the optimizer that
//! keeps its state off the device share it.

use multiversion::multiversion;
use rayon::prelude::*;

use super::AdamStep;
use super::coefficients::Coefficients;

/// Elements that one task computes: small enough to balance, large enough to stream.
const CHUNK: usize = 1 << 15;

/// Updates a weight and its moments, all of one length.
pub fn host_adamw(
    weight: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    grad: &[f32],
    step: &AdamStep,
) {
    let coefficients = Coefficients::of(step);
    weight
        .par_chunks_mut(CHUNK)
        .zip(first.par_chunks_mut(CHUNK))
        .zip(second.par_chunks_mut(CHUNK))
        .zip(grad.par_chunks(CHUNK))
        .for_each(|(((weight, first), second), grad)| {
            update(weight, first, second, grad, &coefficients);
        });
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn update(
    weight: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    grad: &[f32],
    c: &Coefficients,
) {
    let len = weight.len();
    let (first, second, grad) = (&mut first[..len], &mut second[..len], &grad[..len]);
    for i in 0..len {
        let g = grad[i] * c.grad_scale;
        let m = c.beta1 * first[i] + (1.0 - c.beta1) * g;
        let v = c.beta2 * second[i] + (1.0 - c.beta2) * g * g;
        weight[i] = weight[i] * c.keep - c.rate * m / (v.sqrt() * c.root + c.epsilon);
        first[i] = m;
        second[i] = v;
    }
}

//! Residual sums on all threads, in registers whatever the type.

use burn::tensor::{Bytes, DType, Element, TensorMetadata};
use burn_flex::{Flex, FlexTensor, Layout};
use half::{bf16, f16};
use rayon::prelude::*;

use super::{ResidualOps, default};
use crate::layers::ops::flex::Float;
use crate::layers::ops::flex::products::{Number, add_to, sums};
use crate::layers::ops::flex::values::filled;

impl ResidualOps for Flex {
    fn glm_residual_sum(x: Float, y: Float) -> Float {
        residual_sum(x, y)
    }
}

/// Elements that one task adds.
const CHUNK: usize = 1 << 14;

/// See [`ResidualOps::glm_residual_sum`](super::ResidualOps::glm_residual_sum).
pub fn residual_sum(x: Float, y: Float) -> Float {
    let are_alike = x.shape() == y.shape() && x.dtype() == y.dtype();
    match x.dtype() {
        DType::F32 if are_alike => sum_of::<f32>(x, y),
        DType::F16 if are_alike => sum_of::<f16>(x, y),
        DType::BF16 if are_alike => sum_of::<bf16>(x, y),
        // Broadcasting, or a type that no model computes in.
        _ => default::residual_sum::<Flex>(x, y),
    }
}

fn sum_of<N: Number + Element + bytemuck::Pod>(x: Float, mut y: Float) -> Float {
    let x = x.to_contiguous();
    // In its own place, so that it has one holder.
    y = y.to_contiguous();
    let values: &[N] = x.storage();
    if let Some(out) = y.try_storage_mut::<N>() {
        let chunks = out.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK));
        chunks.for_each(|(out, values)| add_to(out, values));
        return y;
    }
    let others: &[N] = y.storage();
    // SAFETY: a chunk's elements are all written.
    let out = unsafe {
        filled(others.len(), CHUNK, |index, out| {
            let range = index * CHUNK..index * CHUNK + out.len();
            sums(&values[range.clone()], &others[range], out);
        })
    };
    let layout = Layout::contiguous(y.shape());
    FlexTensor::new(Bytes::from_elems(out), layout, y.dtype())
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Shape, TensorData};

    use super::*;

    fn tensor<N: Element + bytemuck::Pod>(values: &[f32]) -> Float {
        let values: Vec<N> = values.iter().map(|&value| N::from_elem(value)).collect();
        FlexTensor::from_data(TensorData::new(values, Shape::new([1, 3, 14_001])))
    }

    /// The sum is Burn's, to the bit, whether it is written over the second or not.
    fn check<N: Number + Element + bytemuck::Pod + std::fmt::Debug + PartialEq>() {
        let values = |factor: f32| -> Vec<f32> {
            let number = |i: usize| ((i * 7919) % 1013) as f32 * factor - 0.37;
            (0..3 * 14_001).map(number).collect()
        };
        let (x, y) = (values(0.013), values(-0.7));
        let expected = default::residual_sum::<Flex>(tensor::<N>(&x), tensor::<N>(&y));
        let held = tensor::<N>(&y);
        for y in [tensor::<N>(&y), held.clone()] {
            let found = residual_sum(tensor::<N>(&x), y);
            assert_eq!(found.shape(), expected.shape());
            assert!(found.storage::<N>() == expected.storage::<N>());
        }
        assert!(held.storage::<N>() == tensor::<N>(&y).storage::<N>());
    }

    #[test]
    fn sums_are_those_of_burn() {
        check::<f32>();
        check::<f16>();
        check::<bf16>();
    }
}

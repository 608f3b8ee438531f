//! The CPU's fused update against the default made of Burn's operations.

#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used)]

use burn::tensor::{Tensor, TensorData, TensorPrimitive};
use burn_flex::{Flex, FlexDevice, FlexTensor};
use glmtune_training::TrainingBackend;
use glmtune_training::optim::ops::{AdamMoments, AdamParameter, AdamStep, default};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SHAPE: [usize; 2] = [300, 257];
const STEPS: i32 = 5;
/// The order of sums differs.
const TOLERANCE: f32 = 1e-5;

fn random(generator: &mut ChaCha8Rng) -> FlexTensor {
    let count = SHAPE.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|_| generator.random_range(-1.0..1.0))
        .collect();
    let values = Tensor::<Flex, 2>::from_data(TensorData::new(values, SHAPE), &FlexDevice);
    values.into_primitive().tensor()
}

fn zeros() -> AdamMoments<Flex> {
    let zeros = || {
        let zeros = Tensor::<Flex, 2>::zeros(SHAPE, &FlexDevice);
        zeros.into_primitive().tensor()
    };
    AdamMoments {
        first: zeros(),
        second: zeros(),
    }
}

fn floats<const D: usize>(tensor: &FlexTensor) -> Vec<f32> {
    let tensor = Tensor::<Flex, D>::from_primitive(TensorPrimitive::Float(tensor.clone()));
    tensor.into_data().to_vec().unwrap()
}

fn assert_close<const D: usize>(what: &str, found: &FlexTensor, expected: &FlexTensor) {
    let (found, expected) = (floats::<D>(found), floats::<D>(expected));
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3f32, |max, x| max.max(x.abs()));
    for (index, (a, b)) in found.iter().zip(&expected).enumerate() {
        let error = (a - b).abs() / largest;
        assert!(error <= TOLERANCE, "{what}, element {index}: {a} and {b}");
    }
}

#[test]
fn adamw_and_norm() {
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let mut step = AdamStep {
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        step: 1,
        grad_scale: 0.5,
    };
    let mut parameter = || AdamParameter {
        weight: random(&mut generator),
        moments: zeros(),
    };
    let mut found = vec![parameter(), parameter()];
    let mut expected = found.clone();
    let with = |parameters: Vec<AdamParameter<Flex>>, grad: &FlexTensor| -> Vec<_> {
        let parameters = parameters.into_iter();
        parameters
            .map(|parameter| (parameter, grad.clone()))
            .collect()
    };
    for number in 1..=STEPS {
        step.step = number;
        let grad = random(&mut generator);
        let norm = Flex::glm_squares(vec![grad.clone(), grad.clone()]);
        let expected_norm = default::squares::<Flex>(vec![grad.clone(), grad.clone()]);
        assert_close::<1>("sum of squares", &norm, &expected_norm);
        found = Flex::glm_adamw(with(found, &grad), &step);
        expected = default::adamw::<Flex>(with(expected, &grad), &step);
        for (found, expected) in found.iter().zip(&expected) {
            assert_close::<2>("weight", &found.weight, &expected.weight);
            let (ours, theirs) = (&found.moments, &expected.moments);
            assert_close::<2>("first", &ours.first, &theirs.first);
            assert_close::<2>("second", &ours.second, &theirs.second);
        }
    }
}

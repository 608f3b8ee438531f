//! The kernels of an update.

use burn::tensor::{DType, Tensor};
use glmtune::training::TrainingBackend;
use glmtune::training::optim::ops::{AdamMoments, AdamParameter, AdamStep, default};

use super::{Trial, assert_close, floats, kernel_tests, primitive};

kernel_tests!(squares, adamw);

fn squares<B: TrainingBackend>(mut trial: Trial<B>) {
    for dtype in trial.types() {
        let tensors = vec![
            trial.random([1, 1], dtype),
            trial.random([33, 129], dtype),
            trial.columns([64, 40], dtype),
            trial.random([300, 1024], dtype),
        ];
        let sum = |parts: Vec<f32>| parts.into_iter().map(f64::from).sum::<f64>();
        let found = sum(floats::<B, 1>(B::glm_squares(tensors.clone())));
        let again = sum(floats::<B, 1>(B::glm_squares(tensors.clone())));
        assert_eq!(found, again);
        let expected = sum(floats::<B, 1>(default::squares::<B>(tensors)));
        let error = (found - expected).abs() / expected;
        assert!(error <= 1e-5, "{dtype:?}: {found} and {expected}");
    }
}

/// More parameters than a launch takes, of several kinds; one that two hold, which the first update copies.
fn adamw<B: TrainingBackend>(mut trial: Trial<B>) {
    let shapes = [[1, 1], [3, 7], [33, 129], [64, 512], [5, 4]];
    let shapes: Vec<[usize; 2]> = (0..40).map(|place| shapes[place % 5]).collect();
    let types = trial.types();
    let parameters = shapes.iter().map(|&shape| {
        let zeros = primitive(Tensor::<B, 2>::zeros(shape, (&trial.device, DType::F32)));
        AdamParameter::<B> {
            weight: trial.random(shape, DType::F32),
            moments: AdamMoments {
                first: zeros.clone(),
                second: zeros,
            },
        }
    });
    let mut found: Vec<_> = parameters.collect();
    let mut expected = found.clone();
    for step in 1..=4 {
        let step = AdamStep {
            lr: 1e-2,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            step,
            grad_scale: 0.5,
        };
        let grads = shapes.iter().enumerate().map(|(place, &shape)| {
            let dtype = types[place / 5 % types.len()];
            trial.random(shape, dtype)
        });
        let grads: Vec<_> = grads.collect();
        let with = |parameters: Vec<AdamParameter<B>>| parameters.into_iter().zip(grads.clone());
        found = B::glm_adamw(with(found).collect(), &step);
        expected = default::adamw::<B>(with(expected).collect(), &step);
        assert_eq!(found.len(), shapes.len());
        for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let what = |of: &str| format!("{of} {place} {:?}, step {}", shapes[place], step.step);
            for (of, found, expected) in [
                ("weight", &found.weight, &expected.weight),
                (
                    "first moment",
                    &found.moments.first,
                    &expected.moments.first,
                ),
                (
                    "second moment",
                    &found.moments.second,
                    &expected.moments.second,
                ),
            ] {
                let (found, expected) = (found.clone(), expected.clone());
                assert_close::<B, 2>(&what(of), DType::F32, found, expected);
            }
        }
    }
}

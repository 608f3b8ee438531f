//! The kernels of an update.

use burn::tensor::{DType, Tensor};
use glmtune::training::TrainingBackend;
use glmtune::training::optim::ops::{AdamMoments, AdamStep, default};

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

fn adamw<B: TrainingBackend>(mut trial: Trial<B>) {
    for dtype in trial.types() {
        for shape in [[1, 1], [3, 7], [33, 129], [64, 512]] {
            let zeros = || primitive(Tensor::<B, 2>::zeros(shape, (&trial.device, DType::F32)));
            let moments = || AdamMoments {
                first: zeros(),
                second: zeros(),
            };
            let (mut ours, mut theirs): (AdamMoments<B>, AdamMoments<B>) = (moments(), moments());
            let mut found = trial.random(shape, DType::F32);
            // Two hold it: the first update copies, the others are in place.
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
                let grad = trial.random(shape, dtype);
                (found, ours) = B::glm_adamw(found, grad.clone(), ours, &step);
                (expected, theirs) = default::adamw::<B>(expected, grad, theirs, &step);
                let what = |of: &str| format!("{of} {shape:?}, {dtype:?}, step {}", step.step);
                for (of, found, expected) in [
                    ("weight", &found, &expected),
                    ("first moment", &ours.first, &theirs.first),
                    ("second moment", &ours.second, &theirs.second),
                ] {
                    let (found, expected) = (found.clone(), expected.clone());
                    assert_close::<B, 2>(&what(of), DType::F32, found, expected);
                }
            }
        }
    }
}

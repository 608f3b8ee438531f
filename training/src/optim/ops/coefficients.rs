//! An update as the loop over elements needs it.

use super::AdamStep;

/// What an element needs of the step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coefficients {
    pub(super) grad_scale: f32,
    pub(super) beta1: f32,
    pub(super) beta2: f32,
    /// `lr / (1 - beta1^t)`.
    pub(super) rate: f32,
    /// `1 / sqrt(1 - beta2^t)`.
    pub(super) root: f32,
    pub(super) epsilon: f32,
    /// `1 - lr · weight_decay`.
    pub(super) keep: f32,
}

impl Coefficients {
    /// Those of a step.
    pub(super) fn of(step: &AdamStep) -> Self {
        let [correction1, correction2] = step.bias_corrections();
        Self {
            grad_scale: step.grad_scale as f32,
            beta1: step.beta1 as f32,
            beta2: step.beta2 as f32,
            rate: (step.lr / correction1) as f32,
            root: (1.0 / correction2.sqrt()) as f32,
            epsilon: step.epsilon as f32,
            keep: (1.0 - step.lr * step.weight_decay) as f32,
        }
    }
}

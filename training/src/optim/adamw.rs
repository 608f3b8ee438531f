//! AdamW (Loshchilov and Hutter 2019).

use std::collections::BTreeMap;

use burn::tensor::TensorMetadata;
use burn::tensor::ops::FloatTensor;
use glmtune_model::GlmBackend;
use glmtune_model::layers::ops::{AdamMoments, AdamStep};
use serde::Serialize;

use super::{Optimizer, Update};
use crate::error::{Error, Result};

/// Names of the moments, as PyTorch has them.
const FIRST: &str = "exp_avg.";
const SECOND: &str = "exp_avg_sq.";

/// Settings of AdamW.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AdamWSettings {
    /// Decay of the running mean of the gradient.
    pub beta1: f64,
    /// Decay of the running mean of its square.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay; every trained parameter decays.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
        }
    }
}

impl AdamWSettings {
    /// What is wrong with the settings.
    pub(crate) fn faults(&self) -> Vec<String> {
        let beta = |name: &str, value: f64| {
            (!(0.0..1.0).contains(&value))
                .then(|| format!("{name} is {value}, must be 0 to below 1"))
        };
        let least = |name: &str, value: f64| {
            let valid = value >= 0.0 && value.is_finite();
            (!valid).then(|| format!("{name} is {value}, must be 0 or more"))
        };
        let faults = [
            beta("beta1", self.beta1),
            beta("beta2", self.beta2),
            least("epsilon", self.epsilon),
            least("weight_decay", self.weight_decay),
        ];
        faults.into_iter().flatten().collect()
    }
}

/// AdamW with its moments on the device of the weights.
#[derive(Debug)]
pub struct AdamW<B: GlmBackend> {
    settings: AdamWSettings,
    moments: BTreeMap<String, AdamMoments<B>>,
}

impl<B: GlmBackend> AdamW<B> {
    /// An optimizer that has seen no gradient yet.
    pub fn new(settings: AdamWSettings) -> Self {
        Self {
            settings,
            moments: BTreeMap::new(),
        }
    }
}

impl<B: GlmBackend> Optimizer<B> for AdamW<B> {
    fn update(
        &mut self,
        path: &str,
        weight: FloatTensor<B>,
        grad: FloatTensor<B>,
        update: Update,
    ) -> FloatTensor<B> {
        let moments = self.moments.remove(path).unwrap_or_else(|| {
            let device = B::float_device(&weight);
            let zeros = || B::float_zeros(weight.shape(), &device, weight.dtype().into());
            AdamMoments {
                first: zeros(),
                second: zeros(),
            }
        });
        let step = AdamStep {
            lr: update.lr,
            beta1: self.settings.beta1,
            beta2: self.settings.beta2,
            epsilon: self.settings.epsilon,
            weight_decay: self.settings.weight_decay,
            step: i32::try_from(update.number).unwrap_or(i32::MAX),
            grad_scale: update.grad_scale,
        };
        let (weight, moments) = B::glm_adamw(weight, grad, moments, &step);
        self.moments.insert(path.to_string(), moments);
        weight
    }

    fn state(&self) -> Vec<(String, FloatTensor<B>)> {
        let moments = self.moments.iter();
        moments
            .flat_map(|(path, moments)| {
                [
                    (format!("{FIRST}{path}"), moments.first.clone()),
                    (format!("{SECOND}{path}"), moments.second.clone()),
                ]
            })
            .collect()
    }

    fn restore(&mut self, state: Vec<(String, FloatTensor<B>)>) -> Result<()> {
        let (mut first, mut second) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in state {
            if let Some(path) = name.strip_prefix(FIRST) {
                first.insert(path.to_string(), tensor);
            } else if let Some(path) = name.strip_prefix(SECOND) {
                second.insert(path.to_string(), tensor);
            } else {
                return Err(foreign(&name));
            }
        }
        self.moments.clear();
        for (path, first) in first {
            let second = second.remove(&path).ok_or_else(|| foreign(&path))?;
            self.moments.insert(path, AdamMoments { first, second });
        }
        match second.into_keys().next() {
            None => Ok(()),
            Some(path) => Err(foreign(&path)),
        }
    }
}

fn foreign(name: &str) -> Error {
    Error::Request(format!("`{name}` is no complete state of AdamW"))
}

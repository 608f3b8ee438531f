//! AdamW (Loshchilov and Hutter 2019).

use std::collections::BTreeMap;

use burn::tensor::TensorMetadata;
use burn::tensor::ops::FloatTensor;
use glmtune_model::GlmBackend;
use glmtune_model::resident::staying;
use serde::Serialize;

use super::ops::{AdamMoments, AdamParameter, AdamStep, TrainingBackend};
use super::{Optimizer, ParameterUpdate, ReadState, StateTensor, Update, Weight, by_parameter};
use crate::error::{Error, Result};
use crate::tensors::{primitive_from_raw, primitive_to_raw};

/// Names of the moments, as PyTorch has them.
pub(crate) const FIRST: &str = "exp_avg";
pub(crate) const SECOND: &str = "exp_avg_sq";

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
    /// The numbers of an update.
    pub(super) fn step(&self, update: Update) -> AdamStep {
        AdamStep {
            lr: update.lr,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            step: i32::try_from(update.number).unwrap_or(i32::MAX),
            grad_scale: update.grad_scale,
        }
    }

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

impl<B: TrainingBackend> AdamW<B> {
    /// A parameter and its gradient, both on the device; the moments of one that has none are zero.
    fn parameter(
        &mut self,
        given: ParameterUpdate<B>,
    ) -> Result<(AdamParameter<B>, FloatTensor<B>)> {
        let ParameterUpdate { path, weight, grad } = given;
        let Weight::Device(weight) = weight else {
            return Err(Error::Request(format!(
                "`{path}` lives in the host's memory, where this optimizer does not update"
            )));
        };
        let device = B::float_device(&weight);
        let moments = self.moments.remove(&path).unwrap_or_else(|| {
            let (shape, dtype) = (weight.shape(), weight.dtype().into());
            let zeros = || {
                staying::<B, _, _>(&device, shape.clone(), |shape| {
                    B::float_zeros(shape, &device, dtype)
                })
            };
            AdamMoments {
                first: zeros(),
                second: zeros(),
            }
        });
        let grad = grad.into_device(weight.shape(), &device);
        Ok((AdamParameter { weight, moments }, grad))
    }
}

impl<B: TrainingBackend> Optimizer<B> for AdamW<B> {
    fn update(
        &mut self,
        parameters: Vec<ParameterUpdate<B>>,
        update: Update,
    ) -> Result<Vec<Weight<B>>> {
        let paths: Vec<String> = parameters.iter().map(|one| one.path.clone()).collect();
        let parameters = parameters.into_iter().map(|one| self.parameter(one));
        let parameters = parameters.collect::<Result<Vec<_>>>()?;
        let updated = B::glm_adamw(parameters, &self.settings.step(update));
        let weights = paths.into_iter().zip(updated).map(|(path, parameter)| {
            self.moments.insert(path, parameter.moments);
            Weight::Device(parameter.weight)
        });
        Ok(weights.collect())
    }

    fn on_another_device(&self) -> Option<Box<dyn Optimizer<B>>> {
        Some(Box::new(Self::new(self.settings)))
    }

    fn state(&self) -> Vec<StateTensor<'_>> {
        let moments = self.moments.iter();
        moments
            .flat_map(|(path, moments)| {
                [(FIRST, &moments.first), (SECOND, &moments.second)].map(|(quantity, tensor)| {
                    let name = format!("{quantity}.{path}");
                    StateTensor::new(name, tensor.shape().to_vec(), || {
                        Ok(primitive_to_raw::<B>(tensor.clone()).bytes)
                    })
                })
            })
            .collect()
    }

    fn restore(
        &mut self,
        names: Vec<String>,
        read: ReadState<'_>,
        device: &B::Device,
    ) -> Result<()> {
        let read = |name: &str| -> Result<FloatTensor<B>> {
            Ok(primitive_from_raw::<B>(read(name)?, device))
        };
        let state = by_parameter(names, [FIRST, SECOND])?.into_iter();
        let moments = state.map(|(path, [first, second])| {
            let moments = AdamMoments {
                first: read(&first)?,
                second: read(&second)?,
            };
            Ok((path, moments))
        });
        self.moments = moments.collect::<Result<_>>()?;
        Ok(())
    }
}

//! Where a measurement runs: a model's directory, devices, a type, and its time.

use std::path::Path;

use burn::tensor::{DType, Distribution, Tensor};
use glmtune_model::device_health::settle;
use glmtune_model::parameters::{ParameterInfo, parameters};
use glmtune_model::{BuildOptions, CausalLm, GlmBackend, ModelInfo};

use super::clock::Clock;
use crate::backend::{AnyBackend, Selected};
use crate::commands::error::Result;

/// Where a measurement runs.
pub struct Place<'a, B: GlmBackend> {
    /// The model.
    pub info: &'a ModelInfo,
    /// The devices as they were selected.
    pub selected: &'a [Selected],
    /// The devices.
    pub devices: &'a [B::Device],
    /// Type of weights and activations.
    pub dtype: DType,
    /// For files of the measurement.
    pub folder: &'a Path,
    /// Its time.
    pub clock: Clock,
}

impl<B: GlmBackend> Place<'_, B> {
    /// The first device.
    pub fn device(&self) -> &B::Device {
        &self.devices[0]
    }

    /// Waits until the devices have done everything.
    ///
    /// # Errors
    /// If one has failed.
    pub fn wait(&self) -> Result<()> {
        Ok(settle::<B>(self.devices)?)
    }

    /// Random numbers in the type of the measurement, on the first device.
    pub fn random(&self, shape: [usize; 2]) -> Tensor<B, 2> {
        Tensor::<B, 2>::random(shape, Distribution::Uniform(-1.0, 1.0), self.device())
            .cast(self.dtype)
    }

    /// The parameters of the model.
    pub fn parameters(&self) -> Vec<ParameterInfo> {
        let options = BuildOptions::float32();
        let model =
            CausalLm::<AnyBackend>::uninitialized(&self.info.config, &options, &Default::default());
        parameters(&model)
    }
}

//! An update of a whole model.

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::module::Param;
use burn::tensor::Tensor;
use glmtune_model::host_weights::{HostTensor, HostWeights};
use glmtune_model::parameters::{PathMapper, map_by_path};
use glmtune_model::{CausalLm, GlmBackend};

use super::{Optimizer, Update, Weight};
use crate::error::{Error, Result};
use crate::gradients::{Gradient, Gradients, float};

/// The model after an update of every parameter that has a gradient; those that live in the host's memory
/// are replaced there.
///
/// # Errors
/// If the optimizer fails.
pub fn apply<B: GlmBackend>(
    gradients: Gradients<B>,
    model: CausalLm<Autodiff<B>>,
    host: &mut HostWeights,
    optimizer: &mut dyn Optimizer<B>,
    update: Update,
) -> Result<CausalLm<Autodiff<B>>> {
    let mut updater = Updater {
        grads: gradients.into_paths(),
        host,
        optimizer,
        update,
        error: None,
    };
    let model = map_by_path(model, &mut updater);
    match updater.error {
        Some(error) => Err(error),
        None => Ok(model),
    }
}

struct Updater<'a, B: GlmBackend> {
    grads: BTreeMap<String, Gradient<B>>,
    host: &'a mut HostWeights,
    optimizer: &'a mut dyn Optimizer<B>,
    update: Update,
    error: Option<Error>,
}

impl<B: GlmBackend> PathMapper<Autodiff<B>> for Updater<'_, B> {
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        let Some(grad) = self.grads.remove(path) else {
            return param;
        };
        let (id, device, shape) = (param.id, param.lazy_device(), param.lazy_shape());
        let weight = match self.host.get(path) {
            Some(tensor) => Weight::Host(tensor.data()),
            None => Weight::Device(param.into_value().inner().into_primitive().tensor()),
        };
        // No handle on a weight on the device stays here, so that it can be updated in place.
        match self.optimizer.update(path, weight, grad, self.update) {
            Ok(Weight::Device(weight)) => {
                Param::initialized(id, Tensor::from_inner(float(weight)).require_grad())
            }
            Ok(Weight::Host(data)) => {
                let tensor = HostTensor::new(data);
                self.host.insert(path.to_string(), tensor.clone());
                tensor.parameter(id, device, true)
            }
            Err(error) => {
                self.error = Some(error);
                // The model is given up with the error.
                Param::initialized(id, Tensor::zeros(shape, &device))
            }
        }
    }
}

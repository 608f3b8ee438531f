//! An update of a whole model.

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::module::{Param, ParamId};
use burn::tensor::{Shape, Tensor};
use glmtune_model::host_weights::{HostTensor, HostWeights};
use glmtune_model::parameters::{PathMapper, map_by_path};
use glmtune_model::{CausalLm, GlmBackend};

use super::{Optimizer, ParameterUpdate, Update, Weight};
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
    let mut taker = Taker {
        grads: gradients.into_paths(),
        host,
        optimizer,
        update,
        on_device: Vec::new(),
        error: None,
    };
    let model = map_by_path(model, &mut taker);
    let (on_device, optimizer) = (taker.on_device, taker.optimizer);
    if let Some(error) = taker.error {
        return Err(error);
    }
    let paths: Vec<String> = on_device.iter().map(|one| one.path.clone()).collect();
    let weights = optimizer.update(on_device, update)?;
    let mut putter = Putter {
        weights: paths.into_iter().zip(weights).collect(),
    };
    Ok(map_by_path(model, &mut putter))
}

/// Takes the weights of the device out of the model, so that all of them change together and nothing else holds
/// them, which lets them change in place. Weights of the host change one by one: all together, they would be there
/// twice.
struct Taker<'a, B: GlmBackend> {
    grads: BTreeMap<String, Gradient<B>>,
    host: &'a mut HostWeights,
    optimizer: &'a mut dyn Optimizer<B>,
    update: Update,
    on_device: Vec<ParameterUpdate<B>>,
    error: Option<Error>,
}

impl<B: GlmBackend> Taker<'_, B> {
    /// A weight of the host after its update.
    fn updated(&mut self, path: &str, before: HostTensor, grad: Gradient<B>) -> Result<HostTensor> {
        let parameter = ParameterUpdate {
            path: path.to_string(),
            weight: Weight::Host(before.data()),
            grad,
        };
        drop(before);
        let weights = self.optimizer.update(vec![parameter], self.update)?;
        match weights.into_iter().next() {
            Some(Weight::Host(data)) => Ok(HostTensor::new(data)),
            _ => Err(Error::Request(format!(
                "the optimizer gave no weight of the host back for `{path}`"
            ))),
        }
    }
}

impl<B: GlmBackend> PathMapper<Autodiff<B>> for Taker<'_, B> {
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        let Some(grad) = self.grads.remove(path) else {
            return param;
        };
        let (id, device, shape) = (param.id, param.lazy_device(), param.lazy_shape());
        let Some(before) = self.host.get(path).cloned() else {
            let weight = param.into_value().inner().into_primitive().tensor();
            self.on_device.push(ParameterUpdate {
                path: path.to_string(),
                weight: Weight::Device(weight),
                grad,
            });
            return empty(id, device, shape);
        };
        match self.updated(path, before, grad) {
            Ok(tensor) => {
                self.host.insert(path.to_string(), tensor.clone());
                tensor.parameter(id, device, true)
            }
            Err(error) => {
                self.error = Some(error);
                // The model is given up with the error.
                empty(id, device, shape)
            }
        }
    }
}

/// A parameter that has no value for the moment.
fn empty<B: GlmBackend, const D: usize>(
    id: ParamId,
    device: B::Device,
    shape: Shape,
) -> Param<Tensor<Autodiff<B>, D>> {
    let zeros = shape.clone();
    let init = move |device: &B::Device, _| Tensor::zeros(zeros.clone(), device);
    Param::uninitialized(id, init, device, true, shape)
}

/// Puts the weights of the device back.
struct Putter<B: GlmBackend> {
    weights: BTreeMap<String, Weight<B>>,
}

impl<B: GlmBackend> PathMapper<Autodiff<B>> for Putter<B> {
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        match self.weights.remove(path) {
            Some(Weight::Device(weight)) => {
                Param::initialized(param.id, Tensor::from_inner(float(weight)).require_grad())
            }
            _ => param,
        }
    }
}

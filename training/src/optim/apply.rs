//! An update of a whole model.

use std::collections::BTreeMap;
use std::iter::Peekable;

use burn::backend::Autodiff;
use burn::module::{Param, ParamId};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor, TensorMetadata};
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
    apply_and_tell(
        gradients,
        model,
        host,
        optimizer,
        update,
        &mut |_, _| Ok(()),
    )
}

/// Who learns the path and the value of a weight.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(&str, &HostTensor) -> Result<()>;

/// The same; `tell` gets the path and the value of each weight of the device that was updated in the host's memory.
///
/// # Errors
/// As [`apply`], or what `tell` fails with.
pub(crate) fn apply_and_tell<B: GlmBackend>(
    gradients: Gradients<B>,
    model: CausalLm<Autodiff<B>>,
    host: &mut HostWeights,
    optimizer: &mut dyn Optimizer<B>,
    update: Update,
    tell: Tell<'_>,
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
    let weights = match optimizer.wants_host_gradients() {
        true => updated_in_host(on_device, optimizer, update, tell)?,
        false => updated_together(on_device, optimizer, update)?,
    };
    Ok(put_back(model, weights))
}

/// Weights of the device after an update there, by their paths.
fn updated_together<B: GlmBackend>(
    parameters: Vec<ParameterUpdate<B>>,
    optimizer: &mut dyn Optimizer<B>,
    update: Update,
) -> Result<Weights<B>> {
    let paths = parameters.iter().map(|one| one.path.clone());
    let paths: Vec<String> = paths.collect();
    let weights = optimizer.update(parameters, update)?;
    let weights = paths
        .into_iter()
        .zip(weights)
        .map(|(path, weight)| match weight {
            Weight::Device(weight) => Ok((path, weight)),
            Weight::Host(_) | Weight::Part(..) => Err(misplaced(&path)),
        });
    weights.collect()
}

/// Float32 elements that are updated in the host's memory together, at most, unless a single weight has more: all
/// weights together would be there once more, and with one at a time several processes would wait for each other at
/// every one.
const TOGETHER: usize = 1 << 26;

/// The same where the update is made in the host's memory.
fn updated_in_host<B: GlmBackend>(
    parameters: Vec<ParameterUpdate<B>>,
    optimizer: &mut dyn Optimizer<B>,
    update: Update,
    tell: Tell<'_>,
) -> Result<Weights<B>> {
    let mut updated = BTreeMap::new();
    let mut parameters = parameters.into_iter().peekable();
    while parameters.peek().is_some() {
        let (places, group) = next_group(&mut parameters)?;
        let weights = optimizer.update(group, update)?;
        for ((path, device), weight) in places.into_iter().zip(weights) {
            let Weight::Host(weight) = weight else {
                return Err(misplaced(&path));
            };
            tell(&path, &weight)?;
            updated.insert(path, B::float_from_data(weight.data()?, &device));
        }
    }
    Ok(updated)
}

/// The next parameters that are updated together, and the path and the device of each.
#[expect(clippy::type_complexity, reason = "a pair of lists")]
fn next_group<B: GlmBackend>(
    parameters: &mut Peekable<impl Iterator<Item = ParameterUpdate<B>>>,
) -> Result<(Vec<(String, B::Device)>, Vec<ParameterUpdate<B>>)> {
    let (mut places, mut group) = (Vec::new(), Vec::new());
    let mut elements = 0;
    while let Some(next) = parameters.peek() {
        let Weight::Device(weight) = &next.weight else {
            return Err(misplaced(&next.path));
        };
        elements += weight.shape().num_elements();
        if elements > TOGETHER && !group.is_empty() {
            break;
        }
        places.push((next.path.clone(), B::float_device(weight)));
        group.extend(parameters.next());
    }
    Ok((places, group))
}

/// An optimizer gave a weight in another place than it is to.
fn misplaced(path: &str) -> Error {
    Error::Request(format!(
        "the optimizer gave the weight of `{path}` in the wrong place"
    ))
}

/// Weights of a device by their paths.
type Weights<B> = BTreeMap<String, FloatTensor<B>>;

/// A model without some of its weights, and those weights.
pub(crate) fn taken_out<B: GlmBackend>(
    model: CausalLm<Autodiff<B>>,
    is_taken: &dyn Fn(&str) -> bool,
) -> (CausalLm<Autodiff<B>>, Weights<B>) {
    let mut remover = Remover {
        is_taken,
        weights: BTreeMap::new(),
    };
    let model = map_by_path(model, &mut remover);
    (model, remover.weights)
}

struct Remover<'a, B: GlmBackend> {
    is_taken: &'a dyn Fn(&str) -> bool,
    weights: Weights<B>,
}

impl<B: GlmBackend> PathMapper<Autodiff<B>> for Remover<'_, B> {
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        if !(self.is_taken)(path) {
            return param;
        }
        let (id, device, shape) = (param.id, param.lazy_device(), param.lazy_shape());
        let weight = param.into_value().inner().into_primitive().tensor();
        self.weights.insert(path.to_string(), weight);
        empty(id, device, shape)
    }
}

/// A model with weights in the places of their paths, trained.
pub(crate) fn put_back<B: GlmBackend>(
    model: CausalLm<Autodiff<B>>,
    weights: Weights<B>,
) -> CausalLm<Autodiff<B>> {
    map_by_path(model, &mut Putter { weights })
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
            weight: match before.part() {
                Some(part) => Weight::Part(part, before.shape().clone()),
                None => Weight::Host(before.clone()),
            },
            grad,
        };
        let weights = self.optimizer.update(vec![parameter], self.update)?;
        match weights.into_iter().next() {
            Some(Weight::Host(after)) => Ok(before.with_data(after.data()?)),
            Some(Weight::Part(part, _)) => Ok(before.with_part(part)),
            _ => Err(misplaced(path)),
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

struct Putter<B: GlmBackend> {
    weights: Weights<B>,
}

impl<B: GlmBackend> PathMapper<Autodiff<B>> for Putter<B> {
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        match self.weights.remove(path) {
            Some(weight) => {
                Param::initialized(param.id, Tensor::from_inner(float(weight)).require_grad())
            }
            None => param,
        }
    }
}

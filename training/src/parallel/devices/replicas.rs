//! The model on the devices beside its first one, where it stays for the whole training: after a step only what is
//! trained has to become the same everywhere.
//!
//! Each device updates its own weights by its own optimizer. The gradients are the same on all of them to the bit, so
//! that the weights stay the same too, and no weight is ever sent. The price is the moments, which every device keeps;
//! but cards of one machine are alike, and the first must have room for them anyway. An optimizer in the host's memory
//! updates once, and its weights go to every device from there. Of weights in parts on the devices each updates its part.

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::BackendTypes;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Tensor, TensorData};
use glmtune_model::host_weights::{HostTensor, HostWeights, is_offloaded};
use glmtune_model::resident::upload;
use glmtune_model::{CausalLm, FloatType, GlmBackend};

use super::ops::Collectives;
use super::shared_update::update_shared;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::optim::ops::TrainingBackend;
use crate::optim::{Optimizer, Update, apply, apply_and_tell, put_back, taken_out};
use crate::tensors;

/// The model on the devices beside its first one.
pub struct Replicas<B: GlmBackend> {
    others: Vec<Replica<B>>,
    /// The type that gradients are sent in.
    sent: FloatType,
}

/// Does something with an optimizer on its device.
pub(crate) type WithOptimizer<'a, B> =
    &'a mut dyn FnMut(&mut dyn Optimizer<B>, &<B as BackendTypes>::Device) -> Result<()>;

/// The model on one device.
struct Replica<B: GlmBackend> {
    device: B::Device,
    model: CausalLm<Autodiff<B>>,
    /// Updates the weights on the device; none where that is done in the host's memory.
    optimizer: Option<Box<dyn Optimizer<B>>>,
}

impl<B: GlmBackend> Default for Replicas<B> {
    fn default() -> Self {
        Self {
            others: Vec::new(),
            sent: FloatType::F32,
        }
    }
}

impl<B: GlmBackend> std::fmt::Debug for Replicas<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.others()).finish()
    }
}

impl<B: GlmBackend> Replicas<B> {
    /// The type that gradients are sent in.
    pub(super) fn sent(&self) -> FloatType {
        self.sent
    }

    /// The devices.
    pub(crate) fn others(&self) -> impl Iterator<Item = &B::Device> {
        self.others.iter().map(|replica| &replica.device)
    }

    /// All devices, the model's own first, each once.
    pub(super) fn devices(&self, home: &B::Device) -> Vec<B::Device> {
        [home].into_iter().chain(self.others()).cloned().collect()
    }

    /// The model on a device.
    pub(crate) fn on<'a>(
        &'a self,
        device: &B::Device,
        home: &'a CausalLm<Autodiff<B>>,
    ) -> &'a CausalLm<Autodiff<B>> {
        let found = self.others.iter().find(|replica| replica.device == *device);
        found.map_or(home, |replica| &replica.model)
    }
}

impl<B: TrainingBackend> Replicas<B> {
    /// A model that is computed in `dtype` on each of some devices but its own, which is the first; a device that is
    /// named again shares what is there. The optimizer is that of the first device.
    pub fn of(
        model: &CausalLm<Autodiff<B>>,
        devices: &[B::Device],
        host: &HostWeights,
        optimizer: &dyn Optimizer<B>,
        dtype: FloatType,
    ) -> Self {
        let mut replicas = Self {
            others: Vec::new(),
            sent: sent(dtype),
        };
        for (index, device) in devices.iter().enumerate() {
            if !devices[..index].contains(device) && index > 0 {
                replicas.others.push(Replica {
                    device: device.clone(),
                    model: host.bind(moved(model, device), &|_| device.clone()),
                    optimizer: optimizer.on_another_device(),
                });
            }
        }
        replicas
    }

    /// Whether there are several devices, which sum gradients without the host.
    pub(super) fn sum_on_devices(&self) -> bool {
        !self.others.is_empty() && B::glm_collectives() == Collectives::There
    }

    /// Why gradients go through the host although the backend has a better way.
    pub fn note(&self) -> Option<String> {
        match B::glm_collectives() {
            Collectives::Missing(what) if !self.others.is_empty() => Some(format!(
                "{what} was not found: the devices' gradients meet in the host's memory, which is slower"
            )),
            _ => None,
        }
    }

    /// Does something with every optimizer but the first device's, and the device of each.
    ///
    /// # Errors
    /// The first that arises.
    pub(crate) fn each_optimizer(&mut self, work: WithOptimizer<'_, B>) -> Result<()> {
        self.others.iter_mut().try_for_each(|replica| {
            let optimizer = replica.optimizer.as_mut();
            optimizer.map_or(Ok(()), |optimizer| {
                work(optimizer.as_mut(), &replica.device)
            })
        })
    }

    /// The model after an update, here and on every other device. `gradients` are those of the first device, `others`
    /// the same on each other one that updates its own weights.
    ///
    /// # Errors
    /// If an optimizer fails.
    pub fn update(
        &mut self,
        model: CausalLm<Autodiff<B>>,
        (mut gradients, mut others): (Gradients<B>, Vec<Gradients<B>>),
        host: &mut HostWeights,
        optimizer: &mut dyn Optimizer<B>,
        update: Update,
    ) -> Result<CausalLm<Autodiff<B>>> {
        if optimizer.wants_host_gradients() {
            return match self.others.is_empty() {
                true => apply(gradients, model, host, optimizer, update),
                false => self.update_from_host(model, gradients, host, optimizer, update),
            };
        }
        let on_devices = [&mut gradients].into_iter().chain(&mut others);
        update_shared(on_devices, host, optimizer, update)?;
        let mut others = others.into_iter();
        let replicas = std::mem::take(&mut self.others).into_iter();
        let replicas = replicas.map(|mut replica| {
            if let (Some(optimizer), Some(gradients)) = (&mut replica.optimizer, others.next()) {
                let optimizer = optimizer.as_mut();
                replica.model = apply(gradients, replica.model, host, optimizer, update)?;
            }
            Ok(replica)
        });
        self.others = replicas.collect::<Result<_>>()?;
        apply(gradients, model, host, optimizer, update)
    }

    /// One update in the host's memory, whose weights go to all devices.
    fn update_from_host(
        &mut self,
        model: CausalLm<Autodiff<B>>,
        gradients: Gradients<B>,
        host: &mut HostWeights,
        optimizer: &mut dyn Optimizer<B>,
        update: Update,
    ) -> Result<CausalLm<Autodiff<B>>> {
        let replicas = std::mem::take(&mut self.others).into_iter();
        let is_updated = |path: &str| gradients.contains(path) && host.get(path).is_none();
        let (mut weights, mut replicas): (Vec<_>, Vec<_>) = replicas
            .map(|mut replica| {
                let weights;
                (replica.model, weights) = taken_out(replica.model, &is_updated);
                ((replica.device.clone(), weights), replica)
            })
            .unzip();
        let mut tell = |path: &str, weight: &HostTensor| {
            for (device, weights) in &mut weights {
                let weights: &mut BTreeMap<String, FloatTensor<B>> = weights;
                // What was there goes first, so that a device never has all weights twice.
                weights.remove(path);
                let weight = B::float_from_data(weight.data()?, device);
                weights.insert(path.to_string(), weight);
            }
            Ok(())
        };
        let model = apply_and_tell(gradients, model, host, optimizer, update, &mut tell)?;
        self.others = replicas
            .drain(..)
            .zip(weights)
            .map(|(replica, (device, weights))| Replica {
                model: host.bind(put_back(replica.model, weights), &|_| device.clone()),
                ..replica
            })
            .collect();
        Ok(model)
    }

    /// Takes over the trained weights of the first device's model, when they have changed by other ways than an update.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub(crate) fn follow(
        &mut self,
        model: &CausalLm<Autodiff<B>>,
        host: &HostWeights,
        is_trained: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        if self.others.is_empty() {
            return Ok(());
        }
        let mut values = BTreeMap::new();
        tensors::visit(model, &mut |path, data| {
            if is_trained(path) && host.get(path).is_none() {
                values.insert(path.to_string(), HostTensor::new(data()?));
            }
            Ok(())
        })?;
        let replicas = std::mem::take(&mut self.others).into_iter();
        let replicas = replicas.map(|replica| {
            let device = replica.device.clone();
            let weights = values.iter().map(|(path, value)| {
                let weight = B::float_from_data(value.data()?, &device);
                Ok((path.clone(), weight))
            });
            let model = put_back(replica.model, weights.collect::<Result<_>>()?);
            Ok(Replica {
                model: host.bind(model, &|_| device.clone()),
                ..replica
            })
        });
        self.others = replicas.collect::<Result<_>>()?;
        Ok(())
    }
}

/// The type that gradients of a model in a type are sent in. DeepSpeed sends in the type of the computation too: bf16
/// has the range of the float32 sums, and loses of them what the products of the backward pass have lost before. f16
/// has not: the sum of several devices could overflow where one device, which adds in float32, would not.
fn sent(dtype: FloatType) -> FloatType {
    match dtype {
        FloatType::Bf16 => FloatType::Bf16,
        FloatType::F32 | FloatType::F16 => FloatType::F32,
    }
}

/// A model on another device, where it stays, but for the weights in the host's memory.
fn moved<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    device: &B::Device,
) -> CausalLm<Autodiff<B>> {
    model.clone().map(&mut Move::<B> { device })
}

struct Move<'a, B: GlmBackend> {
    device: &'a B::Device,
}

impl<B: GlmBackend> ModuleMapper<Autodiff<B>> for Move<'_, B> {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        if is_offloaded(&param) {
            return param;
        }
        let (id, tensor, _) = param.consume();
        let is_trained = tensor.is_require_grad();
        let data: TensorData = tensor.into_data();
        let dtype: DType = data.dtype;
        let tensor = Tensor::from_inner(upload::<B, D>(data, self.device, dtype));
        Param::initialized(id, tensor.set_require_grad(is_trained))
    }
}

//! The weights of a training as files get them: the optimizer's float32 masters where it keeps them, else
//! the model's own.

use std::collections::{BTreeMap, BTreeSet};

use burn::backend::Autodiff;
use burn::tensor::TensorData;
use glmtune_model::checkpoint::RawTensor;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::parameters::{ParameterInfo, parameters};
use glmtune_model::{CausalLm, GlmBackend};

use crate::error::Result;
use crate::optim::{Optimizer, StateTensor};
use crate::tensors::{self, Visit};

/// A model with the masters of an optimizer. Where several processes share the masters, all of them must
/// visit the weights alike.
pub struct Weights<'a, B: GlmBackend> {
    model: &'a CausalLm<Autodiff<B>>,
    masters: BTreeMap<String, StateTensor<'a>>,
    /// Weights of which each process has a part.
    shared: BTreeSet<String>,
}

impl<'a, B: GlmBackend> Weights<'a, B> {
    /// The weights of a model that an optimizer trains.
    pub fn new(
        model: &'a CausalLm<Autodiff<B>>,
        optimizer: &'a dyn Optimizer<B>,
        host: &HostWeights,
    ) -> Self {
        let masters = optimizer.masters().into_iter();
        Self {
            model,
            shared: host.shared().map(str::to_string).collect(),
            masters: masters
                .map(|master| (master.info.name.clone(), master))
                .collect(),
        }
    }

    /// The model.
    pub fn model(&self) -> &'a CausalLm<Autodiff<B>> {
        self.model
    }

    /// All parameters, in the order in which they are visited.
    pub fn infos(&self) -> Vec<ParameterInfo> {
        parameters(self.model)
    }

    /// Visits the parameters in the order of the model, until one fails. Who visits takes the elements of
    /// every parameter that is trained.
    pub(crate) fn visit(&self, visit: Visit<'_>) -> Result<()> {
        tensors::visit(self.model, &mut |path, data| match self.masters.get(path) {
            Some(master) => visit(path, &|| data_of(master)),
            None => visit(path, data),
        })
    }

    /// The parameters that are chosen, as float32.
    pub(crate) fn chosen(
        &self,
        is_chosen: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<(String, RawTensor)>> {
        tensors::collect(is_chosen, &mut |take| self.visit(take))
    }

    /// Takes part in another process's visit of the parameters that it reads, which needs this one's share of masters
    /// and weights.
    pub(crate) fn hand_over(&self, is_read: &dyn Fn(&str) -> bool) -> Result<()> {
        self.visit(&mut |path, data| {
            let is_shared = self.masters.contains_key(path) || self.shared.contains(path);
            if is_shared && is_read(path) {
                drop(data()?);
            }
            Ok(())
        })
    }
}

fn data_of(master: &StateTensor<'_>) -> Result<TensorData> {
    Ok(tensors::to_data(RawTensor {
        dtype: master.info.dtype,
        shape: master.info.shape.clone(),
        bytes: (master.fetch)()?,
    }))
}

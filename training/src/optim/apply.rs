//! An update of a whole model.

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorMetadata};
use glmtune_model::parameters::ModulePath;
use glmtune_model::{CausalLm, GlmBackend};

use super::{Optimizer, Update};
use crate::error::{Error, Result};
use crate::gradients::{Gradient, Gradients, float};

/// The model after an update of every parameter that has a gradient.
///
/// # Errors
/// If the optimizer fails.
pub fn apply<B: GlmBackend>(
    gradients: Gradients<B>,
    model: CausalLm<Autodiff<B>>,
    optimizer: &mut dyn Optimizer<B>,
    update: Update,
) -> Result<CausalLm<Autodiff<B>>> {
    let mut updater = Updater {
        path: ModulePath::default(),
        grads: gradients.into_paths(),
        optimizer,
        update,
        error: None,
    };
    let model = model.map(&mut updater);
    match updater.error {
        Some(error) => Err(error),
        None => Ok(model),
    }
}

struct Updater<'a, B: GlmBackend> {
    path: ModulePath,
    grads: BTreeMap<String, Gradient<B>>,
    optimizer: &'a mut dyn Optimizer<B>,
    update: Update,
    error: Option<Error>,
}

impl<B: GlmBackend> ModuleMapper<Autodiff<B>> for Updater<'_, B> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        let path = self.path.to_string();
        let Some(grad) = self.grads.remove(&path) else {
            return param;
        };
        let (id, tensor, _) = param.consume();
        let weight = tensor.inner().into_primitive().tensor();
        let (shape, device) = (weight.shape(), B::float_device(&weight));
        let dtype = weight.dtype();
        // No handle on the weight stays here, so that it can be updated in place.
        let updated = self.optimizer.update(&path, weight, grad, self.update);
        let updated = updated.unwrap_or_else(|error| {
            self.error = Some(error);
            B::float_zeros(shape, &device, dtype.into())
        });
        Param::initialized(id, Tensor::from_inner(float(updated)).require_grad())
    }
}

//! Gradients by the path of their parameter: collected, added up, measured, applied.

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};
use glmtune_model::parameters::ModulePath;
use glmtune_model::{CausalLm, GlmBackend};

use crate::error::{Error, Result};
use crate::optim::{Optimizer, Update};

/// Gradients of parameters, by their paths.
#[derive(Debug, Clone)]
pub struct Gradients<B: GlmBackend> {
    by_path: BTreeMap<String, FloatTensor<B>>,
}

impl<B: GlmBackend> Default for Gradients<B> {
    fn default() -> Self {
        Self {
            by_path: BTreeMap::new(),
        }
    }
}

impl<B: GlmBackend> Gradients<B> {
    /// Takes the gradients of a model's parameters out of the result of a backward pass.
    pub fn take(
        model: &CausalLm<Autodiff<B>>,
        grads: &mut <Autodiff<B> as AutodiffBackend>::Gradients,
    ) -> Self {
        let mut collector = Collector {
            path: ModulePath::default(),
            grads,
            found: Self::default(),
        };
        model.visit(&mut collector);
        collector.found
    }

    /// Adds the gradients of another pass.
    pub fn add(&mut self, other: Self) {
        for (path, grad) in other.by_path {
            let sum = match self.by_path.remove(&path) {
                Some(sum) => B::float_add(sum, grad),
                None => grad,
            };
            self.by_path.insert(path, sum);
        }
    }

    /// Whether a parameter has a gradient.
    pub fn contains(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// The L2 norm over all gradients together; not finite if any element is not.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn global_norm(&self) -> Result<f64> {
        let squares: Vec<Tensor<B, 1>> = self
            .by_path
            .values()
            .map(|grad| float(B::glm_sum_of_squares(grad.clone())))
            .collect();
        if squares.is_empty() {
            return Ok(0.0);
        }
        let squares = read(Tensor::cat(squares, 0))?;
        let sum: f64 = squares.iter().map(|&square| f64::from(square)).sum();
        Ok(sum.sqrt())
    }

    /// The model after an update of every parameter that has a gradient.
    pub fn apply(
        self,
        model: CausalLm<Autodiff<B>>,
        optimizer: &mut dyn Optimizer<B>,
        update: Update,
    ) -> CausalLm<Autodiff<B>> {
        model.map(&mut Updater {
            path: ModulePath::default(),
            grads: self.by_path,
            optimizer,
            update,
        })
    }
}

/// A tensor around a float primitive.
fn float<B: GlmBackend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The values of a float32 tensor.
pub(crate) fn read<B: GlmBackend>(tensor: Tensor<B, 1>) -> Result<Vec<f32>> {
    let values = tensor.into_data().convert::<f32>().to_vec();
    values.map_err(|error| {
        Error::Model(glmtune_model::Error::Compute(format!(
            "a result could not be read from the device: {error:?}"
        )))
    })
}

struct Collector<'a, B: GlmBackend> {
    path: ModulePath,
    grads: &'a mut <Autodiff<B> as AutodiffBackend>::Gradients,
    found: Gradients<B>,
}

impl<B: GlmBackend> ModuleVisitor<Autodiff<B>> for Collector<'_, B> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        if !param.is_initialized() {
            return;
        }
        let tensor = param.val();
        if !tensor.is_require_grad() {
            return;
        }
        if let Some(grad) = tensor.grad_remove(self.grads) {
            let grad = grad.into_primitive().tensor();
            self.found.by_path.insert(self.path.to_string(), grad);
        }
    }
}

struct Updater<'a, B: GlmBackend> {
    path: ModulePath,
    grads: BTreeMap<String, FloatTensor<B>>,
    optimizer: &'a mut dyn Optimizer<B>,
    update: Update,
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
        let weight = self.optimizer.update(&path, weight, grad, self.update);
        Param::initialized(id, Tensor::from_inner(float(weight)).require_grad())
    }
}

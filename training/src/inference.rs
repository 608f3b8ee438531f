//! A model without autodiff, of the weights of one that is trained.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::parameters::ModulePath;
use glmtune_model::{CausalLm, GlmBackend};

/// The model on the inner backend, sharing the weights' memory. Those that live in the host's memory stay there
/// and visit the device that is named for their path.
///
/// On an autodiff backend even operations that nothing tracks leave nodes in the graph (Burn 0.21), which only
/// the next backward pass removes.
pub(crate) fn inference_model<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    host: &HostWeights,
    device: &dyn Fn(&str) -> B::Device,
) -> CausalLm<B> {
    let emptied = model.clone().map(&mut Emptied {
        host,
        path: ModulePath::default(),
    });
    host.bind(emptied.valid(), device)
}

/// Puts a single element in the place of each weight that lives in the host's memory: taken over from one
/// backend to the other, it would be read.
struct Emptied<'a> {
    host: &'a HostWeights,
    path: ModulePath,
}

impl<B: GlmBackend> ModuleMapper<Autodiff<B>> for Emptied<'_> {
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
        match self.host.get(&self.path.to_string()) {
            None => param,
            Some(_) => Param::initialized(param.id, Tensor::zeros([1; D], &param.lazy_device())),
        }
    }
}

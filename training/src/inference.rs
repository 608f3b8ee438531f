//! A model without autodiff, of the weights of one that is trained.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Param};
use burn::tensor::Tensor;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::parameters::{PathMapper, map_by_path};
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
    let emptied = map_by_path(model.clone(), &mut Emptied { host });
    host.bind(emptied.valid(), device)
}

/// Puts a single element in the place of each weight that lives in the host's memory: taken over from one
/// backend to the other, it would be read.
struct Emptied<'a> {
    host: &'a HostWeights,
}

impl<B: GlmBackend> PathMapper<Autodiff<B>> for Emptied<'_> {
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        match self.host.get(path) {
            None => param,
            Some(_) => Param::initialized(param.id, Tensor::zeros([1; D], &param.lazy_device())),
        }
    }
}

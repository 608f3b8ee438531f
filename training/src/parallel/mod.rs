//! One window on several devices: replicas that share out its micro-batches, or stages of a pipeline that
//! share out the model; and several processes that share out windows and the optimizer's state.

pub mod devices;
pub mod forward;
pub mod pipeline;
pub mod processes;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use glmtune_model::architecture::through_host;
use glmtune_model::host_weights::is_offloaded;
use glmtune_model::layers::DropoutSource;
use glmtune_model::{CausalLm, GlmBackend};

use crate::error::Result;
use crate::gradients::{Gradients, read_together};
use crate::micro_batch::MicroBatch;
use crate::optim::ops::TrainingBackend;

/// A micro-batch and the masks of its dropout.
#[derive(Debug, Clone)]
pub struct WindowItem {
    /// The rows.
    pub batch: MicroBatch,
    /// Where the masks come from.
    pub dropout: DropoutSource,
}

/// What a window gives.
#[derive(Debug)]
pub struct WindowSum<B: GlmBackend> {
    /// The losses of the micro-batches, each `[1]`, on the devices that computed them.
    pub losses: Vec<Tensor<B, 1>>,
    /// Sum of their gradients.
    pub gradients: Gradients<B>,
}

impl<B: GlmBackend> Default for WindowSum<B> {
    fn default() -> Self {
        Self {
            losses: Vec::new(),
            gradients: Gradients::default(),
        }
    }
}

impl<B: GlmBackend> WindowSum<B> {
    /// Adds gradients, in the host's memory if they are wanted there.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub(crate) fn take(&mut self, gradients: Gradients<B>, to_host: bool) -> Result<()> {
        match to_host {
            true => self.gradients.add(gradients.into_host()?),
            false => self.gradients.add(gradients),
        }
    }
}

impl<B: TrainingBackend> WindowSum<B> {
    /// The numbers of a window, read at once: whoever reads from a device waits for it.
    ///
    /// # Errors
    /// If a device cannot be read.
    pub(crate) fn numbers(&self) -> Result<WindowNumbers> {
        let (squares, on_devices) = self.gradients.partial_squares();
        let mut numbers = WindowNumbers { loss: 0.0, squares };
        let squares = on_devices.into_iter().map(|tensor| (false, tensor));
        let losses = self.losses.iter().map(|loss| (true, loss.clone()));
        let (are_losses, tensors): (Vec<bool>, Vec<_>) = losses.chain(squares).unzip();
        for (is_loss, values) in are_losses.into_iter().zip(read_together(tensors)?) {
            let sum = values.into_iter().map(f64::from).sum::<f64>();
            match is_loss {
                true => numbers.loss += sum,
                false => numbers.squares += sum,
            }
        }
        Ok(numbers)
    }
}

/// What a step must know of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct WindowNumbers {
    /// Sum of the micro-batches' losses.
    pub loss: f64,
    /// Sum of the squares of all gradients; not finite if any element is not.
    pub squares: f64,
}

/// A model that shares the weights' memory and has nodes of its own in the autodiff graph, for a thread of
/// its own.
pub(crate) fn fresh_leaves<B: GlmBackend>(model: &CausalLm<Autodiff<B>>) -> CausalLm<Autodiff<B>> {
    model.clone().map(&mut FreshLeaves)
}

/// Gives every parameter a node of its own in the autodiff graph. Graphs that share nodes are merged, and
/// in Burn 0.21 a merge in one thread and a backward pass in another wait for each other for ever.
struct FreshLeaves;

impl<B: GlmBackend> ModuleMapper<Autodiff<B>> for FreshLeaves {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        let device = param.lazy_device();
        leaf_on(param, &device)
    }
}

/// A parameter on a device, with a node of its own in the autodiff graph. One that lives in the host's
/// memory stays there: it becomes a leaf of its own whenever it is read.
pub(crate) fn leaf_on<B: GlmBackend, const D: usize>(
    param: Param<Tensor<Autodiff<B>, D>>,
    device: &B::Device,
) -> Param<Tensor<Autodiff<B>, D>> {
    if is_offloaded(&param) {
        return param;
    }
    let (id, tensor, _) = param.consume();
    let is_trained = tensor.is_require_grad();
    let leaf = Tensor::from_inner(through_host(&tensor.inner(), device));
    Param::initialized(id, leaf.set_require_grad(is_trained))
}

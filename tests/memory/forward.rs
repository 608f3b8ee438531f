//! What the forward pass alone holds.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor};
use burn_flex::{Flex, FlexDevice};
use glmtune::model::CausalLm;
use glmtune::model::host_weights::HostWeights;
use glmtune::training::forward::loss_sum;
use glmtune::training::parallel::devices::replicas::Replicas;
use glmtune::training::parallel::forward::{ForwardPlan, loss_sums};
use glmtune::training::parallel::processes::ranks::ProcessGroup;
use glmtune::training::settings::Method;

use super::{HIDDEN, LAYERS, TOKENS, allocator, batch, lora, prepared};

/// The most that a pass holds.
fn peak(pass: impl Fn()) -> usize {
    // The first pass also fills what threads keep for themselves.
    pass();
    allocator::peak_of(pass)
}

/// The most that the forward pass of a training over a micro-batch holds.
fn peak_in_training(model: &CausalLm<Autodiff<Flex>>) -> usize {
    let batches = [batch()];
    let (host, group) = (HostWeights::default(), ProcessGroup::default());
    let plan = ForwardPlan {
        devices: &[FlexDevice],
        replicas: &Replicas::default(),
        stages: None,
        host: &host,
        group: &group,
    };
    peak(|| drop(loss_sums(model, &batches, &plan).unwrap()))
}

/// Neither for what is trained nor for the number of blocks.
pub fn nothing_is_kept() {
    let activation = 4 * TOKENS * HIDDEN;
    for method in [lora(), Method::All] {
        let few = peak_in_training(&prepared(LAYERS, &method).model);
        let many = peak_in_training(&prepared(2 * LAYERS, &method).model);
        let growth = many.saturating_sub(few);
        assert!(
            growth < activation,
            "{}: {growth} bytes for {LAYERS} more blocks, an activation has {activation}",
            method.name()
        );
    }
}

/// Weights that are made whenever they are read, as those in the host's memory are copied to a device.
struct MadeWhenRead;

impl ModuleMapper<Flex> for MadeWhenRead {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Flex, D>>,
    ) -> Param<Tensor<Flex, D>> {
        // As in an offloaded model, norms and biases stay.
        if D < 2 {
            return param;
        }
        let shape = param.shape();
        let of = shape.clone();
        Param::uninitialized(
            param.id,
            move |device, require_grad| {
                let made = Tensor::ones(of.clone(), (device, DType::F32));
                made.set_require_grad(require_grad)
            },
            FlexDevice,
            false,
            shape,
        )
    }
}

/// Of an offloaded model, no more than two blocks' weights are on the device.
pub fn offloaded_weights_take_turns() {
    let [few, many] = [LAYERS, 2 * LAYERS].map(|layers| prepared(layers, &Method::All));
    let block = 4 * (many.total - few.total) / LAYERS;
    let batch = batch();
    let pass = |model: &CausalLm<Flex>| loss_sum(model, &batch).unwrap();
    let held = |model: &CausalLm<Flex>| peak(|| assert!(pass(model).targets > 0));
    let [few, many] = [few, many].map(|prepared| prepared.model.valid());
    let resident = held(&many);
    let offloaded = held(&many.map(&mut MadeWhenRead));
    let more = offloaded.saturating_sub(resident);
    assert!(
        more > block && more < 3 * block,
        "{more} bytes more than with resident weights, a block has {block}"
    );
    let growth = offloaded.saturating_sub(held(&few.map(&mut MadeWhenRead)));
    assert!(
        growth < block / 4,
        "{growth} bytes for {LAYERS} more blocks"
    );
}

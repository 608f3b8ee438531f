//! This process's micro-batches of a window that several processes share.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use glmtune_model::{CausalLm, GlmBackend};

use super::Trainer;
use super::faults::no_gradient;
use crate::backward::walk_along;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::optim::ops::TrainingBackend;
use crate::parallel::devices::data::GradientPass;
use crate::parallel::processes::ranks::Ranks;
use crate::parallel::processes::reduction::Reduction;
use crate::parallel::{WindowItem, WindowSum};
use crate::window::window;

impl<B: TrainingBackend> Trainer<B> {
    /// The losses of this process's micro-batches, and its part of the sum of all processes' gradients.
    pub(super) fn shared_window(
        &self,
        model: &CausalLm<Autodiff<B>>,
        (own, window_len): (&[WindowItem], usize),
        ranks: &dyn Ranks,
    ) -> Result<WindowSum<B>> {
        let plan = self.plan(model)?;
        let dtype = self.settings.dtype;
        let mut reduction = Reduction::new(ranks, dtype, &self.trainable, model.segments())?;
        if self.host.is_sharded() {
            reduction.never_wait();
        }
        let is_one_device = plan.stages.is_none() && plan.devices.len() <= 1;
        let losses = match own.split_last() {
            Some((last, before)) if is_one_device => {
                let sum = plan.pass.run(model, before.iter())?;
                add_last(model, last, plan.pass, sum, &mut reduction)?
            }
            _ => {
                // The optimizer of several processes is in the host's memory: no device has gradients of its own.
                let (sum, _) = window(model, own, &plan)?;
                reduction.take(sum.gradients)?;
                sum.losses
            }
        };
        if self.host.is_sharded() {
            let idle = self.group.missing(window_len, own.len());
            (0..idle).try_for_each(|_| walk_along(model, plan.boundary))?;
        }
        let (gradients, missing) = reduction.finish()?;
        if self.progress.step == 0 && !own.is_empty() {
            no_gradient(&missing.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(WindowSum { losses, gradients })
    }
}

/// The last micro-batch, after whose turn in a segment the segment's gradients are complete and leave.
fn add_last<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    last: &WindowItem,
    pass: GradientPass,
    sum: WindowSum<B>,
    reduction: &mut Reduction<'_>,
) -> Result<Vec<Tensor<B, 1>>> {
    let WindowSum {
        mut losses,
        mut gradients,
    } = sum;
    let mut sink =
        |found: Gradients<B>| reduction.take(gradients.completed_by(found.into_host()?)?);
    losses.push(pass.one(model, last, &mut sink)?);
    Ok(losses)
}

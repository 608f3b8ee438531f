//! AdamW's update: on the device, and in the host's memory, where `--offload_optimizer` has it.

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Distribution, Shape, Tensor};
use glmtune_model::parameters::ParameterInfo;
use glmtune_training::TrainingBackend;
use glmtune_training::gradients::Gradient;
use glmtune_training::optim::ops::{AdamStep, host_adamw};
use glmtune_training::optim::{AdamW, AdamWSettings, Optimizer, ParameterUpdate, Update, Weight};

use super::measured::Found;
use super::place::Place;
use crate::commands::error::Result;

/// Elements that are updated: far more than any cache holds, and no more than a small card has room for.
const ELEMENTS: usize = 50_000_000;
/// Bytes of an element: weight, gradient and two moments are read, all but the gradient written, float32.
const BYTES: f64 = 28.0;

/// Measures both.
///
/// # Errors
/// If the device fails.
pub fn measure<B: TrainingBackend>(place: &Place<'_, B>) -> Result<Vec<Found>> {
    let parameters = some(place.parameters());
    let elements: usize = parameters.iter().map(ParameterInfo::elements).sum();
    let bytes = BYTES * elements as f64;
    let device = on_device(place, &parameters)?.bytes(bytes);
    let host = in_host(place, elements)?.bytes(bytes);
    Ok(vec![device, host])
}

/// Parameters of the model, as many as are enough.
fn some(parameters: Vec<ParameterInfo>) -> Vec<ParameterInfo> {
    let mut room = ELEMENTS;
    let fits = |info: &ParameterInfo| {
        let fits = info.elements() <= room;
        room -= if fits { info.elements() } else { 0 };
        fits
    };
    parameters.into_iter().filter(fits).collect()
}

fn on_device<B: TrainingBackend>(
    place: &Place<'_, B>,
    parameters: &[ParameterInfo],
) -> Result<Found> {
    let random = |info: &ParameterInfo| -> FloatTensor<B> {
        let flat = Tensor::<B, 1>::random(
            [info.elements()],
            Distribution::Uniform(-0.01, 0.01),
            place.device(),
        );
        B::float_reshape(
            flat.into_primitive().tensor(),
            Shape::from(info.shape.clone()),
        )
    };
    let grads: Vec<FloatTensor<B>> = parameters.iter().map(random).collect();
    let mut weights: Vec<Weight<B>> = parameters
        .iter()
        .map(|info| Weight::Device(random(info)))
        .collect();
    let mut optimizer = AdamW::<B>::new(AdamWSettings::default());
    let mut number = 0;
    place.clock.share(2).repeat("on the device", || {
        number += 1;
        let update = Update {
            lr: 1e-4,
            number,
            grad_scale: 0.5,
        };
        // No handle stays here, so that the weights can be updated in place.
        let before = std::mem::take(&mut weights);
        let all = parameters.iter().zip(before).zip(&grads);
        let all = all.map(|((info, weight), grad)| ParameterUpdate {
            path: info.path.clone(),
            weight,
            grad: Gradient::Device(grad.clone()),
        });
        weights = optimizer.update(all.collect(), update)?;
        place.wait()
    })
}

fn in_host<B: TrainingBackend>(place: &Place<'_, B>, elements: usize) -> Result<Found> {
    let grad = vec![0.03f32; elements];
    let mut weight = vec![0.1f32; elements];
    let (mut first, mut second) = (vec![0.01f32; elements], vec![0.02f32; elements]);
    let settings = AdamWSettings::default();
    let mut step = 0;
    place.clock.share(1).repeat("in the host's memory", || {
        step += 1;
        let step = AdamStep {
            lr: 1e-4,
            beta1: settings.beta1,
            beta2: settings.beta2,
            epsilon: settings.epsilon,
            weight_decay: settings.weight_decay,
            step,
            grad_scale: 0.5,
        };
        host_adamw(&mut weight, &mut first, &mut second, &grad, &step);
        Ok(())
    })
}

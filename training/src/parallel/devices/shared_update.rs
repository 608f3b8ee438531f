//! The update of weights in parts: each device updates its part with its part of the gradients, which are the same on
//! all devices.

use std::collections::BTreeMap;

use burn::tensor::ops::FloatTensor;
use glmtune_model::GlmBackend;
use glmtune_model::device_health::settle;
use glmtune_model::host_weights::{HostTensor, HostWeights};

use super::parts::Parts;
use crate::error::Result;
use crate::gradients::{Gradient, Gradients};
use crate::optim::ops::TrainingBackend;
use crate::optim::{Optimizer, Update};

/// Takes the gradients of weights in parts out of those of each device, and updates these weights.
///
/// # Errors
/// If the optimizer fails.
pub(super) fn update_shared<'a, B: TrainingBackend>(
    on_devices: impl Iterator<Item = &'a mut Gradients<B>>,
    host: &HostWeights,
    optimizer: &mut dyn Optimizer<B>,
    update: Update,
) -> Result<()> {
    let is_shared = |path: &str| parts::<B>(host, path).is_some();
    let on_devices = on_devices.map(|gradients| gradients.split_off(&is_shared).into_paths());
    let mut on_devices: Vec<BTreeMap<String, Gradient<B>>> = on_devices.collect();
    let paths = on_devices.first().into_iter().flat_map(BTreeMap::keys);
    let paths: Vec<String> = paths.cloned().collect();
    let mut devices = None;
    for path in &paths {
        let Some(weight) = parts::<B>(host, path) else {
            continue;
        };
        let whole = on_devices
            .iter_mut()
            .filter_map(|gradients| on_device(gradients.remove(path)));
        let grads = weight.alike(&whole.collect::<Vec<_>>())?;
        optimizer.update_parts(path, weight, grads, update)?;
        devices = Some(weight.devices());
    }
    // Other devices copy parts beside what their own compute, and so do not wait for it.
    devices.map_or(Ok(()), |devices| Ok(settle::<B>(devices)?))
}

fn on_device<B: GlmBackend>(gradient: Option<Gradient<B>>) -> Option<FloatTensor<B>> {
    match gradient {
        Some(Gradient::Device(tensor)) => Some(tensor),
        Some(Gradient::Host(_)) | None => None,
    }
}

/// A weight in parts on devices.
fn parts<'a, B: TrainingBackend>(host: &'a HostWeights, path: &str) -> Option<&'a Parts<B>> {
    let parts = host.get(path).and_then(HostTensor::device_parts)?;
    parts.as_any().downcast_ref()
}

//! The model that a training starts from.

use std::path::Path;
use std::sync::Arc;

use burn::backend::Autodiff;
use glmtune_model::host_weights::Holders;
use glmtune_model::pretrained::{Placement, Pretrained};

use crate::error::{Error, Result};
use crate::method::{Masters, Prepared, prepare};
use crate::optim::ops::TrainingBackend;
use crate::parallel::devices::parts::Devices;
use crate::parallel::processes::ranks::ProcessGroup;
use crate::parallel::processes::sharding::RankSharding;
use crate::settings::TrainSettings;

/// Loads a base, or a base and an adapter to go on with, and puts on it what the settings train. The model is on the
/// first of the devices; weights and masters come where the settings have them; `progress` is called with the number of
/// tensors that are loaded and that of all.
///
/// # Errors
/// If a file cannot be read, or base, adapter and method do not fit each other.
pub fn load<B: TrainingBackend>(
    base: &Path,
    adapter: Option<&Path>,
    settings: &TrainSettings,
    (devices, group): (&[B::Device], &ProcessGroup),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Prepared<B>> {
    let no_device = || Error::Request("no device was given".to_string());
    let device = devices.first().ok_or_else(no_device)?;
    let placement = match group.shared_ranks() {
        Some(ranks) if settings.shard_param => {
            Placement::Parts(Holders::Processes(Arc::new(RankSharding(ranks))))
        }
        None if settings.shard_param => {
            Placement::Parts(Holders::Devices(Arc::new(Devices::<B>(devices.to_vec()))))
        }
        _ if settings.offload_param => Placement::Host,
        _ => Placement::Device,
    };
    let mut tensors = 0;
    let pretrained = Pretrained::<Autodiff<B>>::load_to(
        placement,
        base,
        Some(settings.mode),
        settings.dtype.into(),
        device,
        &mut |_, index, count| {
            tensors = count;
            progress(index, count);
        },
    )?;
    progress(tensors, tensors);
    let masters = match settings.offload_optimizer {
        true => Masters::WithOptimizer,
        false => Masters::InModel,
    };
    let (method, seed) = (&settings.method, settings.seed);
    let prepared = prepare(pretrained, method, adapter, masters, seed)?;
    if !settings.weights_visit() {
        // What masters have replaced leaves the device; visitors' room stays.
        B::memory_cleanup(device);
    }
    Ok(prepared)
}

//! The devices of a training: which they are, what a step has of them, and what a failure of one means.

use glmtune_model::FloatType;
use glmtune_training::checkpoint::Checkpoints;
use glmtune_training::device_failure::StoppedByDevice;
use glmtune_training::parallel::processes::ranks::ProcessGroup;
use glmtune_training::settings::TrainSettings;

use crate::backend::{Selected, describe, select_all};
use crate::cli::TrainArgs;
use crate::commands::error::{Error, Result};
use crate::commands::ranks::host_place;

/// The devices of this process: that of its number where several share a host. Where none is named, a pipeline takes as many as it has stages, or one for all,
/// and the quick start, whose rows are few, takes one.
///
/// # Errors
/// If there is no such device.
pub fn select(args: &TrainArgs, group: &ProcessGroup) -> Result<Vec<Selected>> {
    let (stages, named) = (args.pipeline_stages, &args.model.compute.devices);
    let place = host_place(args.local_rank, group);
    let mut selected = select_all(args.model.compute.backend, named, place)?;
    if named.is_empty() && (stages > 1 || args.quick_start) {
        let count = if selected.len() < stages { 1 } else { stages };
        selected.truncate(count);
    }
    Ok(selected)
}

/// The devices and the type; where nobody named several, why they are several.
pub fn line(args: &TrainArgs, selected: &[Selected], dtype: FloatType) -> String {
    let why = match args.model.compute.devices.is_empty() && selected.len() > 1 {
        true => ", all that are visible (--devices or CUDA_VISIBLE_DEVICES chooses)",
        false => "",
    };
    format!("{}, {dtype}{why}", describe(selected))
}

/// What a step has, where several devices or processes share it.
pub fn step(settings: &TrainSettings) -> Option<String> {
    let (parallel, each) = (settings.data_parallel, settings.gradient_accumulation_steps);
    let (window, size) = (settings.window(), settings.per_device_train_batch_size);
    let what = match settings.packing {
        true => "packed sequence",
        false => "row",
    };
    (parallel > 1).then(|| {
        format!(
            "a step has {window} micro-batches of {size} {what}{}: {each} on each of {parallel} devices, {} {what}s in all",
            if size == 1 { "" } else { "s" },
            window * size
        )
    })
}

/// A device's failure while a training was being prepared, as those of its steps are told.
pub fn explain(error: Error, args: &TrainArgs) -> Error {
    use glmtune_model::Error::Device;
    use glmtune_training::Error as Training;
    match error {
        Error::Model(Device(failure)) | Error::Training(Training::Model(Device(failure))) => {
            Error::Training(Training::Device(StoppedByDevice {
                failure,
                step: None,
                // Those of an earlier run are none of this one's.
                checkpoint: args
                    .resume
                    .and_then(|_| Checkpoints::last(&args.output_dir)),
            }))
        }
        error => error,
    }
}

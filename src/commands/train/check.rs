//! What flags ask for that cannot be, each by itself or together.

use glmtune_model::adapters::AdapterKind;
use glmtune_training::parallel::processes::ranks::ProcessGroup;
use glmtune_training::settings::check_stages;

use super::validation_settings;
use crate::cli::TrainArgs;
use crate::commands::error::{Error, Result};

/// Checks the flags before anything is made or read.
///
/// # Errors
/// The first contradiction.
pub fn check(args: &TrainArgs, group: &ProcessGroup) -> Result<()> {
    if args.quick_start && args.dry_run {
        return Err(Error::Request(
            "--dry_run writes nothing, and --quick_start makes its model and rows first; give one of them"
                .to_string(),
        ));
    }
    if args.quick_start && group.size() > 1 {
        return Err(Error::Request(
            "--quick_start is for one process".to_string(),
        ));
    }
    if args.model.adapter.len() > 1 {
        return Err(Error::Request(
            "a training starts from one --adapter at most; `glmtune merge` folds several into a base"
                .to_string(),
        ));
    }
    if !args.save_safetensors && !args.method.train_type.is_adapter() {
        let kinds = AdapterKind::ALL.map(AdapterKind::name).join(" or ");
        return Err(Error::Request(format!(
            "--save_safetensors false is for adapters (--train_type {kinds}); whole models are written as \
             safetensors, which transformers and the published code load"
        )));
    }
    validation_settings::check(args)?;
    Ok(check_stages(
        args.pipeline_stages,
        args.model.compute.devices.len(),
    )?)
}

//! `glmtune init`: a model directory with random weights, in the published layout.

use std::path::Path;

use glmtune_model::checkpoint::parse_size;
use glmtune_model::init::{InitSettings, Made, init};
use glmtune_model::presets::Preset;

use super::console::{grouped, human_bytes, note, progress_bar};
use super::error::Result;
use super::leftovers::tidy_beside;
use crate::backend::AnyBackend;
use crate::cli::InitArgs;

/// Runs the command.
pub fn run(args: &InitArgs) -> Result<()> {
    let settings = InitSettings {
        preset: args.preset,
        mode: args.mode,
        tokenizer: args.tokenizer.clone(),
        published_vocabulary: false,
        dtype: args.dtype.map(Into::into),
        max_shard_size: parse_size(&args.max_shard_size)?,
        seed: args.seed,
    };
    make(&args.output, &settings)
}

/// Makes a model and says what it is.
///
/// # Errors
/// If it cannot be made.
pub fn make(output: &Path, settings: &InitSettings) -> Result<()> {
    tidy_beside(output);
    let bar = progress_bar("writing");
    let made = init::<AnyBackend>(output, settings, &mut |done, count| {
        bar.set_length(count as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if let (Preset::Small | Preset::Medium, None) = (settings.preset, &settings.tokenizer) {
        note(
            "without --tokenizer the vocabulary is small, and so is the model: the preset's size comes with a \
             published tokenizer",
        );
    }
    let Made {
        mode,
        dtype,
        parameters,
    } = made;
    note(format!(
        "{}: {mode}, {} parameters in {dtype}, {}",
        output.display(),
        grouped(parameters),
        human_bytes((parameters * dtype.size()) as f64)
    ));
    Ok(())
}

//! Who watches a training: files in the output directory, and lines on standard output.

use glmtune_model::GlmBackend;
use glmtune_training::observer::{Observers, Request, StopSignal};
use glmtune_training::report::{CurveFile, EventLogger, Lines, MetricsFile};
use glmtune_training::run::Training;

use crate::cli::TrainArgs;
use crate::commands::error::Result;
use crate::commands::output::{note, on_interrupts, say};

/// The observers of a training. The first of several processes alone writes and prints; all of them stop
/// when asked to.
///
/// # Errors
/// If a file cannot be written, or interrupts cannot be caught.
pub fn observers<B: GlmBackend>(args: &TrainArgs, training: &Training<B>) -> Result<Observers> {
    let mut observers = Observers::default();
    let is_first = training.shard.is_first();
    if is_first {
        let (dir, step) = (&args.output_dir, training.progress.step);
        let (metrics, history) = MetricsFile::open(dir, step)?;
        observers.add(metrics);
        observers.add(CurveFile::new(dir, &history));
        observers.add(EventLogger::create(dir, step)?);
        observers.add(Lines::new(args.show_loss_step, |line: &str| say(line)));
    }
    let stop = StopSignal::default();
    observers.add(stop.clone());
    on_interrupts(
        move || {
            stop.ask(Request::SaveAndStop);
            if is_first {
                note("finishing the step, then saving; once more to stop at once");
            }
        },
        || {},
    )?;
    Ok(observers)
}

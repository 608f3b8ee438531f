//! Who watches a training: files in the output directory, and a dashboard on a terminal or lines elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;

use glmtune_training::observer::{Observers, Request, RunDescription, StopSignal};
use glmtune_training::parallel::processes::ranks::ProcessGroup;
use glmtune_training::report::{CurveFile, EventLogger, History, Lines, MetricsFile};

use crate::cli::TrainArgs;
use crate::commands::console::{note, on_interrupts, say};
use crate::commands::error::Result;
use crate::dashboard::{Dashboard, close_screen};

/// The observers of a training. The first of several processes alone writes and prints; all of them stop
/// when asked to.
///
/// # Errors
/// If a file cannot be written, or interrupts cannot be caught.
pub fn observers(
    args: &TrainArgs,
    group: &ProcessGroup,
    run: &RunDescription,
) -> Result<Observers> {
    let mut observers = Observers::default();
    let is_first = group.is_first();
    let stop = StopSignal::default();
    observers.add(stop.clone());
    let asked = stop.clone();
    let interrupt = on_interrupts(
        move || {
            asked.ask(Request::SaveAndStop);
            if is_first {
                note("finishing the step, then saving; once more to stop at once");
            }
        },
        close_screen,
    )?;
    if !is_first {
        return Ok(observers);
    }
    let (dir, step) = (&args.output_dir, run.done_steps);
    let (metrics, history) = MetricsFile::open(dir, step)?;
    observers.add(metrics);
    observers.add(CurveFile::new(dir, &history));
    observers.add(EventLogger::create(dir, step)?);
    match dashboard(args, run, &history, stop, interrupt) {
        Some(dashboard) => observers.add(dashboard),
        None => observers.add(Lines::new(args.show_loss_step, |line: &str| say(line))),
    }
    Ok(observers)
}

/// A dashboard, where one is wanted and the terminal can show it.
fn dashboard(
    args: &TrainArgs,
    run: &RunDescription,
    history: &History,
    stop: StopSignal,
    interrupt: Arc<dyn Fn() + Send + Sync>,
) -> Option<Dashboard> {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if args.no_dashboard || is_dumb || !std::io::stdout().is_terminal() {
        return None;
    }
    let dashboard = Dashboard::open(run.clone(), history, stop, interrupt);
    let failed = |error| note(format!("no dashboard on this terminal: {error}"));
    dashboard.map_err(failed).ok()
}

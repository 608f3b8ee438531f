//! What is said when a training has ended.

use glmtune_training::parallel::processes::ranks::ProcessGroup;
use glmtune_training::run::Outcome;

use crate::cli::TrainArgs;
use crate::commands::console::{grouped, note};
use crate::commands::error::{Error, Result};

/// Says what was done and where it is.
///
/// # Errors
/// If the training was interrupted.
pub fn finish(args: &TrainArgs, outcome: &Outcome, group: &ProcessGroup) -> Result<()> {
    if outcome.interrupted {
        return Err(Error::Interrupted(stopped(outcome)));
    }
    if !group.is_first() {
        return Ok(());
    }
    if group.size() > 1 {
        note(format!(
            "{} bytes sent by this rank of {}",
            grouped(group.bytes_sent() as usize),
            group.size()
        ));
    }
    if outcome.stopped_early {
        note("stopped early: validations have become no better");
    }
    note(format!(
        "{} steps done; outputs in {}",
        outcome.steps,
        args.output_dir.display()
    ));
    Ok(())
}

fn stopped(outcome: &Outcome) -> String {
    let Outcome {
        steps, saved_steps, ..
    } = outcome;
    match saved_steps == steps {
        true => {
            format!("stopped and saved after step {steps}; the same command with --resume goes on")
        }
        false if *saved_steps == 0 => format!("stopped after step {steps}; nothing was saved"),
        false => format!(
            "stopped after step {steps}; the same command with --resume goes on after step {saved_steps}"
        ),
    }
}

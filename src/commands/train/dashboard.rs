//! How a training is shown: burn-train's dashboard on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use burn::backend::Autodiff;
use burn_train::Interrupter;
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use glmtune_model::{CausalLm, GlmBackend};
use glmtune_training::learner;
use glmtune_training::report::LinesRenderer;
use glmtune_training::run::{Outcome, Training};

use super::super::terminal::Terminal;
use crate::cli::TrainArgs;
use crate::commands::error::{Error, Result};
use crate::commands::output::on_interrupts;

/// Runs a training and shows it.
pub fn run<B: GlmBackend>(
    args: &TrainArgs,
    training: Training<B>,
    model: CausalLm<Autodiff<B>>,
) -> Result<Outcome> {
    let interrupter = Interrupter::new();
    let is_first = training.shard.is_first();
    let shows_dashboard = std::io::stdout().is_terminal() && !args.no_dashboard && is_first;
    let terminal = shows_dashboard.then(Terminal::remember);
    let stop = interrupter.clone();
    on_interrupts(
        move || {
            stop.stop(Some("interrupted"));
            if !shows_dashboard && is_first {
                eprintln!("finishing the step, then saving; once more to stop at once");
            }
        },
        move || {
            if let Some(terminal) = &terminal {
                terminal.restore();
            }
        },
    )?;
    match shows_dashboard {
        true => on_dashboard(training, model, interrupter),
        false => {
            let lines = match is_first {
                true => LinesRenderer::new(args.show_loss_step),
                false => LinesRenderer::silent(),
            };
            let notes = Arc::new(move |text: &str| {
                if !is_first {
                    return;
                }
                // Whoever reads the lines may be gone; the training goes on.
                let _ = writeln!(std::io::stdout(), "{text}");
            });
            Ok(learner::train(training, model, lines, interrupter, notes)?)
        }
    }
}

/// Lines that come up meanwhile are printed when the dashboard is gone.
fn on_dashboard<B: GlmBackend>(
    training: Training<B>,
    model: CausalLm<Autodiff<B>>,
    interrupter: Interrupter,
) -> Result<Outcome> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let collected = lines.clone();
    let notes = Arc::new(move |text: &str| {
        if let Ok(mut lines) = collected.lock() {
            lines.push(text.to_string());
        }
    });
    let dashboard = TuiMetricsRendererWrapper::new(interrupter.clone(), None);
    Terminal::let_interrupts_through();
    // burn-train ends the program by a panic when its user asks to be rid of it at once.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        learner::train(training, model, dashboard, interrupter, notes)
    }));
    if let Ok(lines) = lines.lock() {
        lines.iter().for_each(|line| println!("{line}"));
    }
    match outcome {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Error::Interrupted(
            "stopped at once; --resume goes on from the last checkpoint".to_string(),
        )),
    }
}

//! What must not pass silently in a step: weights that nobody trains, weights that stay on the device, losses
//! that are not numbers.

use burn::backend::Autodiff;
use glmtune_model::CausalLm;

use super::Trainer;
use crate::data::Sequences;
use crate::error::{Error, Result};
use crate::gradients::Gradients;
use crate::observer::Observer;
use crate::optim::ops::TrainingBackend;
use crate::settings::OnNan;

/// Rows that an error names at most.
const NAMED_ROWS: usize = 8;

impl<B: TrainingBackend> Trainer<B> {
    /// A weight in the host's memory that something has read outside a pass would silently stay on the device.
    pub(super) fn check_offloaded(&self, model: &CausalLm<Autodiff<B>>) -> Result<()> {
        let strays = self.host.strays(model);
        match strays.is_empty() {
            true => Ok(()),
            false => Err(Error::NotOffloaded(strays.join(", "))),
        }
    }

    /// A trainable parameter without a gradient would silently stay as it is.
    pub(super) fn check_gradients(&self, gradients: &Gradients<B>) -> Result<()> {
        let paths = self.trainable.keys();
        let missing = paths.filter(|path| !gradients.contains(path));
        no_gradient(&missing.map(String::as_str).collect::<Vec<_>>())
    }

    /// A loss or a gradient norm is not a number or infinite, in a step of some rows.
    pub(super) fn not_finite(
        &self,
        window: &[Sequences],
        (loss, norm): (f64, f64),
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let rows = self.lines(window);
        let step = self.progress.step + 1;
        let what = format!("step {step}: loss {loss}, gradient norm {norm}; rows of line {rows}");
        match self.settings.on_nan {
            OnNan::Stop => Err(Error::NotFinite(what)),
            OnNan::Skip => {
                observer.note(&format!("{what}: skipped"));
                Ok(())
            }
        }
    }

    /// The lines of the rows of a window, in words.
    fn lines(&self, window: &[Sequences]) -> String {
        let rows = window.iter().flatten().flatten();
        let lines: Vec<String> = rows
            .map(|&row| self.dataset.line(row).to_string())
            .collect();
        let more = lines.len().saturating_sub(NAMED_ROWS);
        let mut named = lines[..lines.len() - more].join(", ");
        if more > 0 {
            named.push_str(&format!(" and {more} more"));
        }
        named
    }
}

/// What becomes of parameters that are to be trained and have no gradient.
pub(super) fn no_gradient(missing: &[&str]) -> Result<()> {
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::NoGradient(missing.join(", "))),
    }
}

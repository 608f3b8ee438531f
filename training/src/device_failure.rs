//! A device that fails in a training: what is left, and how to need less of the device.

use std::fmt;
use std::path::PathBuf;

use glmtune_model::device_health::{Cause, DeviceFailure};

/// What lowers a training's need of device memory, the cheapest first.
const SAVING: &str = "--gradient_checkpointing, a smaller --per_device_train_batch_size or --max_len, \
                      --offload_optimizer, --offload_param; `glmtune inspect DIR --plan` with the flags of the \
                      training says what each saves";

/// A training that a device has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedByDevice {
    /// What failed.
    pub failure: DeviceFailure,
    /// Steps that were done before; `None` if the failure came while the training was being prepared.
    pub step: Option<u64>,
    /// Step and directory of the last checkpoint, if there is one.
    pub checkpoint: Option<(u64, PathBuf)>,
}

impl fmt::Display for StoppedByDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.failure)?;
        if self.failure.cause == Cause::OutOfMemory {
            write!(f, "\n  for a training also: {SAVING}")?;
        }
        match self.step {
            Some(step) => write!(
                f,
                "\n  stopped after step {step}; nothing was saved since the failure"
            )?,
            None => write!(f, "\n  stopped before its first step")?,
        }
        match &self.checkpoint {
            Some((step, dir)) => write!(
                f,
                "\n  the last checkpoint is that of step {step}, {}; --resume goes on from it",
                dir.display()
            ),
            None => write!(f, "\n  there is no checkpoint"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_flags_that_help_and_the_last_checkpoint() {
        let stopped = |text: &str, checkpoint| StoppedByDevice {
            failure: DeviceFailure::of(text),
            step: Some(7),
            checkpoint,
        };
        let text = stopped(
            "out of memory",
            Some((5, PathBuf::from("out/checkpoint/step-5"))),
        )
        .to_string();
        for part in [
            "ran out of memory",
            "--gradient_checkpointing",
            "--offload_optimizer",
            "--offload_param",
            "--max_len",
            "inspect DIR --plan",
            "after step 7",
            "step 5, out/checkpoint/step-5",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = stopped("the link fell off", None).to_string();
        assert!(!text.contains("--offload_param"), "{text}");
        assert!(text.contains("there is no checkpoint"), "{text}");
    }
}

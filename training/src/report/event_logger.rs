//! The numbers of every step as TensorBoard event files.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::StepRecord;
use super::events::{EventWriter, keep_steps};
use crate::error::Result;
use crate::observer::{Event, Observer, Split};

/// Folder of the event files in an output directory, as TensorBoard's own writer names it.
const FOLDER: &str = "runs";

/// Writes every number of every step.
#[derive(Debug)]
pub struct EventLogger {
    /// None once the disk has refused.
    writer: Option<EventWriter>,
}

impl EventLogger {
    /// Starts a file in an output directory; the next step is `step + 1`. What earlier files hold of later
    /// steps is removed: a resumed run takes them again.
    ///
    /// # Errors
    /// If the files cannot be read or written.
    pub fn create(output_dir: &Path, step: u64) -> Result<Self> {
        let folder = output_dir.join(FOLDER);
        keep_steps(&folder, step)?;
        let mut writer = EventWriter::create(&folder, now())?;
        if step > 0 {
            writer.resumed(step + 1, now())?;
        }
        Ok(Self {
            writer: Some(writer),
        })
    }

    fn write(&mut self, split: Split, record: &StepRecord) -> Result<()> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let wall_time = now();
        for (tag, value) in scalars(split, record) {
            writer.scalar(record.step, wall_time, tag, value as f32)?;
        }
        // Who watches a run wants to see its last step.
        writer.flush()
    }
}

/// The tags of a record with their values; that of the loss is the Python ancestor's.
fn scalars(split: Split, record: &StepRecord) -> Vec<(&'static str, f64)> {
    match split {
        Split::Eval => vec![("eval_loss", record.loss)],
        Split::Train => vec![
            ("train_loss", record.loss),
            ("lr", record.lr),
            ("grad_norm", record.grad_norm),
            ("tokens_per_second", record.speed()),
            ("memory_gib", record.memory_gib()),
        ],
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

impl Observer for EventLogger {
    fn notice(&mut self, event: &Event<'_>) {
        let Event::Step(split, record) = event else {
            return;
        };
        if let Err(error) = self.write(*split, record) {
            // The steps are in metrics.jsonl; a training does not end for want of a picture.
            tracing::warn!("TensorBoard events are no longer written: {error}");
            self.writer = None;
        }
    }
}

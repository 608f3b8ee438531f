//! The numbers of every step and validation as TensorBoard event files.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::events::{EventWriter, keep_steps};
use super::{AbilityRecord, EvalRecord, StepRecord};
use crate::error::Result;
use crate::observer::{Event, Observer};

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

    fn write(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<()> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let wall_time = now();
        for (tag, value) in scalars {
            writer.scalar(step, wall_time, tag, *value as f32)?;
        }
        // Who watches a run wants to see its last step.
        writer.flush()
    }
}

/// The tags of a step with their values; that of the loss is the Python ancestor's.
fn of_step(record: &StepRecord) -> Vec<(String, f64)> {
    let scalars = [
        ("train_loss", record.loss),
        ("lr", record.lr),
        ("grad_norm", record.grad_norm),
        ("tokens_per_second", record.speed()),
        ("memory_gib", record.memory_gib()),
    ];
    scalars
        .map(|(tag, value)| (tag.to_string(), value))
        .to_vec()
}

/// The tags of a validation with their values.
fn of_validation(record: &EvalRecord) -> Vec<(String, f64)> {
    let mut scalars = vec![("eval_loss".to_string(), record.loss)];
    let score = record.score.map(|score| ("eval_score".to_string(), score));
    scalars.extend(score);
    let all = record.scores.iter();
    scalars.extend(all.map(|(name, score)| (format!("eval/{name}"), *score)));
    scalars
}

/// The tags of an ability with their values.
fn of_ability(record: &AbilityRecord) -> Vec<(String, f64)> {
    let ability = &record.ability;
    let mut scalars = vec![(format!("general_loss/{ability}"), record.loss)];
    let score = record.score;
    scalars.extend(score.map(|score| (format!("general_score/{ability}"), score)));
    scalars
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

impl Observer for EventLogger {
    fn notice(&mut self, event: &Event<'_>) {
        let (step, scalars) = match event {
            Event::Step(record) => (record.step, of_step(record)),
            Event::Evaluated(record) => (record.step, of_validation(record)),
            Event::Ability(record) => (record.step, of_ability(record)),
            _ => return,
        };
        if let Err(error) = self.write(step, &scalars) {
            // The steps are in metrics.jsonl; a training does not end for want of a picture.
            tracing::warn!("TensorBoard events are no longer written: {error}");
            self.writer = None;
        }
    }
}

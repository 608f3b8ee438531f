//! TensorBoard event files by way of burn-train's loggers.

use std::collections::HashMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use burn_train::logger::MetricLogger;
use burn_train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn_train::metric::{MetricDefinition, MetricId, NumericEntry};

use super::events::EventWriter;
use crate::error::Result;

/// Folder of the event files in an output directory, as TensorBoard's own writer names it.
const FOLDER: &str = "runs";

/// Writes every number of every step.
pub struct EventLogger {
    /// None where another process writes.
    writer: Option<EventWriter>,
    /// Steps that are done.
    step: u64,
    names: HashMap<MetricId, String>,
}

impl EventLogger {
    /// Starts a file in an output directory; the next step is `step + 1`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(output_dir: &Path, step: u64) -> Result<Self> {
        Ok(Self {
            writer: Some(EventWriter::create(&output_dir.join(FOLDER), now())?),
            step,
            names: HashMap::new(),
        })
    }

    /// A logger that writes nothing.
    pub fn silent() -> Self {
        Self {
            writer: None,
            step: 0,
            names: HashMap::new(),
        }
    }

    fn write(&mut self, update: &MetricsUpdate) -> Result<()> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let wall_time = now();
        for metric in &update.entries_numeric {
            let Some(name) = self.names.get(&metric.entry.metric_id) else {
                continue;
            };
            let value = metric.numeric_entry.current() as f32;
            writer.scalar(self.step, wall_time, tag(name), value)?;
        }
        // Who watches a run wants to see its last step.
        writer.flush()
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The tag of a number; that of the loss is the Python ancestor's.
fn tag(name: &str) -> &str {
    match name {
        "Loss" => "train_loss",
        "Learning rate" => "lr",
        "Gradient norm" => "grad_norm",
        "Speed" => "tokens_per_second",
        "Memory" => "memory_gib",
        other => other,
    }
}

impl MetricLogger for EventLogger {
    fn log(&mut self, update: MetricsUpdate, _: usize, _: &Split) {
        self.step += 1;
        if let Err(error) = self.write(&update) {
            // The steps are in metrics.jsonl; a training does not end for want of a picture.
            tracing::warn!("TensorBoard events are no longer written: {error}");
            self.writer = None;
        }
    }

    fn read_numeric(
        &mut self,
        _: &str,
        _: usize,
        _: &Split,
    ) -> std::result::Result<Vec<NumericEntry>, String> {
        Err("event files are not read back".to_string())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name);
    }

    fn log_epoch_summary(&mut self, _: EpochSummary) {}
}

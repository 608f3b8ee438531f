//! Progress as plain lines, for logs and pipes.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use burn_train::metric::{MetricDefinition, MetricId};
use burn_train::renderer::{
    EvaluationName, EvaluationProgress, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining, ProgressType, TrainingProgress,
};

/// The values of a number since the last line.
#[derive(Default)]
struct Sum {
    total: f64,
    count: u64,
    last: f64,
}

/// Prints one line every few steps; loss, gradient norm and speed are means over those steps.
pub struct LinesRenderer {
    /// Steps between two lines; 0 for none.
    every: u64,
    names: HashMap<MetricId, String>,
    sums: HashMap<String, Sum>,
    started: Option<(Instant, usize)>,
}

impl LinesRenderer {
    /// A renderer that prints nothing: another process does.
    pub fn silent() -> Self {
        Self {
            every: 0,
            ..Self::new(1)
        }
    }

    /// A renderer that prints a line every `every` steps and at the last one.
    pub fn new(every: u64) -> Self {
        Self {
            every: every.max(1),
            names: HashMap::new(),
            sums: HashMap::new(),
            started: None,
        }
    }

    fn mean(&self, name: &str) -> f64 {
        let sum = self.sums.get(name);
        sum.map_or(f64::NAN, |sum| sum.total / sum.count as f64)
    }

    fn last(&self, name: &str) -> f64 {
        self.sums.get(name).map_or(f64::NAN, |sum| sum.last)
    }

    fn line(&self, step: usize, total: usize, epoch: usize, left: Option<Duration>) -> String {
        let left = left.map_or(String::new(), |left| format!("  {} left", clock(left)));
        format!(
            "step {step}/{total}  epoch {epoch}  loss {:.4}  lr {:.3e}  grad_norm {:.3}  \
             {:.0} tokens/s  {:.2} GiB{left}",
            self.mean("Loss"),
            self.last("Learning rate"),
            self.mean("Gradient norm"),
            self.mean("Speed"),
            self.last("Memory"),
        )
    }
}

/// Hours, minutes and seconds.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours}:{minutes:02}:{seconds:02}")
}

impl MetricsRendererTraining for LinesRenderer {
    fn update_train(&mut self, state: MetricState) {
        let MetricState::Numeric(entry, value) = state else {
            return;
        };
        if let Some(name) = self.names.get(&entry.metric_id) {
            let sum = self.sums.entry(name.clone()).or_default();
            sum.last = value.current();
            // A step that was left out has no gradient norm.
            if sum.last.is_finite() {
                sum.total += sum.last;
                sum.count += 1;
            }
        }
    }

    fn update_valid(&mut self, _: MetricState) {}

    fn render_train(&mut self, item: TrainingProgress, _: Vec<ProgressType>) {
        let (Some(progress), Some(step)) = (item.progress, item.iteration) else {
            return;
        };
        let (started, first) = *self.started.get_or_insert((Instant::now(), step));
        let total = progress.items_total;
        if self.every == 0 {
            return;
        }
        if !(step as u64).is_multiple_of(self.every) && step != total {
            return;
        }
        let done = step.saturating_sub(first) as u32;
        let left = (done > 0).then(|| started.elapsed() / done * total.saturating_sub(step) as u32);
        let line = self.line(step, total, item.global_progress.items_processed, left);
        // Whoever reads the lines may be gone; the training goes on.
        let _ = writeln!(std::io::stdout(), "{line}");
        self.sums.clear();
    }

    fn render_valid(&mut self, _: TrainingProgress, _: Vec<ProgressType>) {}
}

impl MetricsRendererEvaluation for LinesRenderer {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}

    fn render_test(&mut self, _: EvaluationProgress, _: Vec<ProgressType>) {}
}

impl MetricsRenderer for LinesRenderer {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name);
    }
}

//! One optimizer step, and its numbers as metrics of burn-train.

use std::sync::Arc;

use burn_train::ItemLazy;
use burn_train::metric::state::{FormatOptions, NumericMetricState};
use burn_train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
    NumericEntry, SerializedEntry,
};
use serde::Serialize;

/// What is reported of an optimizer step; a line of `metrics.jsonl`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StepRecord {
    /// Number of the step, from 1.
    pub step: u64,
    /// The epoch, from 1.
    pub epoch: usize,
    /// Mean loss of the step's micro-batches.
    pub loss: f64,
    /// Learning rate of the step.
    pub lr: f64,
    /// L2 norm of all gradients together, before clipping.
    pub grad_norm: f64,
    /// Tokens of the step's rows, without padding.
    pub tokens: u64,
    /// Duration, without what was saved.
    pub seconds: f64,
    /// Memory in use at its end: of the device, or of the process where it computes on the CPU.
    pub memory_bytes: u64,
}

impl StepRecord {
    /// Tokens per second.
    pub fn speed(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(1e-9)
    }
}

impl ItemLazy for StepRecord {
    type ItemSync = Self;

    fn sync(self) -> Self {
        self
    }
}

impl Adaptor<StepRecord> for StepRecord {
    fn adapt(&self) -> StepRecord {
        *self
    }
}

/// One number of the record.
#[derive(Clone)]
pub struct StepMetric {
    name: MetricName,
    unit: Option<&'static str>,
    precision: usize,
    value: fn(&StepRecord) -> f64,
    state: NumericMetricState,
}

impl StepMetric {
    fn new(
        name: &str,
        unit: Option<&'static str>,
        precision: usize,
        value: fn(&StepRecord) -> f64,
    ) -> Self {
        Self {
            name: Arc::new(name.to_string()),
            unit,
            precision,
            value,
            state: NumericMetricState::new(),
        }
    }

    /// The numbers that the dashboard shows.
    pub fn all() -> [Self; 5] {
        [
            Self::new("Loss", None, 4, |record| record.loss),
            Self::new("Learning rate", None, 2, |record| record.lr),
            Self::new("Gradient norm", None, 3, |record| record.grad_norm),
            Self::new("Speed", Some("tokens/s"), 1, StepRecord::speed),
            Self::new("Memory", Some("GiB"), 2, |record| {
                record.memory_bytes as f64 / f64::from(1 << 30)
            }),
        ]
    }
}

impl Metric for StepMetric {
    type Input = StepRecord;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: self.unit.map(str::to_string),
            higher_is_better: false,
        }
        .into()
    }

    fn update(&mut self, record: &StepRecord, _: &MetricMetadata) -> SerializedEntry {
        let format = FormatOptions::new(self.name()).precision(self.precision);
        let format = match self.unit {
            Some(unit) => format.unit(unit),
            None => format,
        };
        self.state.update((self.value)(record), 1, format)
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for StepMetric {
    fn value(&self) -> NumericEntry {
        self.state.current_value()
    }

    fn running_value(&self) -> NumericEntry {
        self.state.running_value()
    }
}

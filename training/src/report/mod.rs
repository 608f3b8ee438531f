//! What a training tells: one record per optimizer step, as a file of JSON lines, TensorBoard events, a
//! curve, lines on a terminal, and metrics for burn-train's dashboard.

mod curve;
mod event_logger;
mod events;
mod lines;
mod metrics_file;
mod record;

pub use curve::write_curve;
pub use event_logger::EventLogger;
pub use events::EventWriter;
pub use lines::LinesRenderer;
pub use metrics_file::MetricsFile;
pub use record::{StepMetric, StepRecord};

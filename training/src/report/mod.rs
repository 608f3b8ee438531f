//! What a training tells: one record per optimizer step and per validation, as a file of JSON lines, TensorBoard events, a
//! curve and lines on a terminal. Each is an [`Observer`](crate::observer::Observer) of the loop.

mod curve;
mod curve_file;
mod eval_record;
mod event_logger;
mod events;
mod lines;
mod metrics_file;
mod record;

pub use curve::write_curve;
pub use curve_file::CurveFile;
pub use eval_record::{AbilityRecord, EvalRecord, When};
pub use event_logger::EventLogger;
pub use events::EventWriter;
pub use lines::{Lines, clock};
pub use metrics_file::{History, MetricsFile};
pub use record::StepRecord;

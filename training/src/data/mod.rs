//! From files of rows to micro-batches of token ids.

mod cache;
mod collate;
mod dataset;
mod layout;
mod packed;
mod prepare;
mod rows;
mod settings;
mod shuffle;
mod summary;

pub use collate::{Batch, batches, collate};
pub use dataset::Dataset;
pub use layout::{LaidOut, LayoutLimits, TrainingRow, lay_out, lay_out_all};
pub use prepare::prepare;
pub use rows::{NumberedRow, Row, read_rows};
pub use settings::DataSettings;
pub use shuffle::epoch_order;
pub use summary::Summary;

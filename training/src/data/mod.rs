//! From files of rows to micro-batches of token ids.

mod cache;
mod collate;
mod dataset;
mod layout;
mod prepare;
mod rows;
mod shuffle;
mod summary;

pub use collate::{Batch, batches, collate};
pub use dataset::Dataset;
pub use layout::{LaidOut, LayoutLimits, TrainingRow, lay_out, lay_out_all};
pub use prepare::{DataSettings, prepare};
pub use rows::{NumberedRow, Row, read_rows};
pub use shuffle::epoch_order;
pub use summary::Summary;

//! Rows as users have them, and as a model sees them: from a file to token ids and their targets.
//!
//! Training, prediction, scoring and serving need the same rows, so that they are the model's.

mod layout;
mod read;
mod row_file;

pub use layout::{LaidOut, LayoutLimits, TrainingRow, lay_out, lay_out_all};
pub use read::{NumberedRow, Row, read_rows};

/// Label of a position that has no target.
pub const IGNORED: i64 = -100;

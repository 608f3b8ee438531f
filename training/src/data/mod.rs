//! From files of rows to training rows of token ids.

mod layout;
mod rows;

pub use layout::{LaidOut, LayoutLimits, TrainingRow, lay_out, lay_out_all};
pub use rows::{NumberedRow, Row, read_rows};

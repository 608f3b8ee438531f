//! Rows as users have them, and as a model sees them: from a file to token ids and their targets.
//!
//! Training, prediction, scoring and serving need the same rows, so that they are the model's. A form of
//! rows is a file here (`forms.rs` chooses, [`RowFormat`] names their keys), their layout is [`lay_out`], what
//! is cut off from a row is decided in [`LayoutLimits`], [`Prompting`] turns questions into the prompts
//! that a model was trained on, and [`RowPrompts`] does so with rows.

mod columns;
mod conversation;
mod format;
mod forms;
mod ids;
mod layout;
mod limits;
mod object;
mod prompting;
mod read;
mod row;
mod row_file;
mod row_prompt;
mod row_use;

pub use format::RowFormat;
pub use layout::{LaidOut, TrainingRow, lay_out, lay_out_all};
pub use limits::LayoutLimits;
pub use prompting::Prompting;
pub use read::{Question, Rows, read_questions, read_rows};
pub use row::{NumberedRow, Row};
pub use row_prompt::{RowPrompt, RowPrompts};

/// Label of a position that has no target.
pub const IGNORED: i64 = -100;

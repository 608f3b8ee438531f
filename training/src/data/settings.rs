//! What makes up a data set.

use std::path::{Path, PathBuf};

use glmtune_model::rows::{LayoutLimits, RowFormat};
use glmtune_model::tokenizer::Mode;

/// What makes up a data set.
#[derive(Debug)]
pub(super) struct DataSettings<'a> {
    /// The file of rows.
    pub path: &'a Path,
    /// Row format.
    pub mode: Mode,
    /// How the rows are read.
    pub format: RowFormat,
    /// Limits of a row.
    pub limits: LayoutLimits,
    /// Whether rows that would be truncated are left out.
    pub is_skip: bool,
    /// Size of the model's vocabulary; ids outside are refused.
    pub vocabulary: usize,
    /// Folder of cached tokens.
    pub cache: Option<PathBuf>,
    /// Files that determine the tokenizer.
    pub tokenizer_files: Vec<PathBuf>,
}

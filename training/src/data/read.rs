//! A file of rows for a training of a model.

use std::path::{Path, PathBuf};

use glmtune_model::ModelInfo;
use glmtune_model::rows::RowFormat;
use glmtune_model::tokenizer::tokenizer_files;

use super::dataset::Dataset;
use super::prepare::prepare;
use super::settings::DataSettings;
use crate::error::Result;
use crate::settings::TrainSettings;

/// How a file of rows is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The names of a row's parts, and the text that stands before every row.
    pub format: RowFormat,
    /// Folder of encoded rows; none to encode anew and keep nothing.
    pub cache: Option<PathBuf>,
}

impl Dataset {
    /// Reads, encodes and checks a file of rows. `progress` is called with the rows done and all rows.
    ///
    /// # Errors
    /// If a row is broken, has no target, a token outside of the vocabulary or lacks what the model needs, with
    /// its line and the number of other such rows; if no row is left.
    pub fn read(
        path: &Path,
        model: &ModelInfo,
        settings: &TrainSettings,
        options: ReadOptions,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self> {
        let prompt_text = options.format.prompt_text.clone();
        let data = DataSettings {
            path,
            mode: settings.mode,
            format: options.format,
            limits: settings.limits,
            is_skip: settings.is_skip,
            vocabulary: model.config.common().vocab_size,
            cache: options.cache,
            tokenizer_files: tokenizer_files(model.dir()),
        };
        let dataset = prepare(&data, model.tokenizer.as_ref(), progress)?;
        dataset.check(path, &|ids| model.config.row_fault(ids))?;
        Ok(dataset.with_prompt_text(prompt_text))
    }
}

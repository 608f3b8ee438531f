//! Whether a tokenizer belongs to a model.

use std::path::Path;

use super::Tokenizer;
use crate::config::ModelConfig;
use crate::error::{Error, Result};

impl Tokenizer {
    /// Checks that every id has its row in the model's embedding; `dir` holds the model.
    ///
    /// # Errors
    /// [`Error::Key`] naming the tokenizer's file and the vocabulary's key in `config.json`.
    pub fn check_fits(&self, config: &ModelConfig, dir: &Path) -> Result<()> {
        let (size, most) = (self.vocab_size(), config.common().vocab_size);
        if size <= most {
            return Ok(());
        }
        let key = match config {
            ModelConfig::ChatGlm(_) => "vocab_size",
            ModelConfig::ChatGlm2(_) => "padded_vocab_size",
        };
        let expected = format!(
            "at least {size}, as {} has ids up to {} (is it another model's tokenizer?)",
            self.path().display(),
            size - 1
        );
        Err(Error::key(dir.join("config.json"), key, most, expected))
    }
}

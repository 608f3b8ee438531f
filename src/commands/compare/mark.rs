//! What is known of a stage of a run: a small file beside its outputs, by which a comparison that was killed finds
//! what is done.

use std::path::Path;

use glmtune_model::checkpoint::AtomicFile;
use glmtune_model::files::{Limit, read_json};
use serde::{Deserialize, Serialize};

use crate::commands::error::Result;

/// The state of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was begun.
    Begun,
    /// Its outputs are whole.
    Done,
    /// It ended with an error.
    Failed,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Of everything that decides its outputs.
    pub digest: String,
    /// How far it is.
    pub state: State,
    /// Duration of the attempt that ended it.
    #[serde(default)]
    pub seconds: f64,
    /// Most memory of its process.
    #[serde(default)]
    pub peak_bytes: Option<u64>,
    /// The last lines of what a failed one said.
    #[serde(default)]
    pub error: Vec<String>,
}

impl Mark {
    /// A stage that begins.
    pub fn begun(digest: &str) -> Self {
        Self {
            digest: digest.to_string(),
            state: State::Begun,
            seconds: 0.0,
            peak_bytes: None,
            error: Vec::new(),
        }
    }

    /// What is noted of a stage; nothing where the file is missing or is not ours.
    pub fn read(path: &Path) -> Option<Self> {
        read_json(path, Limit::SETTINGS).ok()
    }

    /// Notes it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::from)?;
        Ok(AtomicFile::write(path, &text)?)
    }
}

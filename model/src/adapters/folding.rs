//! What an adapter directory says of itself, and how its adapter is folded into a base.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::stored::{GivenSettings, StoredForm};
use crate::checkpoint::TensorInfo;
use crate::error::{Error, Result};

/// A linear layer that a stored adapter changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its path.
    pub module: String,
    /// Widths of its input and output, as the adapter has them.
    pub dims: [usize; 2],
}

/// What an adapter adds to the weight of one layer.
pub trait WeightDelta: Send + Sync {
    /// Adds the change of one row of the weight `[out, in]` to `delta`, given the row of the base.
    fn add_row(&self, row: usize, base: &[f32], delta: &mut [f32]);
}

/// An opened adapter directory of one kind.
pub trait StoredAdapter: Debug {
    /// The directory.
    fn path(&self) -> &Path;

    /// What it says of itself, beside its kind.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn facts(&self) -> Result<Vec<(&'static str, Value)>>;

    /// Its tensors.
    fn tensors(&self) -> Vec<&TensorInfo>;

    /// The base model that it names.
    fn base_model(&self) -> Option<&str> {
        None
    }

    /// The linear layers that it changes.
    fn sites(&self) -> Vec<Site> {
        Vec::new()
    }

    /// Whether it changes nothing at all.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn is_without_effect(&self) -> Result<bool> {
        Ok(false)
    }

    /// The change of the weight of one of [`sites`](Self::sites).
    ///
    /// # Errors
    /// If a file cannot be read, or the adapter cannot be folded.
    fn delta(&self, site: usize) -> Result<Box<dyn WeightDelta>> {
        let _ = site;
        Err(Error::directory(self.path(), "changes no weight"))
    }

    /// Completes the settings of a training that goes on from it.
    fn settle(&self, given: &mut GivenSettings);

    /// The form in which a training that goes on from it stores it again, with another dropout.
    fn stored(&self, dropout: f64) -> Arc<dyn StoredForm>;
}

//! Rows to batches, losses, gradients, updates and checkpoints.
//!
//! Builds on `glmtune-model` and knows neither a concrete backend nor the command line.

pub mod data;
pub mod error;
pub mod loss;

pub use error::{Error, Result};

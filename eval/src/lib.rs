//! Predictions to numbers: what a tuned model answered, row by row, becomes scores that can be compared.
//!
//! A [`Task`] scores a row and sums up all rows; [`predictions`] reads the rows that `glmtune predict` writes;
//! [`baseline`] puts two models' side by side, and [`bootstrap`] says whether a difference between them is more than
//! noise; [`comparison`] makes a report of several methods of tuning. Models are not the concern of
//! this crate: it sees text and numbers only.

pub mod abilities;
pub mod baseline;
pub mod bootstrap;
pub mod comparison;
pub mod correlation;
pub mod error;
pub mod perplexity;
pub mod predictions;
pub mod questions;
pub mod report;
pub mod scores;
pub mod task;
pub mod text;
pub mod triples;

pub use error::{Error, Result};
pub use predictions::Prediction;
pub use scores::Scores;
pub use task::Task;

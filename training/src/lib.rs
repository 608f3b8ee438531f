//! Rows to batches, losses, gradients, updates and checkpoints.
//!
//! Builds on `glmtune-model` and knows neither a concrete backend nor the command line. A training is
//! [`TrainingRequest`] ([`settings`], rows from [`data`], places) → [`Training::prepare`] → [`Training::run`]: the
//! loop takes micro-batches, walks the model's segments ([`forward`], [`backward`]), adds up [`gradients`], updates by an
//! [`optim`] rule at the [`schedule`]'s rate, tells its [`observer`]s, and [saves](saving) outputs and
//! [`checkpoint`]s. [`report`] has the observers that write files and lines.

pub mod backward;
pub mod checkpoint;
pub mod data;
pub mod deepspeed;
pub mod device_failure;
pub mod error;
pub mod forward;
pub mod gradients;
mod inference;
pub mod loss;
pub mod method;
pub mod micro_batch;
pub mod observer;
pub mod optim;
pub mod parallel;
pub mod plan;
pub mod precision;
mod prefetch;
pub mod report;
pub mod run;
pub mod saving;
pub mod schedule;
pub mod settings;
mod tensors;
mod threads;
pub mod validation;
pub mod weights;
pub mod window;

pub use error::{Error, Result};
pub use optim::ops::TrainingBackend;
pub use run::{Training, TrainingRequest};

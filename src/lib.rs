//! Fine-tune, merge, generate from and chat with the ChatGLM family.
//!
//! This crate is the facade: it re-exports the parts ([`model`], [`training`], [`eval`]) and holds the
//! command-line program. No algorithm lives here. `use glmtune::prelude::*` brings what most programs need.
//!
//! # Fine-tune
//!
//! ```rust,ignore
#![doc = include_str!("../examples/finetune.rs")]
//! ```
//!
//! # Ask
//!
//! ```rust,ignore
#![doc = include_str!("../examples/chat.rs")]
//! ```
//!
//! Another backend than the CPU's is another type and its device: `burn_wgpu::Wgpu`, `burn_cuda::Cuda`. Code of your
//! own on such a device calls [`device_health::watch`](model::device_health::watch) at its start and gets
//! [`Error::Device`](model::Error::Device) when the device fails.

pub mod backend;
mod cache_folder;
pub mod cli;
pub mod commands;
mod dashboard;
mod kernel_table;
pub mod prelude;
pub mod print;
pub mod serve;
pub mod settings_file;

pub use glmtune_eval as eval;
pub use glmtune_model as model;
pub use glmtune_training as training;

//! Fine-tune, merge, generate from and chat with the ChatGLM family.
//!
//! This crate is the facade: it re-exports the parts and holds the command-line program. No algorithm
//! lives here.

pub mod backend;
pub mod cli;
pub mod commands;
mod dashboard;
pub mod print;
pub mod settings_file;

pub use glmtune_eval as eval;
pub use glmtune_model as model;
pub use glmtune_training as training;

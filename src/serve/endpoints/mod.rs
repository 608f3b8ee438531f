//! What the server can be asked for, one file each.

pub mod adapters;
pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod health;
pub mod metrics;
pub mod models;
pub mod tokens;

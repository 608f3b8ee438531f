//! Several devices of one process: replicas of the model, whose gradients meet in every step.

pub mod data;
mod meeting;
pub mod ops;
pub(crate) mod parts;
pub mod replicas;

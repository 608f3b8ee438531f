//! Several devices of one process: replicas of the model, whose gradients meet in every step.

pub mod data;
mod meeting;
pub mod ops;
pub mod parts;
pub mod replicas;
mod shared_update;

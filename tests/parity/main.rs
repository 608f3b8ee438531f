//! The models against what the published PyTorch code computes (`tests/data/golden`), one generic body
//! per property, instantiated for every backend of the build.
//!
//! A backend that the machine lacks is reported as skipped; with `CI` set it must be there.

#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod backends;
mod engine;
mod fixtures;
mod forward;
mod forward_only;
mod generation;
mod gradients;
mod half_gradients;
mod packing;
mod prefix_dropout;
mod rope_ratio;

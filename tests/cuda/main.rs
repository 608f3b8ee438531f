//! The CUDA backend on the CUDA device in software: its operations against those of the CPU, and the device itself.
//! Parity and trajectories are in the targets of all backends.

#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod attention;
mod collectives;
mod operations;
mod products;
mod rows;
mod tensors;

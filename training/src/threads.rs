//! Threads that share a device.

use std::thread::{Scope, ScopedJoinHandle};

use burn::tensor::StreamId;

use crate::error::{Error, Result};

/// Starts a thread whose work for a device is queued behind that of the thread that starts it.
///
/// cubecl gives every thread a queue of its own; with cubecl 0.10 on wgpu, tensors that passed from one queue
/// to another gave wrong gradients (`tests/cli/train/trajectories.rs`, `on_wgpu::two_stages`).
pub(crate) fn spawn<'scope, 'env, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    let stream = StreamId::current();
    scope.spawn(move || stream.executes(work))
}

/// What a thread that works for a device gives.
///
/// # Errors
/// Its own, or that it broke down.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| {
        Err(Error::Model(glmtune_model::Error::Compute(
            "the computation on one of the devices broke down".to_string(),
        )))
    })
}

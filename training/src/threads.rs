//! Threads that share a device.

use std::thread::{Scope, ScopedJoinHandle};

use burn::tensor::StreamId;

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

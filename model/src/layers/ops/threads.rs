//! Where a pass runs: beside the threads that its operations share their work among, or on one of them.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::backend::Backend;

/// The threads of a backend.
pub trait ThreadsOps: Backend {
    /// Does work that calls many operations. Where the backend has threads of its own, it is done on one of them: an
    /// operation that is called from there need not wake one and wait for it, which takes longer than the
    /// operations of a pass over a single token.
    fn on_own_threads<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        work()
    }
}

impl<B: ThreadsOps, C: CheckpointStrategy> ThreadsOps for Autodiff<B, C> {
    fn on_own_threads<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        B::on_own_threads(work)
    }
}

#[cfg(feature = "flex")]
impl ThreadsOps for burn_flex::Flex {
    fn on_own_threads<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        rayon::scope(|_| work())
    }
}

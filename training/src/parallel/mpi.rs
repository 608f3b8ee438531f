//! [`Ranks`] on MPI.

use std::sync::atomic::{AtomicU64, Ordering};

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};

use super::ranks::Ranks;

/// Bytes of a float32.
const FLOAT: u64 = 4;

/// All processes that `mpirun` has started.
pub struct World {
    world: SimpleCommunicator,
    sent: AtomicU64,
    /// Ends MPI when it is dropped.
    _universe: Universe,
}

// SAFETY: MPI's handles may be used by any thread as long as no two use MPI at once (MPI_THREAD_SERIALIZED, which
// `join` asks for); only the thread of the training loop calls it.
unsafe impl Send for World {}
unsafe impl Sync for World {}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

impl World {
    /// Joins the other processes; `None` if MPI has been started before.
    pub fn join() -> Option<Self> {
        let (universe, _) = mpi::initialize_with_threading(Threading::Serialized)?;
        Some(Self {
            world: universe.world(),
            sent: AtomicU64::new(0),
            _universe: universe,
        })
    }

    /// A ring moves `(size - 1) / size` of the values through every rank.
    fn count(&self, values: usize) {
        let size = self.size() as u64;
        let bytes = FLOAT * values as u64 * (size - 1) / size;
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Ranks for World {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn reduce_scatter(&self, values: &[f32]) -> Vec<f32> {
        self.count(values.len());
        let mut part = vec![0.0f32; values.len() / self.size()];
        self.world
            .reduce_scatter_block_into(values, &mut part[..], SystemOperation::sum());
        part
    }

    fn all_gather(&self, part: &[f32]) -> Vec<f32> {
        let mut values = vec![0.0f32; part.len() * self.size()];
        self.count(values.len());
        self.world.all_gather_into(part, &mut values[..]);
        values
    }

    fn all_sum(&self, values: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0f64; values.len()];
        self.world
            .all_reduce_into(values, &mut sums[..], SystemOperation::sum());
        sums
    }

    fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn abort(&self, status: i32) -> ! {
        self.world.abort(status)
    }
}

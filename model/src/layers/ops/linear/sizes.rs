//! The sizes of a product, and how it is shared out.

use gemm::Parallelism;
use rayon::prelude::*;

/// Products smaller than this many multiplications are not worth waking other threads.
const PARALLEL_FROM: usize = 1 << 17;

/// The sizes of a product.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub rows: usize,
    pub input: usize,
    pub output: usize,
}

impl Sizes {
    /// Whether other threads are worth waking.
    fn is_worth_threads(&self) -> bool {
        self.rows * self.input * self.output >= PARALLEL_FROM
    }

    /// Does so many tasks, on all threads if they are worth waking.
    pub fn for_each(&self, tasks: usize, task: impl Fn(usize) + Sync + Send) {
        match self.is_worth_threads() {
            true => (0..tasks).into_par_iter().for_each(task),
            false => (0..tasks).for_each(task),
        }
    }

    /// The threads of a matrix product.
    pub fn parallelism(&self) -> Parallelism {
        match self.is_worth_threads() {
            true => Parallelism::Rayon(0),
            false => Parallelism::None,
        }
    }
}

//! [`Ranks`] on MPI.
//!
//! One thread starts MPI, makes every call to it and ends it, so that the weakest level that a program with threads
//! needs is enough (`MPI_THREAD_FUNNELED`). It starts what it is given at once, never waits for one thing alone, and
//! asks again and again what has come.

mod engine;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::engine::{Found, Job, Order};
use super::ranks::{Arrival, HostPlace, Lane, Ranks, ended};
use crate::error::{Error, Result};
use burn::tensor::Bytes;

/// How long the end of all processes may take before this one ends itself.
const ABORT: Duration = Duration::from_secs(10);

/// All processes that `mpirun` has started.
#[derive(Debug)]
pub struct World {
    rank: usize,
    size: usize,
    place: HostPlace,
    sent: AtomicU64,
    /// To the thread that calls MPI; gone when that is to end.
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    /// Joins the other processes.
    ///
    /// # Errors
    /// If MPI has been started before, or serves no program that has threads.
    pub fn join() -> Result<Self> {
        let (orders, received) = channel();
        let (found, told) = channel();
        let thread = thread::Builder::new().name("mpi".to_string());
        let thread = thread
            .spawn(move || engine::run(&found, &received))
            .map_err(|error| Error::Request(format!("no thread for MPI: {error}")))?;
        let Found { rank, size, place } = told.recv().map_err(|_| ended())??;
        Ok(Self {
            rank,
            size,
            place,
            sent: AtomicU64::new(0),
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    fn start(&self, lane: Lane, job: Job) -> Arrival {
        let (reply, arrival) = channel();
        if let Some(orders) = &self.orders {
            // Where the thread is gone, the arrival says so.
            let _ = orders.send(Order::Start { lane, job, reply });
        }
        Arrival::new(arrival)
    }

    /// Every other rank gets a share of what all ranks have together.
    fn count(&self, all: usize) {
        let size = self.size as u64;
        let sent = all as u64 / size * (size - 1);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Ranks for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn host_place(&self) -> HostPlace {
        self.place
    }

    fn exchange(&self, lane: Lane, pieces: Bytes) -> Arrival {
        self.count(pieces.len());
        self.start(lane, Job::Exchange(pieces))
    }

    fn gather(&self, lane: Lane, part: Bytes) -> Arrival {
        self.count(part.len() * self.size);
        self.start(lane, Job::Gather(part))
    }

    fn all_sum(&self, values: &[f64]) -> Result<Vec<f64>> {
        let values = Bytes::from_elems(values.to_vec());
        let sums = self.start(Lane::Steps, Job::Sum(values)).wait()?;
        Ok(bytemuck::cast_slice(&sums).to_vec())
    }

    fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn abort(&self, status: i32) -> ! {
        if let Some(orders) = &self.orders
            && orders.send(Order::Abort(status)).is_ok()
        {
            thread::sleep(ABORT);
        }
        std::process::exit(status)
    }
}

//! [`Ranks`] on MPI.
//!
//! One thread starts MPI, makes every call to it and ends it, so that the weakest level that a program with threads
//! needs is enough (`MPI_THREAD_FUNNELED`). It starts what it is given at once, never waits for one thing alone, and
//! asks again and again what has come.

mod communicators;
mod engine;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use burn::tensor::Bytes;
use glmtune_model::FloatType;

use self::communicators::Circle;
use self::engine::{Found, Job, Order};
use super::levels::Levels;
use super::ranks::{Arrival, HostPlace, Lane, Ranks, ended};
use crate::error::{Error, Result};

/// How long the end of all processes may take before this one ends itself.
const ABORT: Duration = Duration::from_secs(10);

/// Joins all processes that `mpirun` has started. Those of a host add up what they have before it leaves the host.
///
/// # Errors
/// If MPI has been started before, or serves no program that has threads.
pub fn join() -> Result<Arc<dyn Ranks>> {
    let (orders, received) = channel();
    let (found, told) = channel();
    let thread = thread::Builder::new().name("mpi".to_string());
    let thread = thread
        .spawn(move || engine::run(&found, &received))
        .map_err(|error| Error::Request(format!("no thread for MPI: {error}")))?;
    let Found {
        all,
        host,
        circles: found,
    } = told.recv().map_err(|_| ended())??;
    let connection = Arc::new(Connection {
        orders: Some(orders),
        thread: Some(thread),
    });
    let members = |circle, place| Members {
        circle,
        place,
        host,
        sent: AtomicU64::new(0),
        connection: Arc::clone(&connection),
    };
    let all: Arc<dyn Ranks> = Arc::new(members(Circle::All, all));
    Ok(match found {
        None => all,
        Some([island, peers]) => Arc::new(Levels {
            island: Arc::new(members(Circle::Island, island)),
            peers: Arc::new(members(Circle::Peers, peers)),
            all,
        }),
    })
}

/// The thread that calls MPI.
#[derive(Debug)]
struct Connection {
    /// Gone when the thread is to end.
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Processes that exchange something among themselves.
#[derive(Debug)]
struct Members {
    circle: Circle,
    /// This process among them.
    place: HostPlace,
    /// This process among those of its host.
    host: HostPlace,
    sent: AtomicU64,
    connection: Arc<Connection>,
}

impl Members {
    fn start(&self, lane: Lane, job: Job) -> Arrival {
        let (reply, arrival) = channel();
        if let Some(orders) = &self.connection.orders {
            let circle = self.circle;
            // Where the thread is gone, the arrival says so.
            let _ = orders.send(Order::Start {
                circle,
                lane,
                job,
                reply,
            });
        }
        Arrival::new(arrival)
    }

    /// Every other rank gets a share of what all ranks have together.
    fn count(&self, all: usize) {
        let size = self.place.size as u64;
        let sent = all as u64 / size * (size - 1);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }
}

impl Ranks for Members {
    fn rank(&self) -> usize {
        self.place.rank
    }

    fn size(&self) -> usize {
        self.place.size
    }

    fn host_place(&self) -> HostPlace {
        self.host
    }

    fn exchange(&self, lane: Lane, pieces: Bytes, _: FloatType) -> Arrival {
        self.count(pieces.len());
        self.start(lane, Job::Exchange(pieces))
    }

    fn gather(&self, lane: Lane, part: Bytes) -> Arrival {
        self.count(part.len() * self.place.size);
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
        if let Some(orders) = &self.connection.orders
            && orders.send(Order::Abort(status)).is_ok()
        {
            thread::sleep(ABORT);
        }
        std::process::exit(status)
    }
}

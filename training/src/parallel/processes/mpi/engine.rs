//! The thread that calls MPI.

use std::ffi::{c_int, c_void};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use burn::tensor::Bytes;
use mpi::Threading;
use mpi::environment::Universe;
use mpi::ffi;
use mpi::raw::AsRaw;
use mpi::topology::SimpleCommunicator;
use mpi::traits::Communicator;

use super::super::ranks::{HostPlace, Lane};
use super::communicators::{Circle, Communicators};
use crate::error::{Error, Result};

/// How often it is asked at once what has come, before the processor is left to others meanwhile.
const BUSY_ROUNDS: u32 = 64;
/// Then it is asked after so long, or when there is something new to start: MPI moves nothing on by itself.
const PAUSE: Duration = Duration::from_micros(20);

/// What the thread is to do.
#[derive(Debug)]
pub(super) enum Order {
    Start {
        circle: Circle,
        lane: Lane,
        job: Job,
        reply: Sender<Result<Bytes>>,
    },
    /// Ends all processes with this exit status.
    Abort(i32),
}

/// What all ranks do together.
#[derive(Debug)]
pub(super) enum Job {
    /// Every rank gets its piece of these bytes, which are as many as there are ranks.
    Exchange(Bytes),
    /// Every rank gets the bytes of all.
    Gather(Bytes),
    /// The sums of 64-bit floats.
    Sum(Bytes),
}

/// What the thread that calls MPI finds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// This process among all.
    pub all: HostPlace,
    /// Among those of its host.
    pub host: HostPlace,
    /// Among those of its island and among its peers, where there are such.
    pub circles: Option<[HostPlace; 2]>,
}

/// What is on its way. MPI reads and writes the buffers until it is done, so that nobody else has them.
struct Running {
    request: ffi::MPI_Request,
    _sent: Bytes,
    received: Bytes,
    reply: Sender<Result<Bytes>>,
}

/// Starts MPI, tells what it found, and does what it is told until nobody is there to tell more.
pub(super) fn run(found: &Sender<Result<Found>>, orders: &Receiver<Order>) {
    let universe = match start() {
        Ok(universe) => universe,
        Err(error) => {
            let _ = found.send(Err(error));
            return;
        }
    };
    match Communicators::new(&universe.world()) {
        Err(error) => drop(found.send(Err(error))),
        Ok(communicators) => {
            let told = Found {
                all: communicators.place(),
                host: communicators.host,
                circles: communicators.places(),
            };
            if found.send(Ok(told)).is_ok() {
                serve(&communicators, orders);
            }
        }
    }
    // Communicators are gone before MPI ends.
    drop(universe);
}

fn start() -> Result<Universe> {
    let started = mpi::initialize_with_threading(Threading::Funneled);
    let (universe, given) =
        started.ok_or_else(|| Error::Request("MPI could not be started".to_string()))?;
    match thread_fault(given) {
        None => Ok(universe),
        Some(fault) => Err(Error::Request(fault)),
    }
}

fn serve(communicators: &Communicators, orders: &Receiver<Order>) {
    let mut running: Vec<Running> = Vec::new();
    let mut idle = 0;
    loop {
        match next(orders, !running.is_empty(), idle) {
            Next::Order(Order::Start {
                circle,
                lane,
                job,
                reply,
            }) => {
                idle = 0;
                match begin(communicators.of(circle, lane), job) {
                    Ok((request, sent, received)) => running.push(Running {
                        request,
                        _sent: sent,
                        received,
                        reply,
                    }),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Next::Order(Order::Abort(status)) => {
                communicators.of(Circle::All, Lane::Steps).abort(status)
            }
            Next::Nothing => {}
            Next::End if running.is_empty() => return,
            Next::End => std::thread::sleep(PAUSE),
        }
        let before = running.len();
        running = running.into_iter().filter_map(still_running).collect();
        idle = if running.len() < before { 0 } else { idle + 1 };
    }
}

/// What comes next from those who give orders.
enum Next {
    Order(Order),
    Nothing,
    /// No more will come.
    End,
}

fn next(orders: &Receiver<Order>, is_busy: bool, idle: u32) -> Next {
    if !is_busy {
        return orders.recv().map_or(Next::End, Next::Order);
    }
    if idle < BUSY_ROUNDS {
        return match orders.try_recv() {
            Ok(order) => Next::Order(order),
            Err(TryRecvError::Empty) => Next::Nothing,
            Err(TryRecvError::Disconnected) => Next::End,
        };
    }
    match orders.recv_timeout(PAUSE) {
        Ok(order) => Next::Order(order),
        Err(RecvTimeoutError::Timeout) => Next::Nothing,
        Err(RecvTimeoutError::Disconnected) => Next::End,
    }
}

/// Starts something: the request, and the buffers that it reads and writes.
fn begin(lane: &SimpleCommunicator, job: Job) -> Result<(ffi::MPI_Request, Bytes, Bytes)> {
    let size = lane.size() as usize;
    let (sent, pieces, is_exchange) = match job {
        Job::Exchange(bytes) => (bytes, size, true),
        Job::Gather(bytes) => (bytes, 1, false),
        Job::Sum(bytes) => return Ok(begin_sum(lane, bytes)),
    };
    let piece = sent.len() / pieces;
    let count = count(piece)?;
    let mut received = zeros(piece * size);
    let (from, to) = (
        sent.as_ptr().cast::<c_void>(),
        received.as_mut_ptr().cast::<c_void>(),
    );
    // SAFETY: both buffers stay where they are, and nobody else touches them, until the request is done: `Running`
    // keeps them. They have `size` pieces of `count` bytes each, or one where that is what is sent to all.
    let request = unsafe {
        let byte = ffi::RSMPI_UINT8_T;
        let mut request = ffi::RSMPI_REQUEST_NULL;
        let start = match is_exchange {
            true => ffi::MPI_Ialltoall,
            false => ffi::MPI_Iallgather,
        };
        let world = lane.as_raw();
        start(from, count, byte, to, count, byte, world, &mut request);
        request
    };
    Ok((request, sent, received))
}

/// Zeros, aligned for every type.
fn zeros(bytes: usize) -> Bytes {
    Bytes::from_bytes_vec(vec![0; bytes])
}

fn begin_sum(lane: &SimpleCommunicator, sent: Bytes) -> (ffi::MPI_Request, Bytes, Bytes) {
    let mut received = zeros(sent.len());
    let count = (sent.len() / size_of::<f64>()) as c_int;
    // SAFETY: as above; both buffers have `count` 64-bit floats and are aligned for them.
    let request = unsafe {
        let mut request = ffi::RSMPI_REQUEST_NULL;
        ffi::MPI_Iallreduce(
            sent.as_ptr().cast(),
            received.as_mut_ptr().cast(),
            count,
            ffi::RSMPI_DOUBLE,
            ffi::RSMPI_SUM,
            lane.as_raw(),
            &mut request,
        );
        request
    };
    (request, sent, received)
}

/// MPI counts in 32 bits.
fn count(bytes: usize) -> Result<c_int> {
    c_int::try_from(bytes).map_err(|_| {
        Error::Ranks(format!(
            "{bytes} bytes at once for each rank, MPI takes {}: more ranks have smaller pieces",
            c_int::MAX
        ))
    })
}

/// What is not done yet; the reply is sent where it is.
fn still_running(mut running: Running) -> Option<Running> {
    let mut is_done: c_int = 0;
    // SAFETY: the request was given by MPI and is not done.
    unsafe { ffi::MPI_Test(&mut running.request, &mut is_done, ffi::RSMPI_STATUS_IGNORE) };
    if is_done == 0 {
        return Some(running);
    }
    // Nobody may want it any more.
    let _ = running.reply.send(Ok(running.received));
    None
}

/// What is wrong with an MPI that gives a program these rights.
fn thread_fault(given: Threading) -> Option<String> {
    (given < Threading::Funneled).then(|| {
        format!(
            "this MPI gives {} and a training needs MPI_THREAD_FUNNELED at least, since it computes in threads of its \
             own: use an MPI that was built with threads (Open MPI and MPICH are by default), or start one process \
             without mpirun",
            match given {
                Threading::Single => "MPI_THREAD_SINGLE",
                Threading::Funneled => "MPI_THREAD_FUNNELED",
                Threading::Serialized => "MPI_THREAD_SERIALIZED",
                Threading::Multiple => "MPI_THREAD_MULTIPLE",
            }
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mpi_without_threads_is_refused_with_the_reason() {
        let fault = thread_fault(Threading::Single).unwrap_or_default();
        assert!(fault.contains("MPI_THREAD_SINGLE"), "{fault}");
        assert!(fault.contains("MPI_THREAD_FUNNELED"), "{fault}");
        for enough in [
            Threading::Funneled,
            Threading::Serialized,
            Threading::Multiple,
        ] {
            assert_eq!(thread_fault(enough), None);
        }
    }
}

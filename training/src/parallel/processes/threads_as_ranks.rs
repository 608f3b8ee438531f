//! Threads in the place of processes, for tests.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use burn::tensor::Bytes;
use glmtune_model::FloatType;

use super::ranks::{Arrival, HostPlace, Lane, Ranks};
use crate::error::Result;

/// From one rank to another, on each lane.
type Links<T> = [Vec<T>; 2];

/// One of some threads that are ranks.
#[derive(Debug)]
pub(crate) struct ThreadRanks {
    rank: usize,
    to: Links<Sender<Vec<u8>>>,
    from: Links<Mutex<Receiver<Vec<u8>>>>,
    sent: AtomicU64,
}

impl ThreadRanks {
    /// All ranks.
    pub fn all(size: usize) -> Vec<Self> {
        let new = |rank| Self {
            rank,
            to: [Vec::new(), Vec::new()],
            from: [Vec::new(), Vec::new()],
            sent: AtomicU64::new(0),
        };
        let mut all: Vec<Self> = (0..size).map(new).collect();
        for lane in Lane::ALL {
            for from in 0..size {
                for to in 0..size {
                    let (sender, receiver) = channel();
                    all[from].to[lane as usize].push(sender);
                    all[to].from[lane as usize].push(Mutex::new(receiver));
                }
            }
        }
        all
    }

    /// Sends each rank something and gives what all send.
    fn meet(&self, lane: Lane, pieces: Vec<Vec<u8>>) -> Arrival {
        let lane = lane as usize;
        for (rank, (link, piece)) in self.to[lane].iter().zip(pieces).enumerate() {
            if rank != self.rank {
                self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
            let _ = link.send(piece);
        }
        // All start the same things in the same order, so that the next of each link belongs together.
        let (reply, arrival) = channel();
        let mut all = Vec::new();
        for link in &self.from[lane] {
            let received = link.lock().map(|link| link.recv().unwrap_or_default());
            all.extend(received.unwrap_or_default());
        }
        let _ = reply.send(Ok(Bytes::from_bytes_vec(all)));
        Arrival::new(arrival)
    }
}

impl Ranks for ThreadRanks {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to[0].len()
    }

    fn host_place(&self) -> HostPlace {
        HostPlace {
            rank: self.rank,
            size: self.size(),
        }
    }

    fn exchange(&self, lane: Lane, pieces: Bytes, _: FloatType) -> Arrival {
        let each = (pieces.len() / self.size()).max(1);
        self.meet(lane, pieces.chunks(each).map(<[u8]>::to_vec).collect())
    }

    fn gather(&self, lane: Lane, part: Bytes) -> Arrival {
        self.meet(lane, vec![part.to_vec(); self.size()])
    }

    fn all_sum(&self, values: &[f64]) -> Result<Vec<f64>> {
        let before = self.bytes_sent();
        let part = Bytes::from_elems(values.to_vec());
        let all = self.gather(Lane::Steps, part).wait()?;
        self.sent.store(before, Ordering::Relaxed);
        let all: &[f64] = bytemuck::cast_slice(&all);
        let sum = |index: usize| all.iter().skip(index).step_by(values.len()).sum();
        Ok((0..values.len()).map(sum).collect())
    }

    fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn abort(&self, status: i32) -> ! {
        std::process::exit(status)
    }
}

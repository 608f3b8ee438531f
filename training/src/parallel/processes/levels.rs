//! Ranks of several hosts, of which each has several: what they have is added up within a host before it leaves it, and
//! what comes to a host comes once.
//!
//! Each rank talks to those of its host and to its peers, those with its own place in theirs. Ranks are numbered by
//! their place first, so that what the peers have stands together.

use std::sync::Arc;

use burn::tensor::Bytes;
use glmtune_model::FloatType;

use super::ranks::{Arrival, HostPlace, Lane, Ranks, sum_pieces};
use crate::error::Result;

/// A rank in two circles.
#[derive(Debug)]
pub(crate) struct Levels {
    /// The ranks of this host.
    pub island: Arc<dyn Ranks>,
    /// The ranks with this one's place in their hosts.
    pub peers: Arc<dyn Ranks>,
    /// All of them, for numbers.
    pub all: Arc<dyn Ranks>,
}

impl Ranks for Levels {
    fn rank(&self) -> usize {
        self.island.rank() * self.peers.size() + self.peers.rank()
    }

    fn size(&self) -> usize {
        self.island.size() * self.peers.size()
    }

    fn host_place(&self) -> HostPlace {
        self.all.host_place()
    }

    fn exchange(&self, lane: Lane, pieces: Bytes, dtype: FloatType) -> Arrival {
        let each = pieces.len() / self.island.size();
        let peers = Arc::clone(&self.peers);
        let of_host = self.island.exchange(lane, pieces, dtype);
        of_host.then(move |arrived| {
            // Sums go on in float32: rounded again, they would be less exact than those of one level.
            let sums = sum_pieces(&arrived, each, dtype);
            peers.exchange(lane, Bytes::from_elems(sums), FloatType::F32)
        })
    }

    fn arriving(&self, _: FloatType) -> FloatType {
        FloatType::F32
    }

    fn gather(&self, lane: Lane, part: Bytes) -> Arrival {
        let island = Arc::clone(&self.island);
        let of_peers = self.peers.gather(lane, part);
        of_peers.then(move |arrived| island.gather(lane, arrived))
    }

    fn all_sum(&self, values: &[f64]) -> Result<Vec<f64>> {
        self.all.all_sum(values)
    }

    fn bytes_sent(&self) -> u64 {
        self.island.bytes_sent() + self.peers.bytes_sent()
    }

    fn abort(&self, status: i32) -> ! {
        self.all.abort(status)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::thread;

    use super::*;
    use crate::parallel::processes::threads_as_ranks::ThreadRanks;

    /// Some hosts with some ranks each, in the order of their numbers.
    fn all(hosts: usize, ranks: usize) -> Vec<Levels> {
        let mut islands: Vec<_> = (0..hosts).map(|_| ThreadRanks::all(ranks)).collect();
        let everyone = ThreadRanks::all(hosts * ranks);
        let mut everyone = everyone.into_iter();
        let mut found = Vec::new();
        for _ in 0..ranks {
            for (host, peers) in ThreadRanks::all(hosts).into_iter().enumerate() {
                found.push(Levels {
                    island: Arc::new(islands[host].remove(0)),
                    peers: Arc::new(peers),
                    all: Arc::new(everyone.next().unwrap()),
                });
            }
        }
        found
    }

    #[test]
    fn two_levels_give_what_one_gives() {
        const EACH: usize = 3;
        for (hosts, ranks) in [(2, 2), (3, 2), (2, 4)] {
            let size = hosts * ranks;
            thread::scope(|scope| {
                for (number, levels) in all(hosts, ranks).into_iter().enumerate() {
                    scope.spawn(move || {
                        assert_eq!((levels.rank(), levels.size()), (number, size));
                        let value = |rank: usize, at: usize| (rank * 100 + at) as f32;
                        let own: Vec<f32> = (0..size * EACH).map(|at| value(number, at)).collect();
                        let pieces = Bytes::from_elems(own);
                        let arrived = levels.exchange(Lane::Steps, pieces, FloatType::F32);
                        let sums = sum_pieces(&arrived.wait().unwrap(), EACH * 4, FloatType::F32);
                        let expected = (0..EACH).map(|at| {
                            let ranks = 0..size;
                            ranks.map(|rank| value(rank, number * EACH + at)).sum()
                        });
                        assert_eq!(sums, expected.collect::<Vec<f32>>());
                        let of_hosts = (hosts - 1) * EACH * 4;
                        let exchanged = (ranks - 1) * hosts * EACH * 4 + of_hosts;
                        assert_eq!(levels.bytes_sent(), exchanged as u64);
                        let part = Bytes::from_elems(vec![number as u16; EACH]);
                        let parts = levels.gather(Lane::Visits, part).wait().unwrap();
                        let expected = (0..size).flat_map(|rank| [rank as u16; EACH]);
                        let expected: Vec<u16> = expected.collect();
                        assert_eq!(bytemuck::cast_slice::<u8, u16>(&parts), expected);
                        assert_eq!(levels.all_sum(&[1.0]).unwrap(), [size as f64]);
                    });
                }
            });
        }
    }
}

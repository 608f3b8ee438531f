//! Weights that several processes share out (ZeRO-3): each keeps a part of every weight that may leave the device, and
//! all bring the parts together when a segment's turn comes.

use std::sync::Arc;

use burn::tensor::{Bytes, TensorData};
use glmtune_model::host_weights::Sharding;

use super::ranks::{Lane, Ranks, part_len};
use crate::tensors::flat_part;

/// Parts as those of the optimizer: one after the other, zeros at the end of the last.
#[derive(Debug)]
pub(crate) struct RankSharding(pub Arc<dyn Ranks>);

impl Sharding for RankSharding {
    fn part(&self, whole: TensorData) -> TensorData {
        let elements = part_len(whole.shape.num_elements(), self.0.size());
        flat_part(&whole, self.0.rank(), elements)
    }

    fn parts(&self, own: TensorData) -> glmtune_model::Result<Bytes> {
        let parts = self.0.gather(Lane::Visits, own.bytes).wait();
        parts.map_err(|error| glmtune_model::Error::Compute(error.to_string()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::thread;

    use glmtune_model::host_weights::{Holders, HostWeights};

    use super::*;
    use crate::parallel::processes::threads_as_ranks::ThreadRanks;

    /// Whatever the numbers of elements and ranks, all get the weight back, in its own type.
    #[test]
    fn parts_make_the_whole() {
        for (size, shape) in [(2, [3, 4]), (3, [5, 2]), (4, [1, 3]), (5, [1, 1])] {
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(|at| at as f32).collect();
            let whole = TensorData::new(values, shape).convert::<burn::tensor::bf16>();
            let ranks = ThreadRanks::all(size).into_iter();
            thread::scope(|scope| {
                for ranks in ranks {
                    let whole = &whole;
                    scope.spawn(move || {
                        let sharding = Arc::new(RankSharding(Arc::new(ranks)));
                        let host = HostWeights::shared_out(Holders::Processes(sharding));
                        let held = host.hold(whole.clone());
                        let part = held.part().unwrap();
                        assert_eq!(part.shape[0], part_len(shape[0] * shape[1], size));
                        assert_eq!(&held.data().unwrap(), whole);
                    });
                }
            });
        }
    }
}

//! Which keys each query sees, as one interval per query.
//!
//! Every mask of the family has this form. Causal: `[start, i + 1)`. ChatGLM-6B, bidirectional over the
//! context: `[start, max(i + 1, context))`. Left padding: `start` is the first real token. Prefix keys
//! of P-Tuning v2 stand before all others and are always seen. Intervals cost nothing to keep, let a
//! kernel skip what is hidden, and turn into a dense mask only on backends that need one.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::backend::Backend;
use burn::tensor::ops::{BoolTensor, IntTensor};
use burn::tensor::{Bool, DType, Int, Tensor, TensorData};

/// The intervals of one attention, on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskSpec {
    /// Prefix keys, seen by every query, before all others.
    pub prefix: usize,
    /// Keys in all, the prefix included.
    pub keys: usize,
    /// Queries per row.
    pub queries: usize,
    /// Per row and query the keys seen, prefix not counted, `[batch or 1 · queries]`.
    pub visible: Vec<(u32, u32)>,
}

impl MaskSpec {
    /// Rows of the specification: the batch, or 1 if all rows are alike.
    pub fn rows(&self) -> usize {
        self.visible.len() / self.queries.max(1)
    }

    /// The keys that query `query` of row `row` sees, the prefix counted as keys `0 … prefix`.
    pub fn interval(&self, row: usize, query: usize) -> (usize, usize) {
        let row = if self.rows() == 1 { 0 } else { row };
        let (from, to) = self.visible[row * self.queries + query];
        (from as usize + self.prefix, to as usize + self.prefix)
    }

    /// Whether every query sees every key.
    pub fn sees_all(&self) -> bool {
        let all = (self.keys - self.prefix) as u32;
        self.visible
            .iter()
            .all(|&(from, to)| from == 0 && to == all)
    }

    /// Queries of a row that are neighbours and see keys from the same one on: those of one sequence, where several
    /// lie end to end. Padding, which sees itself alone, is a run for each.
    pub fn runs(&self, row: usize) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut last = None;
        for query in 0..self.queries {
            let from = self.interval(row, query).0;
            match runs.last_mut().filter(|_| last == Some(from)) {
                Some(run) => run.end = query + 1,
                None => runs.push(query..query + 1),
            }
            last = Some(from);
        }
        runs
    }

    /// Whether key `key` is hidden from a query with this interval.
    fn hides(&self, (from, to): (usize, usize), key: usize) -> bool {
        key >= self.prefix && (key < from || key >= to)
    }
}

/// A [`MaskSpec`] with its forms on a device, each of which is made at most once and shared by all layers.
#[derive(Debug, Clone)]
pub struct AttentionMask<B: Backend> {
    spec: Arc<MaskSpec>,
    device: B::Device,
    dense: Arc<OnceLock<Option<BoolTensor<B>>>>,
    intervals: Arc<OnceLock<Option<IntTensor<B>>>>,
}

impl<B: Backend> AttentionMask<B> {
    /// A mask for a device.
    pub fn new(spec: MaskSpec, device: &B::Device) -> Self {
        Self {
            spec: Arc::new(spec),
            device: device.clone(),
            dense: Arc::new(OnceLock::new()),
            intervals: Arc::new(OnceLock::new()),
        }
    }

    /// The intervals.
    pub fn spec(&self) -> &MaskSpec {
        &self.spec
    }

    /// The dense form, `[batch or 1, queries, keys]`, true where a key is hidden; `None` where nothing
    /// is.
    pub fn hidden(&self) -> Option<Tensor<B, 3, Bool>> {
        let dense = self.dense.get_or_init(|| self.make_dense());
        dense.clone().map(Tensor::from_primitive)
    }

    /// The intervals on the device, `[batch or 1 · queries · 2]`: the keys `from … to` that a query sees beside the
    /// prefix, which is counted as keys `0 … prefix`, in 32-bit integers; `None` where nothing is hidden.
    pub fn intervals(&self) -> Option<Tensor<B, 1, Int>> {
        let intervals = self.intervals.get_or_init(|| self.upload_intervals());
        intervals.clone().map(Tensor::from_primitive)
    }

    fn upload_intervals(&self) -> Option<IntTensor<B>> {
        let spec = &self.spec;
        if spec.sees_all() {
            return None;
        }
        let bound = |key: u32| (key as usize + spec.prefix).min(spec.keys) as i32;
        let bounds = spec.visible.iter();
        let bounds = bounds.flat_map(|&(from, to)| [bound(from), bound(to)]);
        let bounds = bounds.collect::<Vec<i32>>();
        // One row: CUDA would lay out each pair of a matrix apart.
        let data = TensorData::new(bounds, [2 * spec.visible.len()]);
        let options = (&self.device, DType::I32);
        Some(Tensor::<B, 1, Int>::from_data(data, options).into_primitive())
    }

    fn make_dense(&self) -> Option<BoolTensor<B>> {
        let spec = &self.spec;
        if spec.sees_all() {
            return None;
        }
        let mut hidden = Vec::with_capacity(spec.visible.len() * spec.keys);
        for row in 0..spec.rows() {
            for query in 0..spec.queries {
                let interval = spec.interval(row, query);
                hidden.extend((0..spec.keys).map(|key| spec.hides(interval, key)));
            }
        }
        let data = TensorData::new(hidden, [spec.rows(), spec.queries, spec.keys]);
        Some(Tensor::<B, 3, Bool>::from_data(data, &self.device).into_primitive())
    }
}

impl<B: Backend, C: CheckpointStrategy> AttentionMask<Autodiff<B, C>> {
    /// The same mask, and the same forms on the device, for the backend below.
    pub fn inner(&self) -> AttentionMask<B> {
        AttentionMask {
            spec: self.spec.clone(),
            device: self.device.clone(),
            dense: self.dense.clone(),
            intervals: self.intervals.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_is_seen_by_all_and_intervals_bound_the_rest() {
        let spec = MaskSpec {
            prefix: 2,
            keys: 5,
            queries: 2,
            visible: vec![(1, 2), (1, 3)],
        };
        let row = |query| -> Vec<bool> {
            let interval = spec.interval(7, query);
            (0..5).map(|key| spec.hides(interval, key)).collect()
        };
        assert_eq!(row(0), [false, false, true, false, true]);
        assert_eq!(row(1), [false, false, true, false, false]);
        assert!(!spec.sees_all());
    }

    #[test]
    fn queries_of_one_sequence_are_one_run() {
        let spec = MaskSpec {
            prefix: 0,
            keys: 9,
            queries: 5,
            visible: vec![(0, 1), (0, 2), (4, 6), (7, 8), (7, 9)],
        };
        assert_eq!(spec.runs(0), [0..2, 2..3, 3..5]);
    }
}

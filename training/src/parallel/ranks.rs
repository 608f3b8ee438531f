//! Several processes, on one host or many, that train one model (ZeRO-1/2, Rajbhandari et al. 2020): each
//! walks its share of the micro-batches, gradients are reduced and scattered so that a rank gets the sum of
//! its shard alone, each rank updates its shard of masters and moments, and the weights are gathered.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use glmtune_model::GlmBackend;

use super::WindowSum;
use crate::error::Result;
use crate::gradients::{Gradient, Gradients};

/// The processes of a training. All ranks make the same calls in the same order.
pub trait Ranks: Debug + Send + Sync {
    /// Number of this process, from 0.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn size(&self) -> usize;

    /// The sums over all ranks of this rank's part of some values, whose number is a multiple of
    /// [`size`](Self::size).
    fn reduce_scatter(&self, values: &[f32]) -> Vec<f32>;

    /// The parts of all ranks, one after the other.
    fn all_gather(&self, part: &[f32]) -> Vec<f32>;

    /// The sums over all ranks.
    fn all_sum(&self, values: &[f64]) -> Vec<f64>;

    /// Bytes that this rank has sent so far, as the ring algorithms need them.
    fn bytes_sent(&self) -> u64;

    /// Ends all processes at once: one that failed must not leave the others waiting for it.
    fn abort(&self, status: i32) -> !;
}

/// This process's part of everything, where there are several; all of it where there is one.
#[derive(Debug, Clone, Default)]
pub struct ProcessGroup {
    ranks: Option<Arc<dyn Ranks>>,
}

impl ProcessGroup {
    /// The part of a rank.
    pub fn of(ranks: Arc<dyn Ranks>) -> Self {
        Self { ranks: Some(ranks) }
    }

    /// The processes, where there are several.
    pub fn ranks(&self) -> Option<&dyn Ranks> {
        self.ranks.as_deref()
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        self.ranks.as_ref().map_or(1, |ranks| ranks.size())
    }

    /// Whether this process writes files and prints.
    pub fn is_first(&self) -> bool {
        self.ranks.as_ref().is_none_or(|ranks| ranks.rank() == 0)
    }

    /// Ends all other processes with this one; does nothing where there are none.
    pub fn abort(&self, status: i32) {
        if let Some(ranks) = &self.ranks {
            ranks.abort(status);
        }
    }

    /// Bytes sent so far.
    pub fn bytes_sent(&self) -> u64 {
        self.ranks.as_ref().map_or(0, |ranks| ranks.bytes_sent())
    }

    /// This process's share of what is shared out, such as the micro-batches of a window.
    pub(crate) fn own<T>(&self, items: Vec<T>) -> Vec<T> {
        match &self.ranks {
            None => items,
            Some(ranks) => {
                let own = items.into_iter().skip(ranks.rank());
                own.step_by(ranks.size()).collect()
            }
        }
    }

    /// Whether any process says yes; a meeting point of all.
    pub fn any(&self, flag: bool) -> bool {
        self.sum(&[f64::from(u8::from(flag))])[0] > 0.0
    }

    /// The sums over all processes.
    pub(crate) fn sum(&self, values: &[f64]) -> Vec<f64> {
        match &self.ranks {
            None => values.to_vec(),
            Some(ranks) => ranks.all_sum(values),
        }
    }

    /// This process's losses, and its part of the sum of all processes' gradients for parameters of the
    /// given numbers of elements. A process without a micro-batch has none and adds zeros.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub(crate) fn reduce<B: GlmBackend>(
        &self,
        sum: WindowSum<B>,
        parameters: &BTreeMap<String, usize>,
    ) -> Result<WindowSum<B>> {
        let Some(ranks) = &self.ranks else {
            return Ok(sum);
        };
        let mut own = sum.gradients.into_paths();
        let mut gradients = Gradients::default();
        // Every process goes through the same parameters in the same order.
        for (path, &elements) in parameters {
            let values = match own.remove(path) {
                Some(grad) => grad.into_host()?,
                None => vec![0.0; elements],
            };
            let part = ranks.reduce_scatter(&pad(values, ranks.size()));
            gradients.insert(path.clone(), Gradient::Host(part));
        }
        Ok(WindowSum {
            losses: sum.losses,
            gradients,
        })
    }

    /// This process's part of some values.
    pub(crate) fn part(&self, values: Vec<f32>) -> Vec<f32> {
        let Some(ranks) = &self.ranks else {
            return values;
        };
        let values = pad(values, ranks.size());
        let len = values.len() / ranks.size();
        values[ranks.rank() * len..][..len].to_vec()
    }

    /// All values, from the parts of all processes.
    pub(crate) fn whole<'a>(&self, part: &'a [f32], len: usize) -> Cow<'a, [f32]> {
        match &self.ranks {
            None => Cow::Borrowed(part),
            Some(ranks) => {
                let mut values = ranks.all_gather(part);
                values.truncate(len);
                Cow::Owned(values)
            }
        }
    }
}

/// Fills up with zeros to a multiple of the number of ranks.
fn pad(mut values: Vec<f32>, ranks: usize) -> Vec<f32> {
    values.resize(values.len().next_multiple_of(ranks), 0.0);
    values
}

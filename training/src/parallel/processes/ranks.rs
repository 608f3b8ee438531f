//! Several processes, on one host or many, that train one model (ZeRO, Rajbhandari et al. 2020): each
//! walks its share of the micro-batches, gradients are exchanged so that a rank gets the sum of
//! its shard alone, each rank updates its shard of masters and moments, and the weights are gathered.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use burn::tensor::{Bytes, bf16, f16};
use glmtune_model::FloatType;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Elements that one task adds up at least.
const CHUNK: usize = 1 << 15;

/// The processes of a training. All ranks start the same things on a lane in the same order; what the lanes do is
/// independent of each other.
pub trait Ranks: Debug + Send + Sync {
    /// Number of this process, from 0.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn size(&self) -> usize;

    /// This process among those of its host.
    fn host_place(&self) -> HostPlace;

    /// Starts to send every rank its piece of some values of a type, which are as many pieces as there are ranks; what
    /// arrives are pieces for this rank, one after the other, whose sum is that of all ranks'.
    fn exchange(&self, lane: Lane, pieces: Bytes, dtype: FloatType) -> Arrival;

    /// The type of the pieces that arrive of values of a type.
    fn arriving(&self, dtype: FloatType) -> FloatType {
        dtype
    }

    /// Starts to send all ranks some bytes, as many as they send themselves; what arrives are those of all, one after
    /// the other.
    fn gather(&self, lane: Lane, part: Bytes) -> Arrival;

    /// The sums over all ranks.
    ///
    /// # Errors
    /// If the others cannot be reached.
    fn all_sum(&self, values: &[f64]) -> Result<Vec<f64>>;

    /// Bytes of gradients and weights that this rank has sent so far, to all others together; not those of the few
    /// numbers that the ranks agree on.
    fn bytes_sent(&self) -> u64;

    /// Ends all processes at once: one that failed must not leave the others waiting for it.
    fn abort(&self, status: i32) -> !;
}

/// A process among those of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPlace {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
}

/// What needs an order among the ranks only for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Gradients, updated weights and the numbers of steps.
    Steps,
    /// Weights that come when their segment's turn comes.
    Visits,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Steps, Self::Visits];
}

/// Something on its way from the other ranks.
pub struct Arrival {
    channel: Receiver<Result<Bytes>>,
    /// What begins when it has come, where that is not all.
    then: Option<Then>,
}

/// What begins with what has come.
type Then = Box<dyn FnOnce(Bytes) -> Arrival + Send>;

impl Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrival").finish_non_exhaustive()
    }
}

impl Arrival {
    /// What will come through a channel.
    pub fn new(channel: Receiver<Result<Bytes>>) -> Self {
        Self {
            channel,
            then: None,
        }
    }

    /// What will come of what begins when this has come. That begins when the arrival is asked for: all ranks ask in
    /// the same order.
    #[must_use]
    pub fn then(self, next: impl FnOnce(Bytes) -> Self + Send + 'static) -> Self {
        Self {
            then: Some(Box::new(next)),
            ..self
        }
    }

    /// Waits for it.
    ///
    /// # Errors
    /// If it does not come.
    pub fn wait(mut self) -> Result<Bytes> {
        loop {
            let arrived = self.channel.recv().map_err(|_| ended())??;
            match self.then.take() {
                Some(next) => self = next(arrived),
                None => return Ok(arrived),
            }
        }
    }

    /// Lets begin what can; tells whether all has begun.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn advance(&mut self) -> Result<bool> {
        while let Some(next) = self.then.take() {
            match self.channel.try_recv() {
                Ok(arrived) => *self = next(arrived?),
                Err(TryRecvError::Empty) => {
                    self.then = Some(next);
                    return Ok(false);
                }
                Err(TryRecvError::Disconnected) => return Err(ended()),
            }
        }
        Ok(true)
    }

    /// What has come already; else it goes on waiting.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn ready(mut self) -> Result<std::result::Result<Bytes, Self>> {
        if !self.advance()? {
            return Ok(Err(self));
        }
        match self.channel.try_recv() {
            Ok(arrived) => Ok(Ok(arrived?)),
            Err(TryRecvError::Empty) => Ok(Err(self)),
            Err(TryRecvError::Disconnected) => Err(ended()),
        }
    }
}

/// What connected the processes has ended.
pub(crate) fn ended() -> Error {
    Error::Ranks("the connection has ended".to_string())
}

/// This rank's part of the sums over all ranks of some values, whose number is a multiple of that of the ranks.
///
/// # Errors
/// If the others cannot be reached.
pub fn reduce_scatter(ranks: &dyn Ranks, values: &[f32]) -> Result<Vec<f32>> {
    let pieces = Bytes::from_elems(values.to_vec());
    let each = pieces.len() / ranks.size();
    let pieces = ranks.exchange(Lane::Steps, pieces, FloatType::F32).wait()?;
    Ok(sum_pieces(&pieces, each, FloatType::F32))
}

/// Adds up pieces of so many bytes each that stand one after the other, in their order, in float32.
pub(crate) fn sum_pieces(pieces: &Bytes, each: usize, dtype: FloatType) -> Vec<f32> {
    match dtype {
        FloatType::F32 => sum_typed(pieces, each, |value: f32| value),
        FloatType::Bf16 => sum_typed(pieces, each, bf16::to_f32),
        FloatType::F16 => sum_typed(pieces, each, f16::to_f32),
    }
}

fn sum_typed<T: bytemuck::Pod + Sync>(
    pieces: &Bytes,
    each: usize,
    widen: impl Fn(T) -> f32 + Sync,
) -> Vec<f32> {
    let values: &[T] = bytemuck::cast_slice(pieces);
    let mut sums = vec![0.0; each / size_of::<T>()];
    let all = values.chunks_exact(sums.len().max(1));
    let all: Vec<&[T]> = all.collect();
    let chunks = sums.par_chunks_mut(CHUNK).enumerate();
    chunks.for_each(|(index, sums)| {
        for piece in &all {
            let own = &piece[index * CHUNK..];
            for (sum, &value) in sums.iter_mut().zip(own) {
                *sum += widen(value);
            }
        }
    });
    sums
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

    /// The processes, where there are several, for who keeps them.
    pub(crate) fn shared_ranks(&self) -> Option<Arc<dyn Ranks>> {
        self.ranks.clone()
    }

    /// How many of some things that are shared out the first process has, which has the most, beyond this one's.
    pub(crate) fn missing(&self, shared: usize, own: usize) -> usize {
        shared.div_ceil(self.size()) - own
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

    /// Bytes sent so far, as [`Ranks::bytes_sent`] counts them.
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
    ///
    /// # Errors
    /// If the others cannot be reached.
    pub fn any(&self, flag: bool) -> Result<bool> {
        Ok(self.sum(&[f64::from(u8::from(flag))])?[0] > 0.0)
    }

    /// The sums over all processes.
    ///
    /// # Errors
    /// If the others cannot be reached.
    pub(crate) fn sum(&self, values: &[f64]) -> Result<Vec<f64>> {
        match &self.ranks {
            None => Ok(values.to_vec()),
            Some(ranks) => ranks.all_sum(values),
        }
    }

    /// This process's part of some values.
    pub(crate) fn part(&self, values: Vec<f32>) -> Vec<f32> {
        let Some(ranks) = &self.ranks else {
            return values;
        };
        let len = part_len(values.len(), ranks.size());
        let own = values.into_iter().skip(ranks.rank() * len).take(len);
        let mut part: Vec<f32> = own.collect();
        part.resize(len, 0.0);
        part
    }

    /// All values, from the parts of all processes.
    ///
    /// # Errors
    /// If the others cannot be reached.
    pub(crate) fn whole<'a>(&self, part: &'a [f32], len: usize) -> Result<Cow<'a, [f32]>> {
        let Some(ranks) = &self.ranks else {
            return Ok(Cow::Borrowed(part));
        };
        let part = Bytes::from_elems(part.to_vec());
        let parts = ranks.gather(Lane::Steps, part).wait()?;
        let values: &[f32] = bytemuck::cast_slice(&parts);
        Ok(Cow::Owned(values[..len].to_vec()))
    }
}

/// Elements of a rank's part of so many; zeros fill up the last part.
pub(crate) fn part_len(elements: usize, ranks: usize) -> usize {
    elements.div_ceil(ranks)
}

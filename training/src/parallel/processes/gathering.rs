//! Weights of several processes after an update: each rank has updated its part of every weight, and gets the others'
//! in the type of the model, whose rounding of the masters they are. They leave in buckets of a few MB while the next
//! parts are updated.

use std::collections::VecDeque;

use burn::tensor::{Bytes, Shape, TensorData};
use glmtune_model::FloatType;

use super::ranks::{Arrival, Lane, Ranks, part_len};
use crate::error::Result;
use crate::tensors::narrow;

/// Bytes of all ranks that leave together, at least, unless there are no more.
const BUCKET: usize = 4 << 20;
/// Buckets on their way at once, at most.
const ON_THEIR_WAY: usize = 4;

/// A weight as the model has it.
type Kind = (Shape, FloatType);

/// Weights on their way.
pub(crate) struct Gathering<'a> {
    ranks: &'a dyn Ranks,
    /// This rank's parts that have not left.
    bucket: Vec<u8>,
    kinds: Vec<Kind>,
    on_their_way: VecDeque<(Vec<Kind>, Arrival)>,
    whole: VecDeque<TensorData>,
}

impl<'a> Gathering<'a> {
    /// Nothing is on its way.
    pub fn new(ranks: &'a dyn Ranks) -> Self {
        Self {
            ranks,
            bucket: Vec::new(),
            kinds: Vec::new(),
            on_their_way: VecDeque::new(),
            whole: VecDeque::new(),
        }
    }

    /// Takes this rank's part of a weight. All ranks give the parts of the same weights in the same order.
    ///
    /// # Errors
    /// If the other ranks cannot be reached.
    pub fn add(&mut self, part: &[f32], shape: Shape, dtype: FloatType) -> Result<()> {
        let part = narrow(part, Shape::new([part.len()]), dtype);
        self.bucket.extend_from_slice(&part.bytes);
        self.kinds.push((shape, dtype));
        match self.bucket.len() * self.ranks.size() < BUCKET {
            true => Ok(()),
            false => self.send(),
        }
    }

    /// The whole weights that have come, in their order; each is given once.
    pub fn come(&mut self) -> impl Iterator<Item = TensorData> {
        self.whole.drain(..)
    }

    /// The rest of them, when all have come.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn finish(mut self) -> Result<impl Iterator<Item = TensorData>> {
        self.send()?;
        self.receive(0)?;
        Ok(self.whole.into_iter())
    }

    fn send(&mut self) -> Result<()> {
        if self.kinds.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::from_bytes_vec(std::mem::take(&mut self.bucket));
        let arrival = self.ranks.gather(Lane::Steps, bytes);
        let kinds = std::mem::take(&mut self.kinds);
        self.on_their_way.push_back((kinds, arrival));
        self.receive(ON_THEIR_WAY)
    }

    /// Waits until no more than so many buckets are on their way.
    fn receive(&mut self, most: usize) -> Result<()> {
        for (_, arrival) in &mut self.on_their_way {
            if !arrival.advance()? {
                break;
            }
        }
        while self.on_their_way.len() > most {
            let Some((kinds, arrival)) = self.on_their_way.pop_front() else {
                break;
            };
            let parts = arrival.wait()?;
            let ranks: Vec<&[u8]> = parts
                .chunks_exact((parts.len() / self.ranks.size()).max(1))
                .collect();
            let mut offset = 0;
            for (shape, dtype) in kinds {
                let part = part_len(shape.num_elements(), self.ranks.size()) * dtype.size();
                let of_ranks = ranks.iter().map(|parts| &parts[offset..offset + part]);
                let mut bytes = of_ranks.collect::<Vec<_>>().concat();
                bytes.truncate(shape.num_elements() * dtype.size());
                offset += part;
                self.whole.push_back(TensorData {
                    bytes: Bytes::from_bytes_vec(bytes),
                    shape,
                    dtype: dtype.into(),
                });
            }
        }
        Ok(())
    }
}

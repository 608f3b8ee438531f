//! The keys and values of all sequences, in one buffer a layer: a sequence has a range of it to itself.

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::adapters::PrefixKeyValues;
use crate::causal_lm::CausalLm;
use crate::config::ModelConfig;
use crate::layers::{GlmBackend, LayerStore, write_keys};

/// Keys and values of all sequences.
#[derive(Debug)]
pub(super) struct Arena<B: Backend> {
    layers: Vec<Layer<B>>,
}

/// Keys and values of a layer, each `[1, capacity, groups, head_dim]`; they are lent to the pass that adds to them.
#[derive(Debug)]
struct Layer<B: Backend> {
    key: Option<Tensor<B, 4>>,
    value: Option<Tensor<B, 4>>,
}

/// Tokens of a pass that follow each other in the arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// Which tokens of the pass.
    pub tokens: Range<usize>,
    /// Where the first of them goes.
    pub place: usize,
}

impl<B: GlmBackend> Arena<B> {
    /// An empty arena for a model.
    pub fn new(model: &CausalLm<B>, config: &ModelConfig, capacity: usize) -> Self {
        let shape = [1, capacity, config.kv_heads(), config.head_dim()];
        let (device, dtype) = (model.device(), model.dtype());
        let zeros = || Some(Tensor::zeros(shape, (&device, dtype)));
        let layers = (0..model.num_blocks()).map(|_| Layer {
            key: zeros(),
            value: zeros(),
        });
        let mut arena = Self {
            layers: layers.collect(),
        };
        arena.touch(shape, model);
        arena
    }

    /// Writes the first token: what a first write costs, the first request does not pay.
    fn touch(&mut self, [batch, _, groups, head_dim]: [usize; 4], model: &CausalLm<B>) {
        let (device, dtype) = (model.device(), model.dtype());
        for layer in &mut self.layers {
            for part in [&mut layer.key, &mut layer.value] {
                let zeros = Tensor::zeros([batch, 1, groups, head_dim], (&device, dtype));
                put(part, zeros, 0);
            }
        }
    }

    /// The store of a layer in a pass, whose tokens see keys up to `keys`.
    pub fn store<'a>(&'a mut self, layer: usize, runs: &'a [Run], keys: usize) -> Store<'a, B> {
        Store {
            layer: &mut self.layers[layer],
            runs,
            keys,
        }
    }

    /// Puts a prefix at a place.
    pub fn put_prefix(&mut self, prefix: &PrefixKeyValues<B>, place: usize) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let (key, value) = prefix.layer(index, 1);
            put(&mut layer.key, key, place);
            put(&mut layer.value, value, place);
        }
    }

    /// Copies what a range holds to another one, which begins at `place`.
    pub fn copy(&mut self, from: &Range<usize>, place: usize) {
        for layer in &mut self.layers {
            for part in [&mut layer.key, &mut layer.value] {
                let piece = part.as_ref().map(|part| {
                    let piece = part.clone().narrow(1, from.start, from.len());
                    // A buffer that somebody else sees is not written in place.
                    piece.mul_scalar(1.0)
                });
                if let Some(piece) = piece {
                    put(part, piece, place);
                }
            }
        }
    }
}

fn put<B: GlmBackend>(part: &mut Option<Tensor<B, 4>>, new: Tensor<B, 4>, place: usize) {
    *part = part.take().map(|part| write_keys(part, new, place));
}

/// A layer of the arena in a pass.
pub(super) struct Store<'a, B: Backend> {
    layer: &'a mut Layer<B>,
    runs: &'a [Run],
    keys: usize,
}

impl<B: GlmBackend> LayerStore<B> for Store<'_, B> {
    fn append(&mut self, key: Tensor<B, 4>, value: Tensor<B, 4>) -> (Tensor<B, 4>, Tensor<B, 4>) {
        for run in self.runs {
            let piece =
                |all: &Tensor<B, 4>| all.clone().narrow(1, run.tokens.start, run.tokens.len());
            put(&mut self.layer.key, piece(&key), run.place);
            put(&mut self.layer.value, piece(&value), run.place);
        }
        let seen = |part: &Option<Tensor<B, 4>>, own: Tensor<B, 4>| match part {
            Some(part) => part.clone().narrow(1, 0, self.keys),
            None => own,
        };
        (seen(&self.layer.key, key), seen(&self.layer.value, value))
    }

    fn is_empty(&self) -> bool {
        false
    }
}

//! Keys and values of the tokens seen so far, so that each new token costs one step.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::ops::GlmBackend;
use super::ops::primitive::{unwrap, wrap};

/// Where a layer keeps the keys and values of its tokens between passes.
pub trait LayerStore<B: Backend> {
    /// Adds keys and values and returns all that the tokens of this pass may see.
    ///
    /// # Shapes
    /// - `key`, `value`: `[batch, tokens, groups, head_dim]`
    /// - results: `[batch, all tokens, groups, head_dim]`
    fn append(&mut self, key: Tensor<B, 4>, value: Tensor<B, 4>) -> (Tensor<B, 4>, Tensor<B, 4>);

    /// Whether nothing is held yet, not even a prefix.
    fn is_empty(&self) -> bool;
}

/// Room grows by this many tokens at a time.
const GROWTH: usize = 256;

/// The cache of one layer.
#[derive(Debug, Clone)]
pub struct LayerCache<B: Backend> {
    key: Option<Tensor<B, 4>>,
    value: Option<Tensor<B, 4>>,
    len: usize,
}

impl<B: Backend> Default for LayerCache<B> {
    fn default() -> Self {
        Self {
            key: None,
            value: None,
            len: 0,
        }
    }
}

impl<B: GlmBackend> LayerStore<B> for LayerCache<B> {
    fn append(&mut self, key: Tensor<B, 4>, value: Tensor<B, 4>) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let start = self.len;
        self.len += key.dims()[1];
        let keys = store(self.key.take(), key, start);
        let values = store(self.value.take(), value, start);
        let seen = (
            keys.clone().narrow(1, 0, self.len),
            values.clone().narrow(1, 0, self.len),
        );
        self.key = Some(keys);
        self.value = Some(values);
        seen
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<B: Backend> LayerCache<B> {
    /// Keeps only the given rows of the batch, in the given order.
    fn select(&mut self, rows: &Tensor<B, 1, burn::tensor::Int>) {
        for part in [&mut self.key, &mut self.value] {
            *part = part.take().map(|tensor| tensor.select(0, rows.clone()));
        }
    }
}

/// Writes `new` at token `start` of a buffer, which is enlarged if it is too small.
fn store<B: GlmBackend>(
    buffer: Option<Tensor<B, 4>>,
    new: Tensor<B, 4>,
    start: usize,
) -> Tensor<B, 4> {
    let [batch, tokens, groups, head_dim] = new.dims();
    let needed = start + tokens;
    let buffer = match buffer {
        Some(buffer) if buffer.dims()[1] >= needed => buffer,
        old => {
            let room = needed.next_multiple_of(GROWTH);
            let larger = Tensor::zeros(
                [batch, room, groups, head_dim],
                (&new.device(), new.dtype()),
            );
            match old {
                Some(old) => write(larger, old.narrow(1, 0, start), 0),
                None => larger,
            }
        }
    };
    write(buffer, new, start)
}

/// Writes `new` at token `start` of a buffer that has room for it, in place where nobody else holds the buffer.
pub(crate) fn write<B: GlmBackend>(
    buffer: Tensor<B, 4>,
    new: Tensor<B, 4>,
    start: usize,
) -> Tensor<B, 4> {
    wrap(B::glm_cache_write(unwrap(buffer), unwrap(new), start))
}

/// The caches of all layers.
#[derive(Debug, Clone)]
pub struct KvCache<B: Backend> {
    /// One per layer.
    pub layers: Vec<LayerCache<B>>,
}

impl<B: Backend> KvCache<B> {
    /// Empty caches for a number of layers.
    pub fn new(layers: usize) -> Self {
        Self {
            layers: (0..layers).map(|_| LayerCache::default()).collect(),
        }
    }

    /// Rows of the batch held; `None` before the first tokens.
    pub fn batch(&self) -> Option<usize> {
        let key = self.layers.first()?.key.as_ref()?;
        Some(key.dims()[0])
    }

    /// Keeps only the given rows of the batch, in the given order; a row may be taken several times.
    pub fn select(&mut self, rows: &[usize], device: &B::Device) {
        let rows: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        let rows = Tensor::from_data(rows.as_slice(), device);
        self.layers.iter_mut().for_each(|layer| layer.select(&rows));
    }
}

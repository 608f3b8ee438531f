//! The prefix of P-Tuning v2: keys and values, per layer, that stand before those of every sequence
//! (Liu et al. 2021; Li and Liang 2021).

use burn::module::Module;
use burn::nn::Tanh;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use crate::layers::projection::to_type;
use crate::layers::{Embedding, GlmBackend, Projection};

/// The sizes of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixShape {
    /// Prefix positions.
    pub pre_seq_len: usize,
    /// Whether an MLP follows the embedding.
    pub projection: bool,
    /// Width of the embedding under an MLP.
    pub embedding_width: usize,
    /// Width inside the MLP.
    pub hidden: usize,
    /// Layers of the model.
    pub layers: usize,
    /// Key/value heads of the model.
    pub kv_heads: usize,
    /// Dimension of a head.
    pub head_dim: usize,
}

impl PrefixShape {
    /// Width of what the encoder gives for one position: a key and a value for each layer.
    pub fn kv_width(&self) -> usize {
        self.layers * 2 * self.kv_heads * self.head_dim
    }
}

/// Embedding, and with a projection `Linear → tanh → Linear` (`trans.0`, `trans.2`).
#[derive(Module, Debug)]
pub struct PrefixEncoder<B: Backend> {
    /// `[pre_seq_len, width]`.
    pub embedding: Embedding<B>,
    /// The MLP of the projection.
    pub trans: Option<(Projection<B>, Tanh, Projection<B>)>,
    kv_heads: usize,
    head_dim: usize,
}

impl<B: Backend> PrefixEncoder<B> {
    /// An encoder whose weights are yet to be loaded.
    pub fn unset(shape: &PrefixShape, dtype: DType, device: &B::Device) -> Self {
        let width = match shape.projection {
            true => shape.embedding_width,
            false => shape.kv_width(),
        };
        let linear = |dims| Projection::unset(dims, true, dtype, device);
        let trans = shape.projection.then(|| {
            (
                linear([shape.embedding_width, shape.hidden]),
                Tanh::new(),
                linear([shape.hidden, shape.kv_width()]),
            )
        });
        Self {
            embedding: Embedding::unset(shape.pre_seq_len, width, dtype, device),
            trans,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
        }
    }

    /// Prefix positions.
    pub fn pre_seq_len(&self) -> usize {
        self.embedding.weight.lazy_shape()[0]
    }
}

impl<B: GlmBackend> PrefixEncoder<B> {
    /// Keys and values of every layer, in the given type.
    pub fn forward(&self, dtype: DType) -> PrefixKeyValues<B> {
        let rows = self.embedding.weight.val().unsqueeze::<3>();
        let rows = match &self.trans {
            Some((first, tanh, second)) => second.forward(tanh.forward(first.forward(rows))),
            None => rows,
        };
        let [_, positions, width] = rows.dims();
        let parts = width / (self.kv_heads * self.head_dim);
        // [positions, layers · 2, kv_heads, head_dim]
        let parts_of =
            to_type(rows, dtype).reshape([positions, parts, self.kv_heads, self.head_dim]);
        // [1, positions, kv_heads, head_dim]
        let part = |index| parts_of.clone().narrow(1, index, 1).swap_dims(0, 1);
        PrefixKeyValues {
            layers: (0..parts / 2)
                .map(|layer| (part(2 * layer), part(2 * layer + 1)))
                .collect(),
        }
    }
}

/// Keys and values of the prefix, not rotated, one pair per layer, each
/// `[1, positions, kv_heads, head_dim]`.
#[derive(Debug, Clone)]
pub struct PrefixKeyValues<B: Backend> {
    /// Key and value of each layer.
    pub layers: Vec<(Tensor<B, 4>, Tensor<B, 4>)>,
}

impl<B: Backend> PrefixKeyValues<B> {
    /// Prefix positions.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, |(key, _)| key.dims()[1])
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Key and value of a layer for a batch, `[batch, positions, kv_heads, head_dim]`.
    pub fn layer(&self, index: usize, batch: usize) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let (key, value) = self.layers[index].clone();
        let [_, positions, heads, head_dim] = key.dims();
        let shape = [batch, positions, heads, head_dim];
        (key.expand(shape), value.expand(shape))
    }
}

//! The prefix of P-Tuning v2: keys and values, per layer, that stand before those of every sequence
//! (Liu et al. 2021; Li and Liang 2021).

use burn::module::{Module, Param};
use burn::nn::Tanh;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use crate::config::ModelConfig;
use crate::layers::{self, Dropout, Embedding, GlmBackend, Linear, to_type};
use crate::random_weights::{normal, uniform};

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
    /// The sizes that a model of a configuration needs.
    pub fn of(config: &ModelConfig, pre_seq_len: usize, projection: bool) -> Self {
        let common = config.common();
        let kv_width = common.num_layers * 2 * config.kv_heads() * config.head_dim();
        Self {
            pre_seq_len,
            projection,
            embedding_width: match config {
                ModelConfig::ChatGlm(_) => common.hidden_size,
                ModelConfig::ChatGlm2(_) => kv_width,
            },
            hidden: common.hidden_size,
            layers: common.num_layers,
            kv_heads: config.kv_heads(),
            head_dim: config.head_dim(),
        }
    }

    /// Names and shapes of the encoder's parameters.
    pub(super) fn parameters(&self) -> Vec<(&'static str, Vec<usize>)> {
        let (inner, outer) = (self.hidden, self.kv_width());
        let embedding = |width| ("embedding.weight", vec![self.pre_seq_len, width]);
        match self.projection {
            false => vec![embedding(outer)],
            true => vec![
                embedding(self.embedding_width),
                ("trans.0.weight", vec![inner, self.embedding_width]),
                ("trans.0.bias", vec![inner]),
                ("trans.2.weight", vec![outer, inner]),
                ("trans.2.bias", vec![outer]),
            ],
        }
    }

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
    pub trans: Option<(Linear<B>, Tanh, Linear<B>)>,
    kv_heads: usize,
    head_dim: usize,
    /// Share of the elements that training drops.
    pub dropout: f64,
}

/// Dropout of a pass over a batch: every row has a mask of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixDropout {
    /// What the masks are computed from.
    pub seed: u64,
    /// Rows of the batch.
    pub batch: usize,
}

impl<B: Backend> PrefixEncoder<B> {
    /// A new encoder as PyTorch initialises its layers: the embedding normal, the linear layers uniform
    /// in `±1/sqrt(in)`. Weights are float32.
    pub fn initialized(shape: &PrefixShape, seed: u64, device: &B::Device) -> Self {
        let mut encoder = Self::uninitialized(shape, DType::F32, device);
        let [rows, width] = encoder.embedding.weight.lazy_shape().dims();
        let values = TensorData::new(normal(rows * width, 1.0, seed), [rows, width]);
        encoder.embedding.weight = Param::from_data(values, device).set_require_grad(false);
        if let Some((first, _, second)) = &mut encoder.trans {
            initialize_linear(first, seed.wrapping_add(1), device);
            initialize_linear(second, seed.wrapping_add(3), device);
        }
        encoder
    }

    /// An encoder whose weights are yet to be loaded.
    pub fn uninitialized(shape: &PrefixShape, dtype: DType, device: &B::Device) -> Self {
        let width = match shape.projection {
            true => shape.embedding_width,
            false => shape.kv_width(),
        };
        let linear = |dims| Linear::uninitialized(dims, true, dtype, device);
        let trans = shape.projection.then(|| {
            (
                linear([shape.embedding_width, shape.hidden]),
                Tanh::new(),
                linear([shape.hidden, shape.kv_width()]),
            )
        });
        Self {
            embedding: Embedding::uninitialized(shape.pre_seq_len, width, dtype, device),
            trans,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            dropout: 0.0,
        }
    }

    /// Prefix positions.
    pub fn pre_seq_len(&self) -> usize {
        self.embedding.weight.lazy_shape()[0]
    }
}

impl<B: GlmBackend> PrefixEncoder<B> {
    /// Keys and values of every layer, in the given type.
    pub fn forward(&self, dtype: DType, dropout: Option<PrefixDropout>) -> PrefixKeyValues<B> {
        let rows = self.embedding.weight.val().unsqueeze::<3>();
        let rows = match &self.trans {
            Some((first, tanh, second)) => second.forward(tanh.forward(first.forward(rows))),
            None => rows,
        };
        // [1 or batch, positions, layers · 2 · kv_heads · head_dim]
        let rows = self.drop(to_type(rows, dtype), dropout);
        let [batch, positions, width] = rows.dims();
        let kv_width = self.kv_heads * self.head_dim;
        let shape = [batch, positions, self.kv_heads, self.head_dim];
        let part = |index| {
            let part = rows.clone().narrow(2, index * kv_width, kv_width);
            part.reshape(shape)
        };
        let parts = width / kv_width;
        PrefixKeyValues {
            layers: (0..parts / 2)
                .map(|layer| (part(2 * layer), part(2 * layer + 1)))
                .collect(),
        }
    }
}

impl<B: GlmBackend> PrefixEncoder<B> {
    fn drop(&self, rows: Tensor<B, 3>, dropout: Option<PrefixDropout>) -> Tensor<B, 3> {
        let Some(PrefixDropout { seed, batch }) = dropout.filter(|_| self.dropout > 0.0) else {
            return rows;
        };
        let [_, positions, width] = rows.dims();
        let rows = rows.expand([batch, positions, width]);
        let rate = self.dropout;
        layers::dropout(rows, Dropout { rate, seed })
    }
}

fn initialize_linear<B: Backend>(linear: &mut Linear<B>, seed: u64, device: &B::Device) {
    let [input, output] = linear.dims();
    let bound = 1.0 / (input as f32).sqrt();
    let values = |count, seed| uniform(count, bound, seed);
    let weight = TensorData::new(values(input * output, seed), [output, input]);
    let bias = TensorData::new(values(output, seed.wrapping_add(1)), [output]);
    linear.weight = Param::from_data(weight, device).set_require_grad(false);
    linear.bias = Some(Param::from_data(bias, device).set_require_grad(false));
}

/// Keys and values of the prefix, not rotated, one pair per layer, each
/// `[1 or batch, positions, kv_heads, head_dim]`.
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

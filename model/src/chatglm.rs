//! ChatGLM-6B.
//!
//! What sets it apart: a bidirectional context before `<sop>` and causal attention after it; two-dimensional
//! rotary positions; residuals that start from the *normalised* stream, scaled by `sqrt(2·28)`; layer
//! norms and biases throughout; a joint projection that is split per head.

pub(crate) mod memory;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

use crate::adapters::PrefixEncoder;
use crate::architecture::{Architecture, BuildOptions, SharedInputs};
use crate::batch::{BatchPositions, RowPositions, TokenBatch};
use crate::config::ChatGlmConfig;
use crate::error::{Error, Result};
use crate::layers::rotary::{RotaryPrecision, Rounding, inverse_frequencies};
use crate::layers::{
    AttentionScale, DropoutSite, Embedding, GlmBackend, HeadCut, LayerNorm, LayerStore, Projection,
    RotaryPairs, RotaryTable, attention, gelu_tanh, residual_sum,
};
use crate::segment::SegmentPaths;

/// Which parameters belong to which segment.
pub(crate) const SEGMENTS: SegmentPaths = SegmentPaths {
    embeddings: "transformer.word_embeddings",
    prefix: "transformer.prefix_encoder",
    blocks: "transformer.layers",
    head: &["transformer.final_layernorm", "lm_head"],
};

/// The published code never hands its number of layers down to the blocks: whatever `num_layers` says,
/// the residual is scaled by `sqrt(2 · 28)`.
const RESIDUAL_LAYERS: f64 = 28.0;

/// The whole model: transformer and output layer.
#[derive(Module, Debug)]
pub struct ChatGlm<B: Backend> {
    /// Embeddings, blocks and final norm.
    pub transformer: Transformer<B>,
    /// Output layer, not tied to the embeddings.
    pub lm_head: Projection<B>,
    #[module(skip)]
    dtype: DType,
    #[module(skip)]
    settings: Settings,
}

/// What the positions depend on.
#[derive(Debug, Clone)]
struct Settings {
    bos_token_id: u32,
    mask_token_id: u32,
    gmask_token_id: u32,
    head_dim: usize,
    rotary: RotaryPrecision,
}

/// Embeddings, blocks and final norm.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    /// Word embeddings.
    pub word_embeddings: Embedding<B>,
    /// The blocks.
    pub layers: Vec<Block<B>>,
    /// The norm after the last block.
    pub final_layernorm: LayerNorm<B>,
    /// The prefix of P-Tuning v2, if one is attached.
    pub prefix_encoder: Option<PrefixEncoder<B>>,
}

impl<B: Backend> ChatGlm<B> {
    /// A model whose weights are yet to be loaded.
    pub fn uninitialized(
        config: &ChatGlmConfig,
        options: &BuildOptions,
        device: &B::Device,
    ) -> Self {
        let common = &config.common;
        let (width, dtype) = (common.hidden_size, options.dtype);
        let norm = || LayerNorm::uninitialized(width, common.layernorm_epsilon, dtype, device);
        let layers = (0..common.num_layers).map(|_| Block {
            input_layernorm: norm(),
            attention: SelfAttention {
                query_key_value: Projection::uninitialized([width, 3 * width], true, dtype, device),
                dense: Projection::uninitialized([width, width], true, dtype, device),
                heads: common.num_attention_heads,
            },
            post_attention_layernorm: norm(),
            mlp: Mlp {
                dense_h_to_4h: Projection::uninitialized(
                    [width, config.inner_hidden_size],
                    true,
                    dtype,
                    device,
                ),
                dense_4h_to_h: Projection::uninitialized(
                    [config.inner_hidden_size, width],
                    true,
                    dtype,
                    device,
                ),
            },
        });
        Self {
            transformer: Transformer {
                word_embeddings: Embedding::uninitialized(common.vocab_size, width, dtype, device),
                layers: layers.collect(),
                final_layernorm: norm(),
                prefix_encoder: None,
            },
            lm_head: Projection::uninitialized([width, common.vocab_size], false, dtype, device),
            dtype,
            settings: Settings {
                bos_token_id: config.bos_token_id,
                mask_token_id: config.mask_token_id,
                gmask_token_id: config.gmask_token_id,
                head_dim: width / common.num_attention_heads,
                rotary: options.rotary,
            },
        }
    }

    /// The linear layers of the blocks and the output layer, each with its path.
    pub(crate) fn projections_mut(&mut self) -> Vec<(String, &mut Projection<B>)> {
        let layers = self.transformer.layers.iter_mut().enumerate();
        layers
            .flat_map(|(index, block)| {
                let path = |name: &str| format!("transformer.layers.{index}.{name}");
                let (attention, mlp) = (&mut block.attention, &mut block.mlp);
                [
                    (
                        path("attention.query_key_value"),
                        &mut attention.query_key_value,
                    ),
                    (path("attention.dense"), &mut attention.dense),
                    (path("mlp.dense_h_to_4h"), &mut mlp.dense_h_to_4h),
                    (path("mlp.dense_4h_to_h"), &mut mlp.dense_4h_to_h),
                ]
            })
            .chain([("lm_head".to_string(), &mut self.lm_head)])
            .collect()
    }
}

impl<B: GlmBackend> Architecture<B> for ChatGlm<B> {
    fn embed(&self, ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        self.transformer.word_embeddings.forward(ids, self.dtype)
    }

    fn num_blocks(&self) -> usize {
        self.transformer.layers.len()
    }

    fn segments(&self) -> &'static SegmentPaths {
        &SEGMENTS
    }

    fn block(
        &self,
        index: usize,
        hidden: Tensor<B, 3>,
        shared: &SharedInputs<B>,
        cache: Option<&mut dyn LayerStore<B>>,
    ) -> Tensor<B, 3> {
        self.transformer.layers[index].forward(index, hidden, shared, cache)
    }

    fn final_norm(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.transformer.final_layernorm.forward(hidden)
    }

    fn lm_head(&self) -> &Projection<B> {
        &self.lm_head
    }

    fn positions(&self, batch: &TokenBatch) -> Result<BatchPositions> {
        let mut before = 0;
        let sequences = batch.rows().map(|rows| {
            let numbered = rows.into_iter().zip(before..);
            let found = numbered.map(|((start, row), number)| {
                before += 1;
                self.settings.row_positions(row, start, number)
            });
            found.collect::<Result<_>>()
        });
        Ok(BatchPositions::new(sequences.collect::<Result<_>>()?))
    }

    fn rotary(&self, positions: &[(u32, u32)], rows: usize) -> RotaryTable<B> {
        self.settings.rotary_table(positions, rows, &self.device())
    }

    fn prefix_encoder(&self) -> Option<&PrefixEncoder<B>> {
        self.transformer.prefix_encoder.as_ref()
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn device(&self) -> B::Device {
        self.transformer.word_embeddings.weight.lazy_device()
    }
}

impl Settings {
    /// The context ends at the first `<sop>`; from it on, tokens stand at the mask token's position:
    /// `[gMASK]` if the row has one, else `[MASK]`.
    fn row_positions(&self, row: &[u32], start: usize, index: usize) -> Result<RowPositions> {
        let find = |token: u32| row.iter().position(|&id| id == token);
        let missing = |name: &str, id: u32| {
            Error::Request(format!(
                "row {index} has no {name} token (id {id}), which ChatGLM-6B's positions depend on"
            ))
        };
        let context = find(self.bos_token_id).ok_or_else(|| missing("<sop>", self.bos_token_id))?;
        let mask = find(self.gmask_token_id)
            .or_else(|| find(self.mask_token_id))
            .ok_or_else(|| missing("[gMASK] or [MASK]", self.gmask_token_id))?;
        Ok(RowPositions::blank_filling(start, context, mask))
    }

    /// Half of the pairs turn by the position, half by the block position.
    fn rotary_table<B: Backend>(
        &self,
        positions: &[(u32, u32)],
        rows: usize,
        device: &B::Device,
    ) -> RotaryTable<B> {
        // The published code keeps its frequencies in half precision, also in float32 runs.
        let frequencies: Vec<f32> =
            inverse_frequencies(self.head_dim / 2, 10_000.0, Rounding::Float32)
                .into_iter()
                .map(|frequency| Rounding::Float16.round(frequency))
                .collect();
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|&(position, block)| [position, block])
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * f))
            .collect();
        let shape = [rows, positions.len() / rows, 2 * frequencies.len()];
        RotaryTable::new(&angles, shape, RotaryPairs::TwoHalves, self.rotary, device)
    }
}

/// One block.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    /// Before the attention.
    pub input_layernorm: LayerNorm<B>,
    /// Attention.
    pub attention: SelfAttention<B>,
    /// Before the MLP.
    pub post_attention_layernorm: LayerNorm<B>,
    /// MLP.
    pub mlp: Mlp<B>,
}

impl<B: GlmBackend> Block<B> {
    /// `h = α·LN(x) + Attn(LN(x))`, then the same around the MLP.
    fn forward(
        &self,
        index: usize,
        hidden: Tensor<B, 3>,
        shared: &SharedInputs<B>,
        cache: Option<&mut dyn LayerStore<B>>,
    ) -> Tensor<B, 3> {
        let alpha = (2.0 * RESIDUAL_LAYERS).sqrt();
        let normalized = self.input_layernorm.forward(hidden);
        let attended = self
            .attention
            .forward(index, normalized.clone(), shared, cache);
        let hidden = residual_sum(normalized.mul_scalar(alpha), attended);
        let normalized = self.post_attention_layernorm.forward(hidden);
        let output = self.mlp.forward(index, normalized.clone(), shared);
        residual_sum(normalized.mul_scalar(alpha), output)
    }
}

/// Multi-head attention with two-dimensional rotary positions.
#[derive(Module, Debug)]
pub struct SelfAttention<B: Backend> {
    /// Joint projection; its output is `[q | k | v]` *within each head*.
    pub query_key_value: Projection<B>,
    /// Output projection.
    pub dense: Projection<B>,
    heads: usize,
}

impl<B: GlmBackend> SelfAttention<B> {
    fn forward(
        &self,
        index: usize,
        hidden: Tensor<B, 3>,
        shared: &SharedInputs<B>,
        cache: Option<&mut dyn LayerStore<B>>,
    ) -> Tensor<B, 3> {
        let [batch, tokens, width] = hidden.dims();
        let head_dim = width / self.heads;
        let context = shared.linear(index, DropoutSite::QueryKeyValue);
        let mixed = self.query_key_value.forward_in(hidden, context);
        // [batch, tokens, heads, 3 · head_dim]
        let mixed = mixed.reshape([batch, tokens, self.heads, 3 * head_dim]);
        let [query, key, value] = shared.rotary.heads(mixed, HeadCut::WithinHeads);
        let (key, value) = shared.extend(index, key, value, cache);
        let scale = AttentionScale::new(head_dim, (index + 1) as f64);
        let attended = attention(query, key, value, &shared.mask, scale);
        let context = shared.linear(index, DropoutSite::Dense);
        self.dense.forward_in(attended, context)
    }
}

/// Two linear layers with GELU (tanh formula) between.
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    /// To the inner width.
    pub dense_h_to_4h: Projection<B>,
    /// Back.
    pub dense_4h_to_h: Projection<B>,
}

impl<B: GlmBackend> Mlp<B> {
    fn forward(
        &self,
        index: usize,
        hidden: Tensor<B, 3>,
        shared: &SharedInputs<B>,
    ) -> Tensor<B, 3> {
        let context = |site| shared.linear(index, site);
        let first = context(DropoutSite::DenseHTo4h);
        let inner = self.dense_h_to_4h.forward_in(hidden, first);
        self.dense_4h_to_h
            .forward_in(gelu_tanh(inner), context(DropoutSite::Dense4hToH))
    }
}

//! ChatGLM2-6B, ChatGLM3-6B and GLM-4-9B.
//!
//! What sets them apart: RMS norms, residuals from the stream itself, keys and values shared by groups of
//! heads, rotary positions on interleaved pairs of half of each head, SwiGLU, causal attention for
//! prompt and answer alike. ChatGLM3 differs in tokenizer, prompt and the [use of
//! `rope_ratio`](crate::rope_ratio) only; GLM-4 in its sizes.

pub(crate) mod memory;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

use crate::adapters::PrefixEncoder;
use crate::architecture::{Architecture, BuildOptions, SharedInputs};
use crate::batch::{BatchPositions, RowPositions, TokenBatch};
use crate::config::ChatGlm2Config;
use crate::error::Result;
use crate::layers::rotary::{RotaryPrecision, inverse_frequencies};
use crate::layers::{
    AttentionScale, DropoutSite, Embedding, GlmBackend, HeadCut, LayerStore, Projection, RmsNorm,
    RotaryPairs, RotaryTable, attention, residual_sum, swiglu,
};
use crate::rope_ratio::RopeSettings;
use crate::segment::SegmentPaths;

/// Which parameters belong to which segment.
pub(crate) const SEGMENTS: SegmentPaths = SegmentPaths {
    embeddings: "transformer.embedding.word_embeddings",
    prefix: "transformer.prefix_encoder",
    blocks: "transformer.encoder.layers",
    head: &[
        "transformer.encoder.final_layernorm",
        "transformer.output_layer",
    ],
};

/// The whole model.
#[derive(Module, Debug)]
pub struct ChatGlm2<B: Backend> {
    /// Embeddings, encoder and output layer.
    pub transformer: Transformer<B>,
    #[module(skip)]
    dtype: DType,
    #[module(skip)]
    rotary: RotarySettings,
}

/// What the rotary table depends on.
#[derive(Debug, Clone)]
struct RotarySettings {
    head_dim: usize,
    rope: RopeSettings,
    precision: RotaryPrecision,
}

/// Embeddings, encoder and output layer.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    /// Word embeddings, one level down as in the published files.
    pub embedding: WordEmbedding<B>,
    /// Blocks and final norm.
    pub encoder: Encoder<B>,
    /// Output layer, not tied to the embeddings.
    pub output_layer: Projection<B>,
    /// The prefix of P-Tuning v2, if one is attached.
    pub prefix_encoder: Option<PrefixEncoder<B>>,
}

/// Word embeddings.
#[derive(Module, Debug)]
pub struct WordEmbedding<B: Backend> {
    /// The table.
    pub word_embeddings: Embedding<B>,
}

/// Blocks and final norm.
#[derive(Module, Debug)]
pub struct Encoder<B: Backend> {
    /// The blocks.
    pub layers: Vec<Block<B>>,
    /// The norm after the last block, where `post_layer_norm` is set.
    pub final_layernorm: Option<RmsNorm<B>>,
}

impl<B: Backend> ChatGlm2<B> {
    /// A model whose weights are yet to be loaded.
    pub fn uninitialized(
        config: &ChatGlm2Config,
        options: &BuildOptions,
        device: &B::Device,
    ) -> Self {
        let common = &config.common;
        let (width, dtype) = (common.hidden_size, options.dtype);
        let norm = || RmsNorm::uninitialized(width, common.layernorm_epsilon, dtype, device);
        let layers = (0..common.num_layers).map(|_| Block::uninitialized(config, dtype, device));
        Self {
            transformer: Transformer {
                embedding: WordEmbedding {
                    word_embeddings: Embedding::uninitialized(
                        common.vocab_size,
                        width,
                        dtype,
                        device,
                    ),
                },
                encoder: Encoder {
                    layers: layers.collect(),
                    final_layernorm: config.post_layer_norm.then(norm),
                },
                output_layer: Projection::uninitialized(
                    [width, common.vocab_size],
                    false,
                    dtype,
                    device,
                ),
                prefix_encoder: None,
            },
            dtype,
            rotary: RotarySettings {
                head_dim: config.kv_channels,
                rope: options.rope_ratio.settings(config),
                precision: options.rotary,
            },
        }
    }

    /// The linear layers of the blocks and the output layer, each with its path.
    pub(crate) fn projections_mut(&mut self) -> Vec<(String, &mut Projection<B>)> {
        let layers = self.transformer.encoder.layers.iter_mut().enumerate();
        layers
            .flat_map(|(index, block)| {
                let path = |name: &str| format!("transformer.encoder.layers.{index}.{name}");
                let (attention, mlp) = (&mut block.self_attention, &mut block.mlp);
                [
                    (
                        path("self_attention.query_key_value"),
                        &mut attention.query_key_value,
                    ),
                    (path("self_attention.dense"), &mut attention.dense),
                    (path("mlp.dense_h_to_4h"), &mut mlp.dense_h_to_4h),
                    (path("mlp.dense_4h_to_h"), &mut mlp.dense_4h_to_h),
                ]
            })
            .chain([(
                "transformer.output_layer".to_string(),
                &mut self.transformer.output_layer,
            )])
            .collect()
    }
}

impl<B: GlmBackend> Architecture<B> for ChatGlm2<B> {
    fn embed(&self, ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        self.transformer
            .embedding
            .word_embeddings
            .forward(ids, self.dtype)
    }

    fn num_blocks(&self) -> usize {
        self.transformer.encoder.layers.len()
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
        self.transformer.encoder.layers[index].forward(index, hidden, shared, cache)
    }

    fn final_norm(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.transformer.encoder.final_layernorm {
            Some(norm) => norm.forward(hidden),
            None => hidden,
        }
    }

    fn lm_head(&self) -> &Projection<B> {
        &self.transformer.output_layer
    }

    fn positions(&self, batch: &TokenBatch) -> Result<BatchPositions> {
        let of_row = |(start, _)| RowPositions::causal(start);
        let sequences = batch.rows();
        let sequences = sequences.map(|rows| rows.into_iter().map(of_row).collect());
        Ok(BatchPositions::new(sequences.collect()))
    }

    fn rotary(&self, positions: &[(u32, u32)], rows: usize) -> RotaryTable<B> {
        self.rotary.table(positions, rows, &self.device())
    }

    fn prefix_encoder(&self) -> Option<&PrefixEncoder<B>> {
        self.transformer.prefix_encoder.as_ref()
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn device(&self) -> B::Device {
        self.transformer
            .embedding
            .word_embeddings
            .weight
            .lazy_device()
    }
}

impl RotarySettings {
    /// Only the first half of each head turns.
    fn table<B: Backend>(
        &self,
        positions: &[(u32, u32)],
        rows: usize,
        device: &B::Device,
    ) -> RotaryTable<B> {
        // ChatGLM2 in half precision has frequencies and positions in half precision as well.
        let rounding = self.precision.angles;
        let frequencies = inverse_frequencies(self.head_dim / 2, self.rope.base, rounding);
        let divisor = self.rope.divisor as f32;
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|&(position, _)| {
                let position = rounding.round(rounding.round(position as f32) / divisor);
                frequencies
                    .iter()
                    .map(move |frequency| position * frequency)
            })
            .collect();
        let shape = [rows, positions.len() / rows, frequencies.len()];
        RotaryTable::new(
            &angles,
            shape,
            RotaryPairs::Interleaved,
            self.precision,
            device,
        )
    }
}

/// One block.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    /// Before the attention.
    pub input_layernorm: RmsNorm<B>,
    /// Attention.
    pub self_attention: SelfAttention<B>,
    /// Before the MLP.
    pub post_attention_layernorm: RmsNorm<B>,
    /// MLP.
    pub mlp: Mlp<B>,
    residual_after_norm: bool,
}

impl<B: Backend> Block<B> {
    fn uninitialized(config: &ChatGlm2Config, dtype: DType, device: &B::Device) -> Self {
        let common = &config.common;
        let norm =
            || RmsNorm::uninitialized(common.hidden_size, common.layernorm_epsilon, dtype, device);
        Self {
            input_layernorm: norm(),
            self_attention: SelfAttention::uninitialized(config, dtype, device),
            post_attention_layernorm: norm(),
            mlp: Mlp::uninitialized(config, dtype, device),
            residual_after_norm: config.apply_residual_connection_post_layernorm,
        }
    }
}

impl<B: GlmBackend> Block<B> {
    fn forward(
        &self,
        index: usize,
        hidden: Tensor<B, 3>,
        shared: &SharedInputs<B>,
        cache: Option<&mut dyn LayerStore<B>>,
    ) -> Tensor<B, 3> {
        let normalized = self.input_layernorm.forward(hidden.clone());
        let residual = self.residual(hidden, &normalized);
        let attended = self
            .self_attention
            .forward(index, normalized, shared, cache);
        let (hidden, normalized) = self
            .post_attention_layernorm
            .forward_sum(residual, attended);
        let residual = self.residual(hidden, &normalized);
        residual_sum(residual, self.mlp.forward(index, normalized, shared))
    }

    fn residual(&self, hidden: Tensor<B, 3>, normalized: &Tensor<B, 3>) -> Tensor<B, 3> {
        match self.residual_after_norm {
            true => normalized.clone(),
            false => hidden,
        }
    }
}

/// Attention whose keys and values serve groups of heads.
#[derive(Module, Debug)]
pub struct SelfAttention<B: Backend> {
    /// Joint projection, `[heads·d | groups·d | groups·d]`; without multi-query attention `[q | k | v]`
    /// within each head.
    pub query_key_value: Projection<B>,
    /// Output projection.
    pub dense: Projection<B>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    split_per_head: bool,
}

impl<B: Backend> SelfAttention<B> {
    fn uninitialized(config: &ChatGlm2Config, dtype: DType, device: &B::Device) -> Self {
        let common = &config.common;
        let (width, heads) = (common.hidden_size, common.num_attention_heads);
        let bias = config.add_bias_linear;
        Self {
            query_key_value: Projection::uninitialized(
                [width, config.qkv_width()],
                bias || config.add_qkv_bias,
                dtype,
                device,
            ),
            dense: Projection::uninitialized(
                [heads * config.kv_channels, width],
                bias,
                dtype,
                device,
            ),
            heads,
            kv_heads: config.kv_heads(),
            head_dim: config.kv_channels,
            split_per_head: config.multi_query_groups.is_none(),
        }
    }
}

impl<B: GlmBackend> SelfAttention<B> {
    fn forward(
        &self,
        index: usize,
        hidden: Tensor<B, 3>,
        shared: &SharedInputs<B>,
        cache: Option<&mut dyn LayerStore<B>>,
    ) -> Tensor<B, 3> {
        let context = shared.linear(index, DropoutSite::QueryKeyValue);
        let joint = self.query_key_value.forward_in(hidden, context);
        let [query, key, value] = self.split(joint, &shared.rotary);
        let (key, value) = shared.extend(index, key, value, cache);
        let scale = AttentionScale::new(self.head_dim, 1.0);
        let attended = attention(query, key, value, &shared.mask, scale);
        let context = shared.linear(index, DropoutSite::Dense);
        self.dense.forward_in(attended, context)
    }

    /// `[batch, tokens, joint width]` → queries, keys and values, each
    /// `[batch, tokens, heads or kv_heads, head_dim]`.
    fn split(&self, joint: Tensor<B, 3>, rotary: &RotaryTable<B>) -> [Tensor<B, 4>; 3] {
        let [batch, tokens, _] = joint.dims();
        let d = self.head_dim;
        if self.split_per_head {
            let heads = joint.reshape([batch, tokens, self.heads, 3 * d]);
            return rotary.heads(heads, HeadCut::WithinHeads);
        }
        // All heads are d wide, so the flat parts are ranges of heads.
        let heads = joint.reshape([batch, tokens, self.heads + 2 * self.kv_heads, d]);
        let counts = [self.heads, self.kv_heads, self.kv_heads];
        rotary.heads(heads, HeadCut::Joint(counts))
    }
}

/// SwiGLU between two linear layers.
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    /// To `[gate | up]`, twice the inner width.
    pub dense_h_to_4h: Projection<B>,
    /// Back.
    pub dense_4h_to_h: Projection<B>,
}

impl<B: Backend> Mlp<B> {
    fn uninitialized(config: &ChatGlm2Config, dtype: DType, device: &B::Device) -> Self {
        let (width, inner) = (config.common.hidden_size, config.ffn_hidden_size);
        let bias = config.add_bias_linear;
        Self {
            dense_h_to_4h: Projection::uninitialized([width, 2 * inner], bias, dtype, device),
            dense_4h_to_h: Projection::uninitialized([inner, width], bias, dtype, device),
        }
    }
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
            .forward_in(swiglu(inner), context(DropoutSite::Dense4hToH))
    }
}

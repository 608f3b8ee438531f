//! What an architecture must offer to be a chain of segments: the trait that `chatglm.rs` and
//! `chatglm2.rs` implement, and what its segments share.

pub mod memory;

use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

use crate::adapters::{PrefixEncoder, PrefixKeyValues, RowAdapters};
use crate::batch::{BatchPositions, TokenBatch};
use crate::error::Result;
use crate::layers::rotary::RotaryPrecision;
use crate::layers::{
    AttentionMask, DropoutSite, DropoutSource, GlmBackend, LayerStore, LinearContext, Projection,
    RotaryTable,
};
use crate::rope_ratio::RopeRatio;
use crate::segment::SegmentPaths;

/// What every block reads in a pass beside the hidden state.
#[derive(Debug, Clone)]
pub struct SharedInputs<B: Backend> {
    /// Angles of the queries and keys of this pass.
    pub rotary: RotaryTable<B>,
    /// Which keys each query sees.
    pub mask: AttentionMask<B>,
    /// Keys and values before all others.
    pub prefix: Option<PrefixKeyValues<B>>,
    /// In training: where the masks of dropout come from.
    pub dropout: Option<DropoutSource>,
    /// Where several adapters are served: which of them acts on which row.
    pub adapters: Option<Arc<RowAdapters>>,
}

impl<B: Backend> SharedInputs<B> {
    /// What this pass says to the linear layer at a site.
    pub(crate) fn linear(&self, layer: usize, site: DropoutSite) -> LinearContext<'_> {
        LinearContext {
            dropout_seed: self.dropout.map(|source| source.seed(layer, site)),
            adapters: self.adapters.as_deref(),
        }
    }

    /// The same inputs on another device; constants only, no gradient passes back.
    #[must_use]
    pub fn to_device(&self, device: &B::Device) -> Self {
        if self.rotary.cos.device() == *device {
            return self.clone();
        }
        let rotary = &self.rotary;
        let prefix = self.prefix.as_ref().map(|prefix| PrefixKeyValues {
            layers: prefix
                .layers
                .iter()
                .map(|(key, value)| (through_host(key, device), through_host(value, device)))
                .collect(),
        });
        Self {
            rotary: RotaryTable {
                cos: through_host(&rotary.cos, device),
                sin: through_host(&rotary.sin, device),
                pairs: rotary.pairs,
            },
            mask: AttentionMask::new(self.mask.spec().clone(), device),
            prefix,
            dropout: self.dropout,
            adapters: self.adapters.clone(),
        }
    }
}

impl<B: GlmBackend> SharedInputs<B> {
    /// The keys and values that a layer attends to: prefix, cached ones and its own.
    ///
    /// # Shapes
    /// - `key`, `value`: `[batch, tokens, kv_heads, head_dim]`
    /// - results: `[batch, prefix + cached + tokens, kv_heads, head_dim]`
    pub(crate) fn extend(
        &self,
        layer: usize,
        key: Tensor<B, 4>,
        value: Tensor<B, 4>,
        cache: Option<&mut dyn LayerStore<B>>,
    ) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let batch = key.dims()[0];
        let prefix = self
            .prefix
            .as_ref()
            .map(|prefix| prefix.layer(layer, batch));
        match (cache, prefix) {
            (None, None) => (key, value),
            (None, Some((prefix_key, prefix_value))) => (
                Tensor::cat(vec![prefix_key, key], 1),
                Tensor::cat(vec![prefix_value, value], 1),
            ),
            (Some(cache), prefix) => {
                if let (true, Some((key, value))) = (cache.is_empty(), prefix) {
                    cache.append(key, value);
                }
                cache.append(key, value)
            }
        }
    }
}

/// A tensor on another device by way of the host's memory: not every backend lets its devices see each
/// other's.
pub fn through_host<B: Backend, const D: usize>(
    tensor: &Tensor<B, D>,
    device: &B::Device,
) -> Tensor<B, D> {
    if tensor.device() == *device {
        return tensor.clone();
    }
    let data = tensor.clone().into_data();
    let dtype = data.dtype;
    Tensor::from_data(data, (device, dtype))
}

/// How a model is built around its configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BuildOptions {
    /// Type of the frozen weights and of the activations.
    pub dtype: DType,
    /// Precision in which the published code computes the rotary table.
    pub rotary: RotaryPrecision,
    /// What the configuration's `rope_ratio` does.
    pub rope_ratio: RopeRatio,
}

impl BuildOptions {
    /// Weights, activations and rotary table in float32, `rope_ratio` as ChatGLM3 and later use it.
    pub fn float32() -> Self {
        Self {
            dtype: DType::F32,
            rotary: RotaryPrecision::FLOAT32,
            rope_ratio: RopeRatio::MultipliesBase,
        }
    }
}

/// The segments of one architecture.
pub(crate) trait Architecture<B: GlmBackend> {
    fn embed(&self, ids: Tensor<B, 2, Int>) -> Tensor<B, 3>;
    fn num_blocks(&self) -> usize;
    /// Which parameters belong to which segment.
    fn segments(&self) -> &'static SegmentPaths;
    fn block(
        &self,
        index: usize,
        hidden: Tensor<B, 3>,
        shared: &SharedInputs<B>,
        cache: Option<&mut dyn LayerStore<B>>,
    ) -> Tensor<B, 3>;
    fn final_norm(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3>;
    fn lm_head(&self) -> &Projection<B>;
    fn positions(&self, batch: &TokenBatch) -> Result<BatchPositions>;
    /// The angles of tokens at positions and block positions, those of `rows` rows of equal length.
    fn rotary(&self, positions: &[(u32, u32)], rows: usize) -> RotaryTable<B>;
    fn prefix_encoder(&self) -> Option<&PrefixEncoder<B>>;
    fn dtype(&self) -> DType;
    fn device(&self) -> B::Device;
}

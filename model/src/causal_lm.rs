//! The seam that everything else works with: a model is a chain of segments,
//! `embed → block 0 → … → block N-1 → head`.
//!
//! A segment is a function from the hidden state and some [`SharedInputs`] to a hidden state. A plain
//! forward pass walks the chain once; whatever saves memory or spreads work walks it differently.

pub mod memory;

use std::ops::Range;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

use crate::adapters::{PrefixDropout, PrefixEncoder, PrefixKeyValues, RowAdapters};
use crate::architecture::{Architecture, BuildOptions, SharedInputs};
use crate::batch::{BatchPositions, Padding, RowPositions, TokenBatch};
use crate::chatglm::{self, ChatGlm};
use crate::chatglm2::{self, ChatGlm2};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::layers::{
    self, AttentionMask, DropoutSite, DropoutSource, GlmBackend, KvCache, LayerStore,
    LinearContext, MaskSpec, Projection, RotaryTable,
};
use crate::segment::SegmentPaths;

/// A causal language model of either architecture.
// One model exists per process; the difference in size of the variants is nothing to it.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum CausalLm<B: Backend> {
    /// ChatGLM-6B.
    ChatGlm(ChatGlm<B>),
    /// ChatGLM2-6B, ChatGLM3-6B and GLM-4-9B.
    ChatGlm2(ChatGlm2<B>),
}

impl<B: Backend> CausalLm<B> {
    /// A model whose weights are yet to be loaded; until then it takes no memory for them.
    pub fn uninitialized(config: &ModelConfig, options: &BuildOptions, device: &B::Device) -> Self {
        match config {
            ModelConfig::ChatGlm(config) => {
                Self::ChatGlm(ChatGlm::uninitialized(config, options, device))
            }
            ModelConfig::ChatGlm2(config) => {
                Self::ChatGlm2(ChatGlm2::uninitialized(config, options, device))
            }
        }
    }

    /// Attaches a prefix encoder, in place of one that may be there.
    #[must_use]
    pub fn with_prefix(mut self, encoder: PrefixEncoder<B>) -> Self {
        *self.prefix_slot() = Some(encoder);
        self
    }

    /// Where the prefix encoder is attached.
    pub fn prefix_slot(&mut self) -> &mut Option<PrefixEncoder<B>> {
        match self {
            Self::ChatGlm(model) => &mut model.transformer.prefix_encoder,
            Self::ChatGlm2(model) => &mut model.transformer.prefix_encoder,
        }
    }

    /// The linear layers of the blocks and the output layer, which can carry an adapter, each with its path.
    pub fn projections_mut(&mut self) -> Vec<(String, &mut Projection<B>)> {
        match self {
            Self::ChatGlm(model) => model.projections_mut(),
            Self::ChatGlm2(model) => model.projections_mut(),
        }
    }
}

/// Which parameters belong to which segment in the architecture of a configuration.
pub fn segment_paths(config: &ModelConfig) -> &'static SegmentPaths {
    match config {
        ModelConfig::ChatGlm(_) => &chatglm::SEGMENTS,
        ModelConfig::ChatGlm2(_) => &chatglm2::SEGMENTS,
    }
}

impl<B: GlmBackend> CausalLm<B> {
    fn architecture(&self) -> &dyn Architecture<B> {
        match self {
            Self::ChatGlm(model) => model,
            Self::ChatGlm2(model) => model,
        }
    }

    /// Type of the activations.
    pub fn dtype(&self) -> DType {
        self.architecture().dtype()
    }

    /// Device of the first segment.
    pub fn device(&self) -> B::Device {
        self.architecture().device()
    }

    /// The first segment: word embeddings.
    ///
    /// # Shapes
    /// - `ids`: `[batch, tokens]`; result: `[batch, tokens, hidden]`
    pub fn embed(&self, ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        self.architecture().embed(ids)
    }

    /// Number of blocks.
    pub fn num_blocks(&self) -> usize {
        self.architecture().num_blocks()
    }

    /// Which parameters belong to which segment.
    pub fn segments(&self) -> &'static SegmentPaths {
        self.architecture().segments()
    }

    /// Segment `index + 1`: one block. With a cache, the tokens are appended to those that it holds.
    ///
    /// # Shapes
    /// - `hidden` and result: `[batch, tokens, hidden]`
    pub fn block(
        &self,
        index: usize,
        hidden: Tensor<B, 3>,
        shared: &SharedInputs<B>,
        cache: Option<&mut dyn LayerStore<B>>,
    ) -> Tensor<B, 3> {
        self.architecture().block(index, hidden, shared, cache)
    }

    /// The norm after the last block.
    pub fn final_norm(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.architecture().final_norm(hidden)
    }

    /// The last segment: norm and output layer.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, tokens, hidden]`; result: logits `[batch, tokens, vocabulary]`
    pub fn head(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.head_in(hidden, None)
    }

    /// As [`head`](Self::head), with adapters by rows where several are served.
    pub fn head_in(&self, hidden: Tensor<B, 3>, adapters: Option<&RowAdapters>) -> Tensor<B, 3> {
        let architecture = self.architecture();
        let context = LinearContext {
            dropout_seed: None,
            adapters,
        };
        let hidden = architecture.final_norm(hidden);
        architecture.lm_head().forward_in(hidden, context)
    }

    /// The last segment in training: norm, output layer and mean cross entropy at the positions that have a
    /// target. The logits of the whole batch never exist at once.
    ///
    /// `scale` multiplies the gradients, but not the loss, before they are rounded to the type of the hidden
    /// states: small ones would be lost in half precision.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, tokens, hidden]`
    /// - `rows`: `[targets]`, positions in the flattened `[batch · tokens]`; `targets`: `[targets]`,
    ///   the token that each is to predict
    /// - result: `[1]`, float32
    pub fn head_loss(
        &self,
        hidden: Tensor<B, 3>,
        rows: Tensor<B, 1, Int>,
        targets: Tensor<B, 1, Int>,
        dropout: Option<DropoutSource>,
        scale: f64,
    ) -> Tensor<B, 1> {
        let [batch, tokens, width] = hidden.dims();
        let rows = hidden.reshape([batch * tokens, width]).select(0, rows);
        let rows = self
            .final_norm(rows.unsqueeze_dim::<3>(0))
            .squeeze_dim::<2>(0);
        let seed = dropout.map(|source| source.seed(self.num_blocks(), DropoutSite::Head));
        let head = self.architecture().lm_head().head_operands(rows, seed);
        layers::head_loss(head.hidden, head.weight, head.factors, targets, scale)
    }

    /// Where the tokens of a batch stand, and those that will follow them.
    ///
    /// # Errors
    /// If a row lacks the tokens that its positions depend on (ChatGLM-6B: a mask token and `<sop>`).
    pub fn positions(&self, batch: &TokenBatch) -> Result<BatchPositions> {
        self.architecture().positions(batch)
    }

    /// What the blocks need for the tokens at a range of indexes; in training with a source of dropout.
    pub fn shared_inputs(
        &self,
        positions: &BatchPositions,
        range: Range<usize>,
        dropout: Option<DropoutSource>,
    ) -> SharedInputs<B> {
        let prefix_dropout = dropout.map(|source| PrefixDropout {
            seed: source.seed(0, DropoutSite::Prefix),
            batch: positions.batch(),
        });
        let prefix = self
            .architecture()
            .prefix_encoder()
            .map(|encoder| encoder.forward(self.dtype(), prefix_dropout));
        let prefix_len = prefix.as_ref().map_or(0, PrefixKeyValues::len);
        SharedInputs {
            rotary: self.rotary(positions, range.clone()),
            mask: AttentionMask::new(positions.mask(range, prefix_len), &self.device()),
            prefix,
            dropout,
            adapters: None,
        }
    }

    fn rotary(&self, positions: &BatchPositions, range: Range<usize>) -> RotaryTable<B> {
        let places: Vec<(u32, u32)> = positions.positions(range).collect();
        self.architecture()
            .rotary(&places, positions.sequences().len())
    }

    /// Where the tokens of one sequence stand that begins with a prompt.
    ///
    /// # Errors
    /// As [`positions`](Self::positions).
    pub fn row_positions(&self, prompt: &[u32]) -> Result<RowPositions> {
        let batch = TokenBatch::new(vec![prompt.to_vec()], Padding::Right, 0);
        Ok(self.positions(&batch)?.sequences()[0][0])
    }

    /// What the blocks need for tokens of any sequences, laid end to end in one row: where each stands, which keys it
    /// sees of those that a store gives, and which adapter acts on it.
    pub fn inputs_end_to_end(
        &self,
        positions: &[(u32, u32)],
        mask: MaskSpec,
        adapters: Arc<RowAdapters>,
    ) -> SharedInputs<B> {
        SharedInputs {
            rotary: self.architecture().rotary(positions, 1),
            mask: AttentionMask::new(mask, &self.device()),
            prefix: None,
            dropout: None,
            adapters: Some(adapters),
        }
    }

    /// Keys and values of the prefix that is attached.
    pub fn prefix_key_values(&self) -> Option<PrefixKeyValues<B>> {
        let prefix = self.architecture().prefix_encoder();
        prefix.map(|encoder| encoder.forward(self.dtype(), None))
    }

    /// Positions of the prefix that is attached; 0 without one.
    pub fn prefix_len(&self) -> usize {
        let prefix = self.architecture().prefix_encoder();
        prefix.map_or(0, PrefixEncoder::pre_seq_len)
    }

    /// What the blocks need for tokens at a range of indexes that follow those of a cache, which holds the prefix
    /// already: it is not computed again.
    pub fn inputs_after_cache(
        &self,
        positions: &BatchPositions,
        range: Range<usize>,
    ) -> SharedInputs<B> {
        SharedInputs {
            rotary: self.rotary(positions, range.clone()),
            mask: AttentionMask::new(positions.mask(range, self.prefix_len()), &self.device()),
            prefix: None,
            dropout: None,
            adapters: None,
        }
    }

    /// Walks the blocks.
    ///
    /// # Shapes
    /// - `hidden` and result: `[batch, tokens, hidden]`
    pub fn blocks(
        &self,
        hidden: Tensor<B, 3>,
        shared: &SharedInputs<B>,
        cache: Option<&mut KvCache<B>>,
    ) -> Tensor<B, 3> {
        match cache {
            None => (0..self.num_blocks()).fold(hidden, |hidden, index| {
                self.block(index, hidden, shared, None)
            }),
            Some(cache) => {
                let stores = cache.layers.iter_mut().enumerate();
                stores.fold(hidden, |hidden, (index, layer)| {
                    self.block(index, hidden, shared, Some(layer))
                })
            }
        }
    }

    /// The plain forward pass.
    ///
    /// # Shapes
    /// - result: logits `[batch, tokens, vocabulary]`
    ///
    /// # Errors
    /// As [`positions`](Self::positions).
    pub fn forward(&self, batch: &TokenBatch) -> Result<Tensor<B, 3>> {
        let positions = self.positions(batch)?;
        let shared = self.shared_inputs(&positions, 0..batch.width(), None);
        let hidden = self.embed(batch.ids(&self.device()));
        Ok(self.head(self.blocks(hidden, &shared, None)))
    }

    /// The hidden states as the published code reports them: the embeddings and the output of every
    /// block, each `[batch, tokens, hidden]`. ChatGLM-6B reports the last one after the final norm, the
    /// others before it.
    ///
    /// # Errors
    /// As [`positions`](Self::positions).
    pub fn hidden_states(&self, batch: &TokenBatch) -> Result<Vec<Tensor<B, 3>>> {
        let positions = self.positions(batch)?;
        let shared = self.shared_inputs(&positions, 0..batch.width(), None);
        let mut states = vec![self.embed(batch.ids(&self.device()))];
        for index in 0..self.num_blocks() {
            let next = self.block(index, states[index].clone(), &shared, None);
            states.push(next);
        }
        if let Self::ChatGlm(_) = self {
            let last = states.pop().map(|state| self.final_norm(state));
            states.extend(last);
        }
        Ok(states)
    }
}

//! What a block's activations take, counted from the operations of `model/src/chatglm.rs` and
//! `model/src/chatglm2.rs` and from what `model/src/layers/ops/autodiff.rs` keeps for each.

use burn::tensor::DType;
use glmtune_model::ModelConfig;
use glmtune_model::adapters::{AdapterSettings, KeptByAdapter, Place};

use crate::settings::Method;

/// Widths of a block's tensors, per token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Widths {
    pub hidden: u64,
    /// Queries of all heads.
    pub query: u64,
    /// Keys and values together.
    pub kv: u64,
    /// What the MLP's first layer gives.
    pub first: u64,
    /// What its second layer takes.
    pub inner: u64,
    pub heads: u64,
}

impl Widths {
    pub fn of(config: &ModelConfig) -> Self {
        let common = config.common();
        let (first, inner) = match config {
            ModelConfig::ChatGlm(config) => (config.inner_hidden_size, config.inner_hidden_size),
            ModelConfig::ChatGlm2(config) => (2 * config.ffn_hidden_size, config.ffn_hidden_size),
        };
        Self {
            hidden: common.hidden_size as u64,
            query: (common.num_attention_heads * config.head_dim()) as u64,
            kv: (2 * config.kv_heads() * config.head_dim()) as u64,
            first: first as u64,
            inner: inner as u64,
            heads: common.num_attention_heads as u64,
        }
    }

    /// Elements of the MLP's second layer.
    pub fn second_layer(&self) -> u64 {
        self.inner * self.hidden
    }
}

/// Which inputs of a block's linear layers the backward pass needs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    /// Base weights are trained.
    pub base: bool,
    /// A prefix stands before keys and values.
    pub prefix: bool,
    /// What an adapter keeps at each linear layer.
    pub adapter: AtLayers,
}

/// What an adapter keeps at the linear layers of a block.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AtLayers {
    pub query_key_value: KeptByAdapter,
    pub dense: KeptByAdapter,
    pub dense_h_to_4h: KeptByAdapter,
    pub dense_4h_to_h: KeptByAdapter,
}

impl AtLayers {
    fn of(settings: &AdapterSettings) -> Self {
        let kept = |module: &str| settings.kept(module).unwrap_or_default();
        Self {
            query_key_value: kept("attention.query_key_value"),
            dense: kept("attention.dense"),
            dense_h_to_4h: kept("mlp.dense_h_to_4h"),
            dense_4h_to_h: kept("mlp.dense_4h_to_h"),
        }
    }

    /// The most that is kept beside an input.
    fn width(&self) -> u64 {
        let all = [
            self.query_key_value,
            self.dense,
            self.dense_h_to_4h,
            self.dense_4h_to_h,
        ];
        all.iter().map(|kept| kept.width as u64).sum()
    }
}

impl Kept {
    pub fn of(method: &Method, trains_base: bool) -> Self {
        let adapter = method.adapter();
        Self {
            base: trains_base,
            prefix: adapter.is_some_and(|settings| settings.kind().place() == Place::Prefix),
            adapter: adapter.map_or_else(AtLayers::default, AtLayers::of),
        }
    }

    /// Elements per token that an adapter keeps beside inputs.
    pub fn adapter_width(&self) -> u64 {
        self.adapter.width()
    }
}

/// Bytes of one micro-batch in one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub widths: Widths,
    /// Tokens of the micro-batch.
    pub tokens: u64,
    /// Bytes of an element.
    pub size: u64,
    /// Whether kernels work on float32 copies of 16-bit tensors, as those of the CPU do.
    pub widens: bool,
}

impl Block {
    pub fn new(config: &ModelConfig, tokens: u64, dtype: DType, on_cpu: bool) -> Self {
        Self {
            widths: Widths::of(config),
            tokens,
            size: dtype.size() as u64,
            widens: on_cpu && dtype.size() < 4,
        }
    }

    /// A tensor of a width.
    pub fn tensor(&self, width: u64) -> u64 {
        self.tokens * width * self.size
    }

    /// Float32 copies that an operation makes of tensors of these widths together.
    fn widened(&self, width: u64) -> u64 {
        match self.widens {
            true => self.tokens * width * 4,
            false => 0,
        }
    }

    /// What the graph keeps of the attention's half: queries, keys and values where the attention reads
    /// them, its result, and the logarithms of its sums.
    fn kept_attention(&self, kept: Kept) -> u64 {
        let w = self.widths;
        let key_value = match kept.prefix {
            true => w.kv,
            // Values are a view of the joint projection's result, which stays whole.
            false => w.query + w.kv + w.kv / 2,
        };
        let adapters = kept_at(kept.adapter.query_key_value, w.hidden, false)
            // The attention's result is kept as it is; a copy comes on top.
            + kept_at(kept.adapter.dense, w.query, true);
        let inputs = if kept.base { w.hidden } else { 0 };
        self.tensor(w.hidden + 2 * w.query + key_value + inputs + adapters)
            + 4 * self.tokens * w.heads
    }

    /// What the graph keeps of the MLP's half: the norm's input and the activation's.
    fn kept_mlp(&self, kept: Kept) -> u64 {
        let w = self.widths;
        let adapters = kept_at(kept.adapter.dense_h_to_4h, w.hidden, false)
            + kept_at(kept.adapter.dense_4h_to_h, w.inner, false);
        let inputs = if kept.base { w.hidden + w.inner } else { 0 };
        self.tensor(w.hidden + w.first + inputs + adapters)
    }

    /// What the graph keeps until the backward pass.
    pub fn kept(&self, kept: Kept) -> u64 {
        self.kept_attention(kept) + self.kept_mlp(kept)
    }

    /// The most that a forward pass without a graph holds beside the block's input.
    pub fn forward_work(&self) -> u64 {
        let w = self.widths;
        let first = self.tensor(w.hidden + w.hidden + w.first) + self.widened(w.hidden + w.first);
        let gate = self.tensor(w.hidden + w.first + w.inner) + self.widened(w.first + w.inner);
        let attention = self.tensor(w.hidden + 2 * w.query + w.kv + w.kv / 2 + w.query)
            + self.widened(2 * w.query + w.kv);
        first.max(gate).max(attention)
    }

    /// The most that the backward pass holds beside what the graph keeps and the gradients of weights.
    pub fn backward_work(&self, kept: Kept) -> u64 {
        let w = self.widths;
        // The residual's gradient, and those around the activation; the second layer's input is gone.
        let gone = match kept.base || kept.adapter.dense_4h_to_h.input {
            true => w.inner,
            false => 0,
        };
        let gate =
            self.tensor(w.hidden + w.inner + w.first - gone) + self.widened(w.inner + 2 * w.first);
        // Gradients of queries, keys and values become one of their joint projection, part by part.
        let joint = w.query + w.kv;
        let attention = self.tensor(w.hidden + w.query + 3 * joint) + self.widened(3 * w.query);
        gate.max(attention.saturating_sub(self.kept_mlp(kept)))
    }
}

/// Elements per token that an adapter keeps at a layer, whose input is kept without it or not.
fn kept_at(kept: KeptByAdapter, input: u64, input_is_kept: bool) -> u64 {
    let has_input = kept.input && (kept.copies_input || !input_is_kept);
    kept.width as u64 + if has_input { input } else { 0 }
}

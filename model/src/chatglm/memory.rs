//! What the segments of ChatGLM-6B do in a pass whose memory is counted: `chatglm.rs`, call by call.

use crate::architecture::memory::TracedPass;
use crate::config::ChatGlmConfig;
use crate::layers::memory::{attention, gelu_tanh, heads, residual_sum};
use crate::memory::{Trace, Traced, mul_scalar};

/// The output layer's path.
pub(crate) const OUTPUT_LAYER: &str = "lm_head";

/// As `Block::forward`, of the block whose parameters have this path.
pub(crate) fn block(
    config: &ChatGlmConfig,
    path: &str,
    pass: &TracedPass<'_>,
    trace: &Trace,
    hidden: Traced,
) -> Traced {
    let (modules, rows) = (pass.modules, pass.tokens());
    let norm = |name: &str, x: Traced| modules.layer_norm(trace, &format!("{path}.{name}"), x);
    let linear = |name: &str, x: Traced| modules.linear(trace, &format!("{path}.{name}"), rows, x);
    let normalized = norm("input_layernorm", hidden);
    let mixed = linear("attention.query_key_value", normalized.clone());
    let width = mixed.elements() / 3;
    let [query, key, value] = heads(trace, mixed, [width; 3]);
    let (key, value) = pass.extend(trace, key, value);
    let count = config.common.num_attention_heads;
    let context = attention(trace, pass.attention(count, count), [query, key, value]);
    let attended = linear("attention.dense", context);
    let hidden = residual_sum(trace, mul_scalar(trace, normalized), attended);
    let normalized = norm("post_attention_layernorm", hidden);
    let inner = linear("mlp.dense_h_to_4h", normalized.clone());
    let output = linear("mlp.dense_4h_to_h", gelu_tanh(trace, inner));
    residual_sum(trace, mul_scalar(trace, normalized), output)
}

/// As `final_norm`.
pub(crate) fn final_norm(pass: &TracedPass<'_>, trace: &Trace, hidden: Traced) -> Traced {
    let path = "transformer.final_layernorm";
    pass.modules.layer_norm(trace, path, hidden)
}

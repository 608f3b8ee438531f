//! What the segments of ChatGLM2 and later do in a pass whose memory is counted: `chatglm2.rs`, call by call.

use crate::architecture::memory::TracedPass;
use crate::config::ChatGlm2Config;
use crate::layers::memory::{attention, heads, residual_sum, swiglu};
use crate::memory::{Trace, Traced};

/// The output layer's path.
pub(crate) const OUTPUT_LAYER: &str = "transformer.output_layer";

/// As `Block::forward`, of the block whose parameters have this path.
pub(crate) fn block(
    config: &ChatGlm2Config,
    path: &str,
    pass: &TracedPass<'_>,
    trace: &Trace,
    hidden: Traced,
) -> Traced {
    let (modules, rows) = (pass.modules, pass.tokens());
    let norm = |name: &str, x: Traced| modules.rms_norm(trace, &format!("{path}.{name}"), x);
    let linear = |name: &str, x: Traced| modules.linear(trace, &format!("{path}.{name}"), rows, x);
    let residual = |hidden: Traced, normalized: &Traced| match config
        .apply_residual_connection_post_layernorm
    {
        true => normalized.clone(),
        false => hidden,
    };
    let normalized = norm("input_layernorm", hidden.clone());
    let kept = residual(hidden, &normalized);
    let mixed = linear("self_attention.query_key_value", normalized);
    let [query, key, value] = split(config, pass, trace, mixed);
    let (key, value) = pass.extend(trace, key, value);
    let sizes = pass.attention(config.common.num_attention_heads, config.kv_heads());
    let context = attention(trace, sizes, [query, key, value]);
    let hidden = residual_sum(trace, kept, linear("self_attention.dense", context));
    let normalized = norm("post_attention_layernorm", hidden.clone());
    let kept = residual(hidden, &normalized);
    let inner = linear("mlp.dense_h_to_4h", normalized);
    residual_sum(
        trace,
        kept,
        linear("mlp.dense_4h_to_h", swiglu(trace, inner)),
    )
}

/// As `SelfAttention::split`.
fn split(
    config: &ChatGlm2Config,
    pass: &TracedPass<'_>,
    trace: &Trace,
    mixed: Traced,
) -> [Traced; 3] {
    let (queries, groups) = (config.common.num_attention_heads, config.kv_heads());
    let elements = |heads: usize| pass.tokens() * (heads * config.kv_channels) as u64;
    heads(trace, mixed, [queries, groups, groups].map(elements))
}

/// As `final_norm`.
pub(crate) fn final_norm(pass: &TracedPass<'_>, trace: &Trace, hidden: Traced) -> Traced {
    let path = "transformer.encoder.final_layernorm";
    match pass.modules.has(path) {
        true => pass.modules.rms_norm(trace, path, hidden),
        false => hidden,
    }
}

//! What the segments do in a pass whose memory is counted, whichever the architecture: `causal_lm.rs`, call by call.

use crate::architecture::memory::TracedPass;
use crate::config::ModelConfig;
use crate::layers::memory::head_loss;
use crate::memory::{Trace, Traced, select, to_type};
use crate::segment::SegmentPaths;
use crate::{chatglm, chatglm2};

use super::segment_paths;

/// As [`CausalLm::embed`](super::CausalLm::embed).
pub fn embed(config: &ModelConfig, pass: &TracedPass<'_>, trace: &Trace) -> Traced {
    let width = config.common().hidden_size as u64;
    let table = pass.modules.table(trace, segment_paths(config).embeddings);
    to_type(trace, select(trace, table, pass.tokens() * width))
}

/// As [`CausalLm::block`](super::CausalLm::block), without a cache.
pub fn block(
    config: &ModelConfig,
    index: usize,
    pass: &TracedPass<'_>,
    trace: &Trace,
    hidden: Traced,
) -> Traced {
    let SegmentPaths { blocks, .. } = segment_paths(config);
    let path = format!("{blocks}.{index}");
    match config {
        ModelConfig::ChatGlm(config) => chatglm::memory::block(config, &path, pass, trace, hidden),
        ModelConfig::ChatGlm2(config) => {
            chatglm2::memory::block(config, &path, pass, trace, hidden)
        }
    }
}

/// As [`CausalLm::head_loss`](super::CausalLm::head_loss).
pub fn head(config: &ModelConfig, pass: &TracedPass<'_>, trace: &Trace, hidden: Traced) -> Traced {
    let rows = pass.targets;
    let states = select(trace, hidden, rows * config.common().hidden_size as u64);
    let (states, output_layer) = match config {
        ModelConfig::ChatGlm(_) => (
            chatglm::memory::final_norm(pass, trace, states),
            chatglm::memory::OUTPUT_LAYER,
        ),
        ModelConfig::ChatGlm2(_) => (
            chatglm2::memory::final_norm(pass, trace, states),
            chatglm2::memory::OUTPUT_LAYER,
        ),
    };
    let (mut base, adapter) = pass.modules.head(trace, output_layer, rows, states);
    base.weight = to_type(trace, base.weight);
    head_loss(trace, rows, base, adapter)
}

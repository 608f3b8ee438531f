//! What layers do in a pass whose memory is counted, beside `linear.rs`, `norm.rs`, `activation.rs` and their like.

use super::ops::linear::memory as operation;
use super::ops::lora::memory as lora_operation;
use crate::memory::{Trace, Traced, to_type};

pub use super::ops::activation::memory::{gelu_tanh, swiglu};
pub use super::ops::attention::memory::{AttentionSizes, attention};
pub use super::ops::dropout::memory::dropout;
pub use super::ops::head_loss::memory::{HeadTerm, head_loss};
pub use super::ops::heads::memory::heads;
pub use super::ops::lora::memory::TracedLora;
pub use super::ops::norm::memory::{layer_norm, rms_norm};
pub use super::ops::parts::memory::parts;
pub use super::ops::residual::memory::residual_sum;
pub use super::ops::rotary::memory::rotary;

/// As [`layers::linear`](crate::layers::linear()), for an input of some rows.
pub fn linear(trace: &Trace, rows: u64, x: Traced, weight: Traced, bias: Option<Traced>) -> Traced {
    let bias = bias.map(|bias| to_type(trace, bias));
    operation::linear(trace, rows, x, to_type(trace, weight), bias)
}

/// As [`layers::lora`](crate::layers::lora()).
pub fn lora(trace: &Trace, layer: TracedLora) -> Traced {
    let layer = TracedLora {
        weight: to_type(trace, layer.weight),
        bias: layer.bias.map(|bias| to_type(trace, bias)),
        ..layer
    };
    lora_operation::lora(trace, layer)
}

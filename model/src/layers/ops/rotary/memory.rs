//! What the rotary embedding holds: its backward pass keeps the table alone, which all blocks share.

use crate::memory::{Copied, Gradient, Operation, Stage, Trace, Traced};

/// A call of [`glm_rotary`](super::RotaryOps::glm_rotary).
pub fn rotary(trace: &Trace, x: Traced) -> Traced {
    let (compute, elements) = (trace.compute(), x.elements());
    let bytes = compute.bytes(elements);
    let read = compute.read(elements, x.is_view());
    let operation = Operation {
        output: bytes,
        work: read + compute.widened(elements) + bytes,
        copied: match read {
            0 => Vec::new(),
            _ => vec![(0, read)],
        },
        backward: vec![Stage {
            gradients: vec![(0, Gradient::New(bytes))],
            work: compute.widened(2 * elements) + bytes,
            copied: compute.copied(vec![Copied::Gradient]),
            ..Stage::default()
        }],
        ..Operation::default()
    };
    trace.call(vec![x], (elements, compute.size()), operation)
}

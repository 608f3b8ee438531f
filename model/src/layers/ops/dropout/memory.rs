//! What dropout holds: its backward pass keeps the seed alone.

use crate::memory::{Copied, Gradient, Operation, Stage, Trace, Traced};

/// A call of [`glm_dropout`](super::DropoutOps::glm_dropout).
pub fn dropout(trace: &Trace, x: Traced) -> Traced {
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

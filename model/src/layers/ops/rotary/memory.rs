//! What the rotary embedding holds: its backward pass keeps the table alone, which all blocks share.

use crate::memory::{Gradient, Operation, Stage, Trace, Traced};

/// A call of [`glm_rotary`](super::RotaryOps::glm_rotary).
pub fn rotary(trace: &Trace, x: Traced) -> Traced {
    let (compute, elements) = (trace.compute(), x.elements());
    let bytes = compute.bytes(elements);
    let operation = Operation {
        output: bytes,
        work: compute.read(elements, x.is_view()) + compute.widened(elements) + bytes,
        backward: vec![Stage {
            gradients: vec![(0, Gradient::New(bytes))],
            work: compute.widened(2 * elements) + bytes,
            releases: Vec::new(),
        }],
        ..Operation::default()
    };
    trace.call(vec![x], (elements, compute.size()), operation)
}

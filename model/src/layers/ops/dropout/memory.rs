//! What dropout holds: its backward pass keeps the seed alone.

use crate::memory::{Gradient, Operation, Stage, Trace, Traced};

/// A call of [`glm_dropout`](super::DropoutOps::glm_dropout).
pub fn dropout(trace: &Trace, x: Traced) -> Traced {
    let (compute, elements) = (trace.compute(), x.elements());
    let bytes = compute.bytes(elements);
    let work = compute.widened(2 * elements) + bytes;
    let copy = match compute.widens() {
        true => 0,
        false => compute.read(elements, x.is_view()),
    };
    let operation = Operation {
        output: bytes,
        work: work + copy,
        backward: vec![Stage {
            gradients: vec![(0, Gradient::New(bytes))],
            work,
            releases: Vec::new(),
        }],
        ..Operation::default()
    };
    trace.call(vec![x], (elements, compute.size()), operation)
}

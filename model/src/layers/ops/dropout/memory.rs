//! What dropout holds: its backward pass keeps the seed alone.

use crate::memory::{Operation, Trace, Traced};

/// A call of [`glm_dropout`](super::DropoutOps::glm_dropout).
pub fn dropout(trace: &Trace, x: Traced) -> Traced {
    let (compute, elements) = (trace.compute(), x.elements());
    let operation = Operation::elementwise(compute, elements, x.is_view());
    trace.call(vec![x], (elements, compute.size()), operation)
}

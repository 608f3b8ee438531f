//! What the rotary embedding holds: its backward pass keeps the table alone, which all blocks share.

use crate::memory::{Operation, Trace, Traced};

/// A call of [`glm_rotary`](super::RotaryOps::glm_rotary).
pub fn rotary(trace: &Trace, x: Traced) -> Traced {
    let (compute, elements) = (trace.compute(), x.elements());
    let operation = Operation::elementwise(compute, elements, x.is_view());
    trace.call(vec![x], (elements, compute.size()), operation)
}

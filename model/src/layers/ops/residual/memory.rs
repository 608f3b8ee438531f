//! What a residual sum holds: nothing beside the branch's output, over which it is written.

use crate::memory::{Gradient, Operation, Stage, Trace, Traced};

/// A call of [`glm_residual_sum`](super::ResidualOps::glm_residual_sum).
pub fn residual_sum(trace: &Trace, x: Traced, y: Traced) -> Traced {
    let (elements, size, bytes) = (x.elements(), x.size(), x.bytes());
    let operation = Operation {
        output: bytes,
        work: bytes,
        in_place: Some(1),
        backward: vec![Stage {
            gradients: vec![(0, Gradient::Same), (1, Gradient::Same)],
            ..Stage::default()
        }],
        ..Operation::default()
    };
    trace.call(vec![x, y], (elements, size), operation)
}

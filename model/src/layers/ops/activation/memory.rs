//! What the activations hold: their backward passes keep the input.

use crate::memory::{Compute, Copied, Gradient, Kept, Operation, Stage, Trace, Traced};

/// A call of [`glm_swiglu`](super::ActivationOps::glm_swiglu).
pub fn swiglu(trace: &Trace, x: Traced) -> Traced {
    let (input, output) = (x.elements(), x.elements() / 2);
    let operation = unary(trace.compute(), input, output);
    trace.call(vec![x], (output, trace.compute().size()), operation)
}

/// A call of [`glm_gelu_tanh`](super::ActivationOps::glm_gelu_tanh).
pub fn gelu_tanh(trace: &Trace, x: Traced) -> Traced {
    let elements = x.elements();
    let operation = unary(trace.compute(), elements, elements);
    trace.call(vec![x], (elements, trace.compute().size()), operation)
}

fn unary(compute: &Compute, input: u64, output: u64) -> Operation {
    let result = compute.bytes(output);
    let gradient = compute.bytes(input);
    Operation {
        output: result,
        work: compute.widened(input + output) + result,
        kept: Kept {
            inputs: vec![0],
            ..Kept::default()
        },
        backward: vec![Stage {
            gradients: vec![(0, Gradient::New(gradient))],
            work: compute.widened(input + output + input) + gradient,
            copied: compute.copied(vec![Copied::Gradient, Copied::Input(0)]),
            releases: vec![0],
        }],
        ..Operation::default()
    }
}

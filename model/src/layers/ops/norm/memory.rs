//! What the norms hold: their backward passes keep the input, and the weight, which is there anyway.

use crate::memory::{
    Compute, Copied, Gradient, Kept, Kernels, Operation, Stage, Trace, Traced, cast_work,
};

/// A call of [`glm_rms_norm`](super::NormOps::glm_rms_norm).
pub fn rms_norm(trace: &Trace, x: Traced, weight: Traced) -> Traced {
    let (compute, elements, width) = (trace.compute(), x.elements(), weight.elements());
    let gradient = compute.bytes(elements);
    let work = match compute.kernels {
        Kernels::Cpu { .. } => {
            // Each task sums the weight's gradient on its own.
            let tasks = elements.div_ceil(width.max(1)).div_ceil(super::ROWS as u64);
            compute.widened(3 * elements) + gradient + 4 * (tasks + 1) * width
        }
        Kernels::Gpu => gradient + weight.bytes(),
    };
    let backward = Stage {
        gradients: vec![
            (0, Gradient::New(gradient)),
            (1, Gradient::New(weight.bytes())),
        ],
        work,
        copied: compute.copied(vec![Copied::Gradient, Copied::Input(0)]),
        releases: vec![0],
    };
    call(trace, vec![x, weight], elements, backward)
}

/// A call of [`glm_layer_norm`](super::NormOps::glm_layer_norm).
pub fn layer_norm(trace: &Trace, x: Traced, weight: Traced, bias: Traced) -> Traced {
    let (compute, elements) = (trace.compute(), x.elements());
    let gradient = compute.bytes(elements);
    let work = match compute.widens() {
        // Its backward pass is made of Burn's operations: the float32 input, and the gradient on its way there.
        true => compute.float32(elements) + cast_work(compute, elements, 4) - gradient,
        // Always one tensor beside the two that it overwrites.
        false => gradient,
    };
    let backward = Stage {
        gradients: vec![
            (0, Gradient::New(gradient)),
            (1, Gradient::New(weight.bytes())),
            (2, Gradient::New(bias.bytes())),
        ],
        work: work + weight.bytes() + bias.bytes(),
        releases: vec![0],
        ..Stage::default()
    };
    call(trace, vec![x, weight, bias], elements, backward)
}

fn call(trace: &Trace, inputs: Vec<Traced>, elements: u64, backward: Stage) -> Traced {
    let compute: &Compute = trace.compute();
    let output = compute.bytes(elements);
    let operation = Operation {
        output,
        work: compute.widened(2 * elements) + output,
        kept: Kept {
            inputs: vec![0, 1],
            ..Kept::default()
        },
        backward: vec![backward],
        ..Operation::default()
    };
    trace.call(inputs, (elements, compute.size()), operation)
}

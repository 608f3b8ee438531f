//! What Burn's own operations hold, those that blocks call between the leaf operations.

use super::operation::{Compute, Gradient, Kept, Kernels, Operation, Stage};
use super::trace::{Trace, Traced};

/// A stage that gives these gradients and holds nothing beside them.
fn gives(gradients: Vec<(usize, Gradient)>) -> Stage {
    let new = gradients.iter().map(|(_, gradient)| match gradient {
        Gradient::New(bytes) => *bytes,
        Gradient::Same | Gradient::InPlace(_) | Gradient::Kept(_) | Gradient::Part(_) => 0,
    });
    Stage {
        work: new.sum(),
        gradients,
        ..Stage::default()
    }
}

/// `a + b`, of one shape.
pub fn add(trace: &Trace, a: Traced, b: Traced) -> Traced {
    let (elements, size, bytes) = (a.elements(), a.size(), a.bytes());
    let operation = Operation {
        output: bytes,
        work: bytes,
        in_place: Some(0),
        backward: vec![gives(vec![(0, Gradient::Same), (1, Gradient::Same)])],
        ..Operation::default()
    };
    trace.call(vec![a, b], (elements, size), operation)
}

/// A tensor times a number.
pub fn mul_scalar(trace: &Trace, x: Traced) -> Traced {
    let (elements, size, bytes) = (x.elements(), x.size(), x.bytes());
    let operation = Operation {
        output: bytes,
        work: bytes,
        in_place: Some(0),
        backward: vec![gives(vec![(0, Gradient::InPlace(bytes))])],
        ..Operation::default()
    };
    trace.call(vec![x], (elements, size), operation)
}

/// A range of an axis, with so many elements in all: its gradient is written into zeros as large as the whole, or a
/// copy of them.
pub fn narrow(trace: &Trace, x: Traced, elements: u64) -> Traced {
    let whole = x.bytes();
    let backward = Stage {
        gradients: vec![(0, Gradient::New(whole))],
        work: whole.saturating_mul(match trace.compute().kernels {
            Kernels::Cpu { .. } => 2,
            Kernels::Gpu => 1,
        }),
        ..Stage::default()
    };
    trace.view(x, elements, vec![backward])
}

/// A tensor along new or longer axes; its gradient is summed over them.
pub fn expand(trace: &Trace, x: Traced, elements: u64) -> Traced {
    let (before, bytes) = (x.elements(), x.bytes());
    let gradient = match elements == before {
        true => Gradient::Same,
        false => Gradient::New(bytes),
    };
    trace.view(x, elements, vec![gives(vec![(0, gradient)])])
}

/// Two tensors one after the other; their gradients are views of its gradient.
pub fn cat(trace: &Trace, a: Traced, b: Traced) -> Traced {
    let (elements, size) = (a.elements() + b.elements(), a.size());
    let bytes = a.bytes().saturating_add(b.bytes());
    let operation = Operation {
        output: bytes,
        work: bytes,
        backward: vec![gives(vec![(0, Gradient::Same), (1, Gradient::Same)])],
        ..Operation::default()
    };
    trace.call(vec![a, b], (elements, size), operation)
}

/// The most that a cast to elements of so many bytes holds, its result included: the CPU goes by float64.
pub fn cast_work(compute: &Compute, elements: u64, size: u64) -> u64 {
    let by = match compute.kernels {
        Kernels::Cpu { .. } => 8,
        Kernels::Gpu => 0,
    };
    elements.saturating_mul(by + size)
}

/// A tensor with elements of so many bytes.
pub fn cast(trace: &Trace, x: Traced, size: u64) -> Traced {
    let (compute, elements, before) = (trace.compute(), x.elements(), x.bytes());
    let backward = Stage {
        gradients: vec![(0, Gradient::New(before))],
        work: cast_work(compute, elements, x.size()),
        ..Stage::default()
    };
    let operation = Operation {
        output: elements.saturating_mul(size),
        work: cast_work(compute, elements, size),
        backward: vec![backward],
        ..Operation::default()
    };
    trace.call(vec![x], (elements, size), operation)
}

/// A tensor in the compute type: as it is, if it is so.
pub fn to_type(trace: &Trace, x: Traced) -> Traced {
    let size = trace.compute().size();
    match x.size() == size {
        true => x,
        false => cast(trace, x, size),
    }
}

/// The hyperbolic tangent, which keeps its input and runs again.
pub fn tanh(trace: &Trace, x: Traced) -> Traced {
    let (elements, size, bytes) = (x.elements(), x.size(), x.bytes());
    let backward = Stage {
        gradients: vec![(0, Gradient::InPlace(bytes))],
        work: bytes,
        releases: vec![0],
        ..Stage::default()
    };
    let operation = Operation {
        output: bytes,
        work: bytes,
        kept: Kept {
            inputs: vec![0],
            ..Kept::default()
        },
        backward: vec![backward],
        ..Operation::default()
    };
    trace.call(vec![x], (elements, size), operation)
}

/// Some rows of a table, with so many elements in all: their gradient is added to zeros as large as the table.
pub fn select(trace: &Trace, x: Traced, elements: u64) -> Traced {
    let (size, whole) = (x.size(), x.bytes());
    let bytes = elements.saturating_mul(size);
    let backward = Stage {
        gradients: vec![(0, Gradient::New(whole))],
        // Zeros, and the copy that rows are added to.
        work: whole.saturating_mul(2),
        ..Stage::default()
    };
    let operation = Operation {
        output: bytes,
        work: bytes,
        backward: vec![backward],
        ..Operation::default()
    };
    trace.call(vec![x], (elements, size), operation)
}

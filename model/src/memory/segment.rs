//! The memory of one segment's passes.

use super::ledger::Held;
use super::operation::Compute;
use super::trace::{Trace, Traced};

/// What a segment holds in its passes, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SegmentMemory {
    /// What the graph keeps of it until its backward pass, its input included, its output not.
    pub kept: u64,
    /// What its output holds.
    pub output: u64,
    /// The highest moment of both passes, what is kept included.
    pub highest: Held,
    /// What of its backward pass stays until that of all segments ends, gradients of parameters and of its input left
    /// out.
    pub left: u64,
    /// The largest tensor that comes and goes.
    pub largest: u64,
}

/// A segment's input.
#[derive(Debug, Clone, Copy)]
pub struct SegmentInput {
    /// Elements.
    pub elements: u64,
    /// Whether its gradient is wanted.
    pub is_tracked: bool,
    /// Whether the gradient of the output waits while the segment runs, as it does where it runs again.
    pub gradient_waits: bool,
}

impl SegmentMemory {
    /// Runs a segment forward without a graph.
    pub fn forward(
        compute: Compute,
        input: u64,
        run: impl FnOnce(&Trace, Traced) -> Traced,
    ) -> Self {
        let trace = Trace::new(compute, false);
        let input = trace.activation(input, false);
        drop(run(&trace, input));
        Self {
            highest: trace.peak(),
            largest: trace.largest(),
            ..Self::default()
        }
    }

    /// Runs a segment forward and backward.
    pub fn both_ways(
        compute: Compute,
        input: SegmentInput,
        run: impl FnOnce(&Trace, Traced) -> Traced,
    ) -> Self {
        let trace = Trace::new(compute, true);
        let hidden = trace.activation(input.elements, input.is_tracked);
        let waits = || trace.hold(hidden.elements(), hidden.size());
        let waiting = input.gradient_waits.then(waits);
        let input_bytes = hidden.bytes();
        let output = run(&trace, hidden);
        let root = output.root();
        let held = trace.live().activations;
        let (elements, size) = (output.elements(), output.size());
        drop(output);
        let waits = waiting.as_ref().map_or(0, Traced::bytes);
        let kept = trace.live().activations.saturating_sub(waits);
        let output = held.saturating_sub(waits + kept);
        let Some(root) = root else {
            return Self {
                output,
                highest: trace.peak(),
                largest: trace.largest(),
                ..Self::default()
            };
        };
        let gradient = trace.hold(elements, size);
        let gradients = trace.backward(root, gradient);
        let of_input = if input.is_tracked { input_bytes } else { 0 };
        let left = trace.live().activations.saturating_sub(waits + of_input);
        drop(gradients);
        Self {
            kept,
            output,
            highest: trace.peak(),
            left,
            largest: trace.largest(),
        }
    }
}

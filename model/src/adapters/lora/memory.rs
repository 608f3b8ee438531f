//! What a LoRA adapter does in a pass whose memory is counted: `layer.rs`, call by call.

use crate::adapters::traced::TracedCall;
use crate::layers::memory::{HeadTerm, TracedLora, dropout, linear, lora};
use crate::memory::{Trace, Traced, mul_scalar, to_type};

/// What tells an adapter's passes from another's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// Rank of the factors.
    pub rank: usize,
    /// Whether training drops elements of the input.
    pub drops: bool,
}

/// The factors of a layer.
struct Factors {
    a: Traced,
    b: Traced,
}

impl Factors {
    fn of(form: Form, trace: &Trace, [input, output]: [usize; 2]) -> Self {
        let parameter = |width: usize| trace.parameter((form.rank * width) as u64, true);
        Self {
            a: parameter(input),
            b: parameter(output),
        }
    }
}

/// As the adapter's `forward`.
pub(super) fn forward(form: Form, trace: &Trace, call: TracedCall<'_>) -> Traced {
    let factors = Factors::of(form, trace, call.dims);
    let layer = TracedLora {
        rows: call.rows,
        x: call.input,
        weight: call.weight,
        bias: call.bias,
        factors: [factors.a, factors.b],
        drops: form.drops,
    };
    lora(trace, layer)
}

/// As the adapter's `head_operands`.
pub(super) fn head_operands(
    form: Form,
    trace: &Trace,
    call: TracedCall<'_>,
) -> (HeadTerm, Option<HeadTerm>) {
    let factors = Factors::of(form, trace, call.dims);
    let low = low(form, trace, call.rows, call.input.clone(), factors.a);
    let adapter = HeadTerm {
        x: mul_scalar(trace, low),
        weight: to_type(trace, factors.b),
    };
    (call.head().0, Some(adapter))
}

fn low(form: Form, trace: &Trace, rows: u64, x: Traced, a: Traced) -> Traced {
    let x = match form.drops {
        true => dropout(trace, x),
        false => x,
    };
    linear(trace, rows, x, a, None)
}

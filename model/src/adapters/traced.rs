//! A linear layer and its input where only memory is counted, beside `linear_call.rs`.

use crate::layers::memory::{HeadTerm, linear};
use crate::memory::{Trace, Traced};

/// A linear layer and its input, as its adapter sees them.
#[derive(Debug, Clone)]
pub struct TracedCall<'a> {
    /// The layer's path, or the end of it.
    pub path: &'a str,
    /// Widths of the input and of the output.
    pub dims: [usize; 2],
    /// Rows of the input.
    pub rows: u64,
    /// The input.
    pub input: Traced,
    /// The layer's weight.
    pub weight: Traced,
    /// Its bias.
    pub bias: Option<Traced>,
}

impl TracedCall<'_> {
    /// The layer without its adapter.
    pub fn output(self, trace: &Trace) -> Traced {
        linear(trace, self.rows, self.input, self.weight, self.bias)
    }

    /// The layer as an output layer without its adapter.
    pub fn head(self) -> (HeadTerm, Option<HeadTerm>) {
        let term = HeadTerm {
            x: self.input,
            weight: self.weight,
        };
        (term, None)
    }
}

//! What output layer and loss hold: the logits of a chunk of rows at a time, and the gradients, which are computed
//! on the way forward and are all that is kept.

use super::head_rows;
use crate::layers::ops::linear::memory::Product;
use crate::memory::{Compute, Gradient, Kept, Operation, Stage, Trace, Traced, cast_work};

/// A product that adds to the logits: `[rows, width]` and `[vocabulary, width]`.
#[derive(Debug, Clone)]
pub struct HeadTerm {
    /// The hidden states, or what an adapter makes of them.
    pub x: Traced,
    /// The output layer's weight, or an adapter's.
    pub weight: Traced,
}

/// A call of [`glm_head_loss`](super::HeadLossOps::glm_head_loss) over some rows: the loss, one element of float32.
pub fn head_loss(trace: &Trace, rows: u64, base: HeadTerm, adapter: Option<HeadTerm>) -> Traced {
    let compute = trace.compute();
    let chunks = Chunks::of(rows, &base);
    let work = chunks.work(compute, &base, adapter.as_ref());
    let adapter = adapter.map(|term| [term.x, term.weight]);
    let inputs: Vec<Traced> = [base.x, base.weight]
        .into_iter()
        .chain(adapter.into_iter().flatten())
        .collect();
    let (mut own, mut backward) = (Vec::new(), Vec::new());
    for (place, input) in inputs
        .iter()
        .enumerate()
        .filter(|(_, input)| input.is_tracked())
    {
        backward.push(Stage {
            gradients: vec![(place, Gradient::Kept(own.len()))],
            // Multiplied by that of the loss in float32.
            work: match compute.widens() {
                true => cast_work(compute, input.elements(), 4),
                false => 0,
            },
            ..Stage::default()
        });
        own.push(compute.bytes(input.elements()));
    }
    let operation = Operation {
        output: 4,
        work,
        kept: Kept {
            own,
            ..Kept::default()
        },
        backward,
        ..Operation::default()
    };
    trace.call(inputs, (1, 4), operation)
}

/// The rows whose logits exist at once.
struct Chunks {
    rows: u64,
    chunk: u64,
    vocabulary: u64,
}

impl Chunks {
    fn of(rows: u64, base: &HeadTerm) -> Self {
        let width = base.x.elements() / rows.max(1);
        let vocabulary = base.weight.elements() / width.max(1);
        Self {
            rows,
            chunk: rows.min(head_rows(vocabulary as usize) as u64),
            vocabulary,
        }
    }

    /// The most that is held: the gradients so far, and what becomes of a chunk's logits.
    fn work(&self, compute: &Compute, base: &HeadTerm, adapter: Option<&HeadTerm>) -> u64 {
        let logits = compute.bytes(self.chunk * self.vocabulary);
        // Logits become their gradient in place; a row of 16-bit ones is widened meanwhile.
        let loss = logits + compute.scratch(self.chunk, compute.widened(self.vocabulary));
        let first = self.product(base).forward_work(compute);
        let second = adapter.map_or(0, |term| logits + self.product(term).forward_work(compute));
        let terms = || [base].into_iter().chain(adapter);
        let back = terms().map(|term| logits + self.gradients_work(compute, term));
        let highest = back.fold(first.max(second).max(loss), u64::max);
        let copies = terms()
            .map(|term| self.copied_rows(compute, term))
            .sum::<u64>();
        let (sums, last) = terms().fold((0, 0), |(sums, last), term| {
            let (own_sums, own_last) = self.gradients(compute, term);
            (sums + own_sums, last + own_last)
        });
        sums + (highest + copies).max(last)
    }

    fn product(&self, term: &HeadTerm) -> Product {
        Product {
            rows: self.chunk,
            input: term.x.elements() / self.rows.max(1),
            output: self.vocabulary,
        }
    }

    /// A term's gradients: what is summed up over all chunks, and what that becomes in the end.
    fn gradients(&self, compute: &Compute, term: &HeadTerm) -> (u64, u64) {
        let (mut sums, mut last) = (0, 0);
        if term.x.is_tracked() {
            sums += compute.bytes(term.x.elements());
            if self.chunk < self.rows {
                last += compute.bytes(term.x.elements());
            }
        }
        if term.weight.is_tracked() {
            sums += compute.float32(term.weight.elements());
            last += match compute.widens() {
                true => compute.bytes(term.weight.elements()),
                false => 0,
            };
        }
        (sums, last)
    }

    /// What the gradients of a chunk hold while they are computed from that of its logits.
    fn gradients_work(&self, compute: &Compute, term: &HeadTerm) -> u64 {
        let product = self.product(term);
        let of_x = match term.x.is_tracked() {
            true => product.input_work(compute),
            false => 0,
        };
        let of_weight = match term.weight.is_tracked() {
            true => product.sum_work(compute),
            false => 0,
        };
        of_x.max(of_weight)
    }

    /// Rows of a chunk are a copy, if they are not all rows.
    fn copied_rows(&self, compute: &Compute, term: &HeadTerm) -> u64 {
        match self.chunk < self.rows {
            true => compute.bytes(self.product(term).input * self.chunk),
            false => 0,
        }
    }
}

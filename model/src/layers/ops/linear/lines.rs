//! The product of some rows with a weight whose lines are read as they lie.
//!
//! A matrix product packs its factors first, which pays for many rows only; at widths of a power of two the lines that it
//! packs together fall on the same places of the cache besides. Here the rows are turned instead, and a line's
//! elements meet all of them.

use std::ops::Range;

use burn_flex::FlexTensor;

use super::panel::{LINES, OUTPUTS, ROWS};
use super::sizes::Sizes;
use crate::layers::ops::flex::simd::simd;
use crate::layers::ops::flex::values::{Halves, Shared};

/// The weight's elements.
#[derive(Clone, Copy)]
pub(super) enum Weight<'a> {
    /// As they are.
    Floats(&'a [f32]),
    /// Widened some lines at a time.
    Halves(Halves<'a>),
}

impl<'a> Weight<'a> {
    /// Those of a contiguous tensor.
    pub fn of(weight: &'a FlexTensor) -> Self {
        match Halves::of(weight) {
            Some(halves) => Self::Halves(halves),
            None => Self::Floats(weight.storage()),
        }
    }
}

/// `out = x · weightᵀ`.
pub(super) fn product(x: &[f32], weight: Weight<'_>, sizes: Sizes, out: &mut [f32]) {
    let turned = turned(x, sizes);
    let shared = Shared::new(out);
    let task = |index: usize| {
        let outputs = index * OUTPUTS..sizes.output.min((index + 1) * OUTPUTS);
        some_outputs(&turned, weight, sizes, outputs, |row, column, value| {
            // SAFETY: within `out`, and no other task has this column.
            unsafe { *shared.at(row * sizes.output + column) = value };
        });
    };
    sizes.for_each(sizes.output.div_ceil(OUTPUTS), task);
}

/// For each [`ROWS`] rows: their first elements, their second ones, and so on; zeros in the place of missing rows.
fn turned(x: &[f32], sizes: Sizes) -> Vec<f32> {
    let Sizes { rows, input, .. } = sizes;
    let mut turned = vec![0.0; rows.div_ceil(ROWS) * ROWS * input];
    let blocks = turned.chunks_exact_mut((ROWS * input).max(1));
    for (block, rows) in blocks.zip(x.chunks((ROWS * input).max(1))) {
        for (index, row) in rows.chunks_exact(input).enumerate() {
            for (at, value) in row.iter().enumerate() {
                block[at * ROWS + index] = *value;
            }
        }
    }
    turned
}

fn some_outputs(
    turned: &[f32],
    weight: Weight<'_>,
    sizes: Sizes,
    outputs: Range<usize>,
    mut put: impl FnMut(usize, usize, f32),
) {
    let Sizes { rows, input, .. } = sizes;
    let mut widened = match weight {
        Weight::Floats(_) => Vec::new(),
        Weight::Halves(_) => vec![0.0; LINES * input],
    };
    for from in outputs.clone().step_by(LINES) {
        let count = LINES.min(outputs.end - from);
        let lines: &[f32] = match weight {
            Weight::Floats(values) => &values[from * input..(from + count) * input],
            Weight::Halves(halves) => {
                halves.widen_into(from * input, &mut widened[..count * input]);
                &widened[..count * input]
            }
        };
        // Missing lines repeat the last one; their sums are not looked at.
        let lines = std::array::from_fn(|line| {
            let line = line.min(count - 1);
            &lines[line * input..(line + 1) * input]
        });
        for (block, turned) in turned.chunks_exact((ROWS * input).max(1)).enumerate() {
            let sums = sums(turned, lines);
            let first = block * ROWS;
            for (line, sums) in sums.iter().enumerate().take(count) {
                for (row, sum) in sums.iter().enumerate().take(rows - first) {
                    put(first + row, from + line, *sum);
                }
            }
        }
    }
}

simd! {
fn sums(turned: &[f32], lines: [&[f32]; LINES]) -> [[f32; ROWS]; LINES] {
    let depth = turned.len() / ROWS;
    // By name, so that every line's sums stay in registers.
    let [a, b, c, d, e, f, g, h] = lines.map(|line| &line[..depth]);
    let mut sums = [[0.0f32; ROWS]; LINES];
    for (at, x) in turned.chunks_exact(ROWS).enumerate() {
        let x = &x[..ROWS];
        // Before the loop: it would look after their bounds for every row.
        let (a, b, c, d) = (a[at], b[at], c[at], d[at]);
        let (e, f, g, h) = (e[at], f[at], g[at], h[at]);
        for row in 0..ROWS {
            sums[0][row] = a.mul_add(x[row], sums[0][row]);
            sums[1][row] = b.mul_add(x[row], sums[1][row]);
            sums[2][row] = c.mul_add(x[row], sums[2][row]);
            sums[3][row] = d.mul_add(x[row], sums[3][row]);
            sums[4][row] = e.mul_add(x[row], sums[4][row]);
            sums[5][row] = f.mul_add(x[row], sums[5][row]);
            sums[6][row] = g.mul_add(x[row], sums[6][row]);
            sums[7][row] = h.mul_add(x[row], sums[7][row]);
        }
    }
    sums
}
}

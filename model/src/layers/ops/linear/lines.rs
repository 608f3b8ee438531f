//! The product of some rows with a weight whose lines are read as they lie.
//!
//! A matrix product packs its factors first, which pays for many rows only; at widths of a power of two the lines that it
//! packs together fall on the same places of the cache besides. Here a few rows meet a few lines at a time, and
//! the sums of their scalar products stay in registers. Rows so few that reading the weight is what takes the time
//! (generation) meet 16-bit lines as they are stored.

use std::ops::Range;

use burn_flex::FlexTensor;

use super::panel::{DIRECT_ROWS, LINES, OUTPUTS};
use super::sizes::Sizes;
use crate::layers::ops::flex::products::{Matrix, products};
use crate::layers::ops::flex::values::{Halves, Shared};

/// The weight's elements.
#[derive(Clone, Copy)]
pub(super) enum Weight<'a> {
    /// As they are.
    Floats(&'a [f32]),
    /// Widened on the way, or some lines at a time.
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

/// `x · weightᵀ`.
pub(super) fn product(x: &[f32], weight: Weight<'_>, sizes: Sizes) -> Vec<f32> {
    let rows = Matrix::new(x, [sizes.rows, sizes.input], sizes.input);
    let elements = sizes.rows * sizes.output;
    let mut out = Vec::with_capacity(elements);
    let shared = Shared::room(&mut out);
    let task = |index: usize| {
        let outputs = index * OUTPUTS..sizes.output.min((index + 1) * OUTPUTS);
        some_outputs(rows, weight, sizes, outputs, |row, column, value| {
            // SAFETY: there is room for it, and no other task has this column.
            unsafe { *shared.at(row * sizes.output + column) = value };
        });
    };
    sizes.for_each(sizes.output.div_ceil(OUTPUTS), task);
    // SAFETY: the tasks have written the products of all rows and lines.
    unsafe { out.set_len(elements) };
    out
}

fn some_outputs(
    rows: Matrix<'_, f32>,
    weight: Weight<'_>,
    sizes: Sizes,
    outputs: Range<usize>,
    mut put: impl FnMut(usize, usize, f32),
) {
    let (from, input) = (outputs.start, sizes.input);
    let range = from * input..outputs.end * input;
    let dims = [outputs.len(), input];
    let put_from = |row, line, sum| put(row, from + line, sum);
    match weight {
        Weight::Floats(values) => {
            products(rows, Matrix::new(&values[range], dims, input), put_from);
        }
        Weight::Halves(halves) if sizes.rows > DIRECT_ROWS => {
            let mut widened = vec![0.0; LINES * input];
            for from in outputs.clone().step_by(LINES) {
                let count = LINES.min(outputs.end - from);
                let lines = &mut widened[..count * input];
                halves.widen_into(from * input, lines);
                let lines = Matrix::new(lines, [count, input], input);
                products(rows, lines, |row, line, sum| put(row, from + line, sum));
            }
        }
        Weight::Halves(Halves::F16(values)) => {
            products(rows, Matrix::new(&values[range], dims, input), put_from);
        }
        Weight::Halves(Halves::BF16(values)) => {
            products(rows, Matrix::new(&values[range], dims, input), put_from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_numbers_of_rows_and_outputs_are_products() {
        for (rows, input, output) in [(1, 1, 1), (3, 7, 5), (6, 83, 131), (9, 16, 4), (2, 0, 3)] {
            let number = |i: usize| ((i * 7919) % 23) as f32 - 11.0;
            let x: Vec<f32> = (0..rows * input).map(number).collect();
            let weight: Vec<f32> = (0..output * input).map(|i| number(i + 5)).collect();
            let halves: Vec<half::f16> = weight.iter().map(|&w| half::f16::from_f32(w)).collect();
            let sizes = Sizes {
                rows,
                input,
                output,
            };
            for weight_of_type in [
                Weight::Floats(&weight),
                Weight::Halves(Halves::F16(&halves)),
            ] {
                let out = product(&x, weight_of_type, sizes);
                assert_eq!(out.len(), rows * output);
                for (index, found) in out.into_iter().enumerate() {
                    let (row, column) = (index / output, index % output);
                    let x = &x[row * input..][..input];
                    let line = &weight[column * input..][..input];
                    // Whole numbers: no order of additions rounds.
                    let expected: f32 = x.iter().zip(line).map(|(x, w)| x * w).sum();
                    assert_eq!(found, expected, "{rows} rows, {input} to {output}");
                }
            }
        }
    }
}

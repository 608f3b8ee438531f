//! The product of some rows with a weight whose lines are read as they lie.
//!
//! A matrix product packs its factors first, which pays for many rows only; at widths of a power of two the lines that it
//! packs together fall on the same places of the cache besides. Here a few rows meet a few lines at a time, and
//! the sums of their scalar products stay in registers.

use std::ops::Range;

use burn_flex::FlexTensor;

use super::panel::{LINES, OUTPUTS};
use super::sizes::Sizes;
use super::tile::Tile;
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
    let tile = Tile::of_this_cpu();
    let shared = Shared::new(out);
    let task = |index: usize| {
        let outputs = index * OUTPUTS..sizes.output.min((index + 1) * OUTPUTS);
        some_outputs(x, weight, sizes, outputs, tile, |row, column, value| {
            // SAFETY: within `out`, and no other task has this column.
            unsafe { *shared.at(row * sizes.output + column) = value };
        });
    };
    sizes.for_each(sizes.output.div_ceil(OUTPUTS), task);
}

fn some_outputs(
    x: &[f32],
    weight: Weight<'_>,
    sizes: Sizes,
    outputs: Range<usize>,
    tile: Tile,
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
        // Missing lines and rows repeat the last one; their sums are not looked at.
        let lines = std::array::from_fn(|line| {
            let line = line.min(count - 1);
            &lines[line * input..(line + 1) * input]
        });
        tile.products(x, rows, lines, |row, sums| {
            for (line, sum) in sums.into_iter().enumerate().take(count) {
                put(row, from + line, sum);
            }
        });
    }
}

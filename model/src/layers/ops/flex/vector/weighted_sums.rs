//! Sums of lines, each times its weight.

use super::products::Lines;
use super::registers::{Registers, in_registers};
use super::{Number, Vector};

/// Registers of a line that are summed at a time, as long as there are so many.
const BESIDE: usize = 4;

/// What [`weighted_sums`] is told.
#[derive(Clone, Copy)]
struct Weighted<N> {
    weights: Lines<f32>,
    lines: Lines<N>,
    count: usize,
    sums: *mut f32,
    stride: usize,
}

/// The sums of some registers of all lines, `from` numbers behind their beginnings.
#[inline(always)]
unsafe fn registers_summed<V: Vector, N: Number, const ROWS: usize, const WIDTH: usize>(
    sum: Weighted<N>,
    from: usize,
) {
    // SAFETY: see `weighted_sums_in`.
    unsafe {
        let mut held = [[V::all(0.0); WIDTH]; ROWS];
        for index in 0..sum.count {
            let line = sum.lines.line(index).add(from);
            let mut numbers = [V::all(0.0); WIDTH];
            for part in 0..WIDTH {
                numbers[part] = N::load::<V>(line.add(part * V::LANES));
            }
            for row in 0..ROWS {
                let weight = V::all(*sum.weights.line(row).add(index));
                for part in 0..WIDTH {
                    held[row][part] = weight.times_plus(numbers[part], held[row][part]);
                }
            }
        }
        for row in 0..ROWS {
            for part in 0..WIDTH {
                let to = sum.sums.add(row * sum.stride + from + part * V::LANES);
                held[row][part].store(to);
            }
        }
    }
}

#[inline(always)]
unsafe fn weighted_sums_in<V: Vector, N: Number, const ROWS: usize>(
    weights: Lines<f32>,
    lines: Lines<N>,
    [count, width]: [usize; 2],
    sums: *mut f32,
    stride: usize,
) {
    let sum = Weighted {
        weights,
        lines,
        count,
        sums,
        stride,
    };
    let mut from = 0;
    // SAFETY: the caller promises `count` weights in each row, as many lines of `width` numbers, and room.
    unsafe {
        while from + BESIDE * V::LANES <= width {
            registers_summed::<V, N, ROWS, BESIDE>(sum, from);
            from += BESIDE * V::LANES;
        }
        while from + V::LANES <= width {
            registers_summed::<V, N, ROWS, 1>(sum, from);
            from += V::LANES;
        }
        for row in 0..ROWS {
            for at in from..width {
                let mut total = 0.0;
                for index in 0..count {
                    let number = (*lines.line(index).add(at)).value();
                    total += *weights.line(row).add(index) * number;
                }
                *sums.add(row * stride + at) = total;
            }
        }
    }
}

in_registers! {
    /// For each row of weights, the sum of the lines, each times its weight; one sum begins `stride` numbers after the
    /// other.
    ///
    /// # Safety
    /// There must be `count` weights in each of the rows, `count` lines of `width` numbers, room for as many in each
    /// sum, and the processor must have the registers.
    fn weighted_sums<N, const ROWS: usize>(
        weights: Lines<f32>,
        lines: Lines<N>,
        sizes: [usize; 2],
        sums: *mut f32,
        stride: usize,
    ) = weighted_sums_in
}

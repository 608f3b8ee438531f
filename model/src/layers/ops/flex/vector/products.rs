//! Scalar products of rows and lines.

use super::registers::{Registers, in_registers};
use super::{Number, Vector};

/// Lines of numbers, of which one begins `stride` numbers after the other.
#[derive(Debug, Clone, Copy)]
pub(in crate::layers::ops) struct Lines<N> {
    pub first: *const N,
    pub stride: usize,
}

impl<N> Lines<N> {
    /// # Safety
    /// The line must be there.
    #[inline(always)]
    pub(super) unsafe fn line(&self, index: usize) -> *const N {
        // SAFETY: the caller's promise.
        unsafe { self.first.add(index * self.stride) }
    }
}

#[inline(always)]
unsafe fn products_in<V: Vector, N: Number, const ROWS: usize, const LINES: usize>(
    rows: Lines<f32>,
    lines: Lines<N>,
    depth: usize,
) -> [[f32; LINES]; ROWS] {
    // SAFETY: the caller promises so many rows and lines of `depth` numbers.
    unsafe {
        let rows: [*const f32; ROWS] = std::array::from_fn(|row| rows.line(row));
        let lines: [*const N; LINES] = std::array::from_fn(|line| lines.line(line));
        let mut sums = [[V::all(0.0); LINES]; ROWS];
        let whole = depth / V::LANES * V::LANES;
        let mut at = 0;
        while at < whole {
            let mut numbers = [V::all(0.0); LINES];
            for line in 0..LINES {
                numbers[line] = N::load::<V>(lines[line].add(at));
            }
            for row in 0..ROWS {
                let x = V::of_f32(rows[row].add(at));
                for line in 0..LINES {
                    sums[row][line] = x.times_plus(numbers[line], sums[row][line]);
                }
            }
            at += V::LANES;
        }
        let mut totals = [[0.0; LINES]; ROWS];
        for row in 0..ROWS {
            for line in 0..LINES {
                let mut total = sums[row][line].sum();
                for at in whole..depth {
                    total += *rows[row].add(at) * (*lines[line].add(at)).value();
                }
                totals[row][line] = total;
            }
        }
        totals
    }
}

in_registers! {
    /// The scalar products of some rows and some lines, which are read side by side.
    ///
    /// # Safety
    /// All rows and lines must have `depth` numbers, and the processor the registers.
    fn products<N, const ROWS: usize, const LINES: usize>(
        rows: Lines<f32>,
        lines: Lines<N>,
        depth: usize,
    ) -> [[f32; LINES]; ROWS] = products_in
}

/// Sums of a row and a line that do not wait for each other.
const SUMS: usize = 4;

#[inline(always)]
unsafe fn line_products_in<V: Vector, N: Number, const ROWS: usize>(
    rows: Lines<f32>,
    line: *const N,
    depth: usize,
) -> [f32; ROWS] {
    // SAFETY: the caller promises so many rows and a line of `depth` numbers.
    unsafe {
        let rows: [*const f32; ROWS] = std::array::from_fn(|row| rows.line(row));
        let mut sums = [[V::all(0.0); SUMS]; ROWS];
        let step = V::LANES * SUMS;
        let whole = depth / step * step;
        let mut at = 0;
        while at < whole {
            for part in 0..SUMS {
                let from = at + part * V::LANES;
                let numbers = N::load::<V>(line.add(from));
                for row in 0..ROWS {
                    let x = V::of_f32(rows[row].add(from));
                    sums[row][part] = x.times_plus(numbers, sums[row][part]);
                }
            }
            at += step;
        }
        while at + V::LANES <= depth {
            let numbers = N::load::<V>(line.add(at));
            for row in 0..ROWS {
                let x = V::of_f32(rows[row].add(at));
                sums[row][0] = x.times_plus(numbers, sums[row][0]);
            }
            at += V::LANES;
        }
        let mut totals = [0.0; ROWS];
        for row in 0..ROWS {
            let [a, b, c, d] = sums[row];
            let one = V::all(1.0);
            let mut total = one
                .times_plus(one.times_plus(a, b), one.times_plus(c, d))
                .sum();
            for at in at..depth {
                total += *rows[row].add(at) * (*line.add(at)).value();
            }
            totals[row] = total;
        }
        totals
    }
}

in_registers! {
    /// The scalar products of some rows and one line, of which the processor sees by itself that it is read from its
    /// beginning to its end.
    ///
    /// # Safety
    /// All rows and the line must have `depth` numbers, and the processor the registers.
    fn line_products<N, const ROWS: usize>(
        rows: Lines<f32>,
        line: *const N,
        depth: usize,
    ) -> [f32; ROWS] = line_products_in
}

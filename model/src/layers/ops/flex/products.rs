//! Products of a few rows with lines of numbers in any of the types that tensors store, each of which is read once, as
//! it lies.

use std::mem::MaybeUninit;

pub(in crate::layers::ops) use super::vector::Number;
use super::vector::{self, Lines, Registers};

/// Lines that meet some rows at once.
const LINES: usize = 4;
/// Up to this many rows, reading the lines is what takes the time: they are read one after the other, which memory
/// gives half as fast again as four side by side.
const FEW_ROWS: usize = 8;

/// Lines of adjacent numbers, of which one begins a stride after the other.
#[derive(Debug, Clone, Copy)]
pub(in crate::layers::ops) struct Matrix<'a, N> {
    numbers: &'a [N],
    count: usize,
    width: usize,
    stride: usize,
}

impl<'a, N: Number> Matrix<'a, N> {
    /// `count` lines of `width` numbers.
    ///
    /// # Panics
    /// If the numbers end before the lines do.
    pub fn new(numbers: &'a [N], [count, width]: [usize; 2], stride: usize) -> Self {
        let end = count.checked_sub(1).map_or(0, |last| last * stride + width);
        assert!(end <= numbers.len(), "{end} numbers of {}", numbers.len());
        Self {
            numbers,
            count,
            width,
            stride,
        }
    }

    /// Some of the lines, from one on.
    fn from(&self, line: usize) -> Lines<N> {
        Lines {
            first: self.numbers[line * self.stride..].as_ptr(),
            stride: self.stride,
        }
    }

    /// The same line again and again.
    fn only(&self, line: usize) -> Lines<N> {
        Lines {
            stride: 0,
            ..self.from(line)
        }
    }
}

/// Takes rows by fours, twos and ones, as the registers hold them.
macro_rules! by_rows {
    ($count:expr, $registers:expr, $from:ident, $rows:ident => $call:expr) => {
        let mut $from = 0;
        while $from < $count {
            let left = $count - $from;
            $from += if left >= 4 && $registers.rows() >= 4 {
                const $rows: usize = 4;
                $call;
                $rows
            } else if left >= 2 {
                const $rows: usize = 2;
                $call;
                $rows
            } else {
                const $rows: usize = 1;
                $call;
                $rows
            };
        }
    };
}

/// The scalar products of all rows and lines; `put` takes the number of a row, of a line, and their product.
pub(in crate::layers::ops) fn products<N: Number>(
    rows: Matrix<'_, f32>,
    lines: Matrix<'_, N>,
    mut put: impl FnMut(usize, usize, f32),
) {
    assert!(rows.width == lines.width);
    let registers = Registers::of_this_cpu();
    if rows.count <= FEW_ROWS {
        for line in 0..lines.count {
            meet_one(registers, rows, lines.from(line).first, |row, sum| {
                put(row, line, sum)
            });
        }
        return;
    }
    for line in (0..lines.count).step_by(LINES) {
        let is_whole = line + LINES <= lines.count;
        if is_whole {
            meet(registers, rows, lines.from(line), |row, sums| {
                for (index, sum) in sums.into_iter().enumerate() {
                    put(row, line + index, sum);
                }
            });
            continue;
        }
        for line in line..lines.count {
            // The same line in place of the missing ones.
            meet(registers, rows, lines.only(line), |row, sums| {
                put(row, line, sums[0])
            });
        }
    }
}

/// The products of all rows with a line as long as they, which must be there.
#[inline(always)]
fn meet_one<N: Number>(
    registers: Registers,
    rows: Matrix<'_, f32>,
    line: *const N,
    mut put: impl FnMut(usize, f32),
) {
    by_rows!(rows.count, registers, from, ROWS => {
        // SAFETY: as in `meet`.
        let sums = unsafe {
            vector::line_products::<N, ROWS>(registers, rows.from(from), line, rows.width)
        };
        for (row, sum) in (from..).zip(sums) {
            put(row, sum);
        }
    });
}

/// The products of all rows with some lines as long as they, which must be there.
#[inline(always)]
fn meet<N: Number>(
    registers: Registers,
    rows: Matrix<'_, f32>,
    lines: Lines<N>,
    mut put: impl FnMut(usize, [f32; LINES]),
) {
    by_rows!(rows.count, registers, from, ROWS => {
        // SAFETY: `ROWS` rows follow, each of the matrix's width, as the lines are; the registers are this
        // processor's.
        let sums = unsafe {
            vector::products::<N, ROWS, LINES>(registers, rows.from(from), lines, rows.width)
        };
        for (row, sums) in (from..).zip(sums) {
            put(row, sums);
        }
    });
}

/// `sums[row] = Σ weights[row][line] · lines[line]`, where the sums lie one after the other.
///
/// # Panics
/// If the weights are not as many as the lines, or the sums not as long.
pub(in crate::layers::ops) fn weighted_sums<N: Number>(
    weights: Matrix<'_, f32>,
    lines: Matrix<'_, N>,
    sums: &mut [f32],
) {
    assert!(weights.width == lines.count && sums.len() == weights.count * lines.width);
    if sums.is_empty() {
        return;
    }
    let registers = Registers::of_this_cpu();
    let sizes = [lines.count, lines.width];
    by_rows!(weights.count, registers, from, ROWS => {
        let to = sums[from * lines.width..][..ROWS * lines.width].as_mut_ptr();
        // SAFETY: `ROWS` rows of a weight for each line follow, and room for as many sums; the registers are this
        // processor's.
        unsafe {
            vector::weighted_sums::<N, ROWS>(
                registers,
                weights.from(from),
                lines.from(0),
                sizes,
                to,
                lines.width,
            );
        }
    });
}

/// Writes numbers as float32.
///
/// # Panics
/// If there is not room for exactly as many.
pub(in crate::layers::ops) fn widen<N: Number>(numbers: &[N], out: &mut [f32]) {
    assert!(numbers.len() == out.len());
    let registers = Registers::of_this_cpu();
    // SAFETY: both slices are as long; the registers are this processor's.
    unsafe { vector::widen(registers, numbers.as_ptr(), out.as_mut_ptr(), out.len()) };
}

/// Writes float32 numbers in another type, rounded to the nearest.
///
/// # Panics
/// If there is not room for exactly as many.
pub(in crate::layers::ops) fn narrow<N: Number>(numbers: &[f32], out: &mut [N]) {
    assert!(numbers.len() == out.len());
    let registers = Registers::of_this_cpu();
    // SAFETY: both slices are as long; the registers are this processor's.
    unsafe { vector::narrow(registers, numbers.as_ptr(), out.as_mut_ptr(), out.len()) };
}

/// `out = a + b`, number by number, in float32 and rounded to the nearest.
///
/// # Panics
/// If they are not as many.
pub(in crate::layers::ops) fn sums<N: Number>(a: &[N], b: &[N], out: &mut [MaybeUninit<N>]) {
    assert!(a.len() == out.len() && b.len() == out.len());
    let registers = Registers::of_this_cpu();
    // SAFETY: all slices are as long; the registers are this processor's.
    unsafe {
        let to = out.as_mut_ptr().cast::<N>();
        vector::add(registers, a.as_ptr(), b.as_ptr(), to, out.len());
    }
}

/// `out += a`, as in [`sums`].
///
/// # Panics
/// If they are not as many.
pub(in crate::layers::ops) fn add_to<N: Number>(out: &mut [N], a: &[N]) {
    assert!(a.len() == out.len());
    let registers = Registers::of_this_cpu();
    let to = out.as_mut_ptr();
    // SAFETY: both slices are as long; the registers are this processor's.
    unsafe { vector::add(registers, to, a.as_ptr(), to, out.len()) };
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    fn numbers(count: usize, from: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (((i + from) * 7919) % 23) as f32 - 11.0)
            .collect()
    }

    #[test]
    fn any_count_is_widened() {
        for count in [0, 1, 16, 37] {
            let expected = numbers(count, 1);
            let stored: Vec<bf16> = expected.iter().map(|&n| bf16::from_f32(n)).collect();
            let mut found = vec![0.5; count];
            widen(&stored, &mut found);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn any_numbers_of_rows_and_lines() {
        for (rows, lines, width) in [
            (1, 1, 1),
            (3, 6, 7),
            (7, 9, 83),
            (15, 9, 83),
            (9, 4, 64),
            (2, 3, 0),
            (2, 0, 5),
        ] {
            let (row_stride, line_stride) = (width + 2, width + 1);
            let x = numbers(rows * row_stride, 0);
            let w = numbers(lines * line_stride, 5);
            let stored: Vec<bf16> = w.iter().map(|&number| bf16::from_f32(number)).collect();
            let row = |row: usize| &x[row * row_stride..][..width];
            let line = |line: usize| &w[line * line_stride..][..width];
            let held = Matrix::new(&stored, [lines, width], line_stride);
            let mut seen = 0;
            products(
                Matrix::new(&x, [rows, width], row_stride),
                held,
                |r, l, found| {
                    // Whole numbers: no order of additions rounds.
                    let expected: f32 = row(r).iter().zip(line(l)).map(|(x, w)| x * w).sum();
                    assert_eq!(found, expected);
                    seen += 1;
                },
            );
            assert_eq!(seen, rows * lines);

            let weights = numbers(rows * lines, 3);
            let mut sums = vec![0.5; rows * width];
            weighted_sums(Matrix::new(&weights, [rows, lines], lines), held, &mut sums);
            for (r, sums) in sums.chunks(width.max(1)).enumerate() {
                for (at, &found) in sums.iter().enumerate() {
                    let terms = (0..lines).map(|l| weights[r * lines + l] * line(l)[at]);
                    assert_eq!(
                        found,
                        terms.sum::<f32>(),
                        "{rows} rows, {lines} lines of {width}"
                    );
                }
            }
        }
    }
}

//! The innermost part of a product of some rows: a few rows and a few lines of the weight, whose sums stay in registers.

use super::panel::LINES;
use crate::layers::ops::flex::simd::simd;

/// How many rows meet [`LINES`] lines at once: as many as the registers of a processor hold sums of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tile {
    /// Four rows, with 32 registers of 16 numbers.
    Wide,
    /// Two rows, with 16 registers of 8 numbers.
    Narrow,
}

impl Tile {
    /// The tile of the processor at hand.
    pub fn of_this_cpu() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") {
            return Self::Wide;
        }
        Self::Narrow
    }

    /// The scalar products of each row of `x` with the lines.
    ///
    /// - `x`: `[rows, in]`; `put` takes the number of a row and its products
    pub fn products(
        self,
        x: &[f32],
        rows: usize,
        lines: [&[f32]; LINES],
        put: impl FnMut(usize, [f32; LINES]),
    ) {
        match self {
            Self::Wide => in_groups(x, rows, lines, wide, put),
            Self::Narrow => in_groups(x, rows, lines, narrow, put),
        }
    }
}

/// Takes `ROWS` rows at a time; a missing row repeats the last one.
fn in_groups<const ROWS: usize>(
    x: &[f32],
    rows: usize,
    lines: [&[f32]; LINES],
    tile: impl Fn([&[f32]; ROWS], [&[f32]; LINES]) -> [[f32; LINES]; ROWS],
    mut put: impl FnMut(usize, [f32; LINES]),
) {
    let input = lines[0].len();
    for first in (0..rows).step_by(ROWS) {
        let group = std::array::from_fn(|row| {
            let row = (first + row).min(rows - 1);
            &x[row * input..(row + 1) * input]
        });
        for (row, sums) in (first..rows).zip(tile(group, lines)) {
            put(row, sums);
        }
    }
}

/// The sum of all numbers, by halves: additions that do not wait for each other.
#[inline(always)]
fn total<const N: usize>(mut values: [f32; N]) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            values[i] += values[i + half];
        }
        half /= 2;
    }
    values[0]
}

simd! {
/// Four rows and four lines, 16 numbers of each at a time.
fn wide(rows: [&[f32]; 4], lines: [&[f32]; LINES]) -> [[f32; LINES]; 4] {
    let depth = rows[0].len();
    let whole = depth / 16 * 16;
    // By name, so that all sums stay in registers.
    let r0 = &rows[0][..whole];
    let r1 = &rows[1][..whole];
    let r2 = &rows[2][..whole];
    let r3 = &rows[3][..whole];
    let l0 = &lines[0][..whole];
    let l1 = &lines[1][..whole];
    let l2 = &lines[2][..whole];
    let l3 = &lines[3][..whole];
    let mut s00 = [0.0f32; 16];
    let mut s01 = [0.0f32; 16];
    let mut s02 = [0.0f32; 16];
    let mut s03 = [0.0f32; 16];
    let mut s10 = [0.0f32; 16];
    let mut s11 = [0.0f32; 16];
    let mut s12 = [0.0f32; 16];
    let mut s13 = [0.0f32; 16];
    let mut s20 = [0.0f32; 16];
    let mut s21 = [0.0f32; 16];
    let mut s22 = [0.0f32; 16];
    let mut s23 = [0.0f32; 16];
    let mut s30 = [0.0f32; 16];
    let mut s31 = [0.0f32; 16];
    let mut s32 = [0.0f32; 16];
    let mut s33 = [0.0f32; 16];
    for at in (0..whole).step_by(16) {
        let x0 = &r0[at..at + 16];
        let x1 = &r1[at..at + 16];
        let x2 = &r2[at..at + 16];
        let x3 = &r3[at..at + 16];
        let w0 = &l0[at..at + 16];
        let w1 = &l1[at..at + 16];
        let w2 = &l2[at..at + 16];
        let w3 = &l3[at..at + 16];
        for i in 0..16 {
            s00[i] = x0[i].mul_add(w0[i], s00[i]);
            s01[i] = x0[i].mul_add(w1[i], s01[i]);
            s02[i] = x0[i].mul_add(w2[i], s02[i]);
            s03[i] = x0[i].mul_add(w3[i], s03[i]);
            s10[i] = x1[i].mul_add(w0[i], s10[i]);
            s11[i] = x1[i].mul_add(w1[i], s11[i]);
            s12[i] = x1[i].mul_add(w2[i], s12[i]);
            s13[i] = x1[i].mul_add(w3[i], s13[i]);
            s20[i] = x2[i].mul_add(w0[i], s20[i]);
            s21[i] = x2[i].mul_add(w1[i], s21[i]);
            s22[i] = x2[i].mul_add(w2[i], s22[i]);
            s23[i] = x2[i].mul_add(w3[i], s23[i]);
            s30[i] = x3[i].mul_add(w0[i], s30[i]);
            s31[i] = x3[i].mul_add(w1[i], s31[i]);
            s32[i] = x3[i].mul_add(w2[i], s32[i]);
            s33[i] = x3[i].mul_add(w3[i], s33[i]);
        }
    }
    let mut sums = [[total(s00), total(s01), total(s02), total(s03)], [total(s10), total(s11), total(s12), total(s13)], [total(s20), total(s21), total(s22), total(s23)], [total(s30), total(s31), total(s32), total(s33)]];
    for (row, sums) in rows.iter().zip(&mut sums) {
        for (line, sum) in lines.iter().zip(sums) {
            let rest = row[whole..depth].iter().zip(&line[whole..depth]);
            *sum += rest.map(|(x, w)| x * w).sum::<f32>();
        }
    }
    sums
}
}

simd! {
/// Two rows and four lines, 8 numbers of each at a time.
fn narrow(rows: [&[f32]; 2], lines: [&[f32]; LINES]) -> [[f32; LINES]; 2] {
    let depth = rows[0].len();
    let whole = depth / 8 * 8;
    // By name, so that all sums stay in registers.
    let r0 = &rows[0][..whole];
    let r1 = &rows[1][..whole];
    let l0 = &lines[0][..whole];
    let l1 = &lines[1][..whole];
    let l2 = &lines[2][..whole];
    let l3 = &lines[3][..whole];
    let mut s00 = [0.0f32; 8];
    let mut s01 = [0.0f32; 8];
    let mut s02 = [0.0f32; 8];
    let mut s03 = [0.0f32; 8];
    let mut s10 = [0.0f32; 8];
    let mut s11 = [0.0f32; 8];
    let mut s12 = [0.0f32; 8];
    let mut s13 = [0.0f32; 8];
    for at in (0..whole).step_by(8) {
        let x0 = &r0[at..at + 8];
        let x1 = &r1[at..at + 8];
        let w0 = &l0[at..at + 8];
        let w1 = &l1[at..at + 8];
        let w2 = &l2[at..at + 8];
        let w3 = &l3[at..at + 8];
        for i in 0..8 {
            s00[i] = x0[i].mul_add(w0[i], s00[i]);
            s01[i] = x0[i].mul_add(w1[i], s01[i]);
            s02[i] = x0[i].mul_add(w2[i], s02[i]);
            s03[i] = x0[i].mul_add(w3[i], s03[i]);
            s10[i] = x1[i].mul_add(w0[i], s10[i]);
            s11[i] = x1[i].mul_add(w1[i], s11[i]);
            s12[i] = x1[i].mul_add(w2[i], s12[i]);
            s13[i] = x1[i].mul_add(w3[i], s13[i]);
        }
    }
    let mut sums = [[total(s00), total(s01), total(s02), total(s03)], [total(s10), total(s11), total(s12), total(s13)]];
    for (row, sums) in rows.iter().zip(&mut sums) {
        for (line, sum) in lines.iter().zip(sums) {
            let rest = row[whole..depth].iter().zip(&line[whole..depth]);
            *sum += rest.map(|(x, w)| x * w).sum::<f32>();
        }
    }
    sums
}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_scalar_products() {
        for (rows, input) in [(1, 1), (3, 7), (5, 16), (6, 83), (9, 128)] {
            let number = |i: usize| ((i * 7919) % 23) as f32 - 11.0;
            let x: Vec<f32> = (0..rows * input).map(number).collect();
            let lines: Vec<f32> = (0..LINES * input).map(|i| number(i + 5)).collect();
            let lines: [&[f32]; LINES] =
                std::array::from_fn(|i| &lines[i * input..(i + 1) * input]);
            for tile in [Tile::Wide, Tile::Narrow] {
                let mut seen = 0;
                tile.products(&x, rows, lines, |row, sums| {
                    let x = &x[row * input..(row + 1) * input];
                    let product =
                        |line: &[f32]| x.iter().zip(line).map(|(x, w)| x * w).sum::<f32>();
                    let expected = lines.map(product);
                    // Whole numbers: no order of additions rounds.
                    assert_eq!(sums, expected, "{tile:?}, {rows} rows of {input}");
                    seen += 1;
                });
                assert_eq!(seen, rows);
            }
        }
    }
}

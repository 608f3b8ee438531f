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

/// A function of some rows and four lines, so many numbers of each at a time; by name, so that all sums stay in
/// registers.
macro_rules! tile {
    (
        $(#[$doc:meta])* $name:ident, $lanes:literal,
        $rows:literal: $($row:literal $x:ident [$a:ident $b:ident $c:ident $d:ident]),+
    ) => {
        simd! {
        $(#[$doc])*
        fn $name(rows: [&[f32]; $rows], lines: [&[f32]; LINES]) -> [[f32; LINES]; $rows] {
            let depth = rows[0].len();
            let whole = depth / $lanes * $lanes;
            let (k, l) = (&lines[0][..whole], &lines[1][..whole]);
            let (m, n) = (&lines[2][..whole], &lines[3][..whole]);
            $(
                let $x = &rows[$row][..whole];
                let mut $a = [0.0f32; $lanes];
                let mut $b = [0.0f32; $lanes];
                let mut $c = [0.0f32; $lanes];
                let mut $d = [0.0f32; $lanes];
            )+
            for at in (0..whole).step_by($lanes) {
                let (k, l) = (&k[at..at + $lanes], &l[at..at + $lanes]);
                let (m, n) = (&m[at..at + $lanes], &n[at..at + $lanes]);
                $(let $x = &$x[at..at + $lanes];)+
                for i in 0..$lanes {
                    $(
                        $a[i] = $x[i].mul_add(k[i], $a[i]);
                        $b[i] = $x[i].mul_add(l[i], $b[i]);
                        $c[i] = $x[i].mul_add(m[i], $c[i]);
                        $d[i] = $x[i].mul_add(n[i], $d[i]);
                    )+
                }
            }
            let mut sums = [$([total($a), total($b), total($c), total($d)]),+];
            for (row, sums) in rows.iter().zip(&mut sums) {
                for (line, sum) in lines.iter().zip(sums) {
                    let rest = row[whole..depth].iter().zip(&line[whole..depth]);
                    *sum += rest.map(|(x, w)| x * w).sum::<f32>();
                }
            }
            sums
        }
        }
    };
}

tile!(
    /// Four rows and four lines, 16 numbers of each at a time.
    wide, 16,
    4: 0 x0 [a0 b0 c0 d0], 1 x1 [a1 b1 c1 d1], 2 x2 [a2 b2 c2 d2], 3 x3 [a3 b3 c3 d3]
);

tile!(
    /// Two rows and four lines, 8 numbers of each at a time.
    narrow, 8,
    2: 0 x0 [a0 b0 c0 d0], 1 x1 [a1 b1 c1 d1]
);

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

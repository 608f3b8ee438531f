//! Products of many rows in float32, whatever the type of the factors, where the processor has AVX-512: some columns of
//! one factor are packed, widened on the way, and stay in the cache of a core while all rows of the other meet them;
//! sums stay in registers, and are rounded as they are written.

mod division;
mod instructions;
#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod kernel;
#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod product;
#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod sum;

use division::{COLUMNS, Division};

pub(super) use instructions::is_here;

#[cfg(feature = "flex")]
use super::second::Second;
#[cfg(feature = "flex")]
use crate::layers::ops::flex::products::Number;
#[cfg(feature = "flex")]
use crate::layers::ops::flex::values::Shared;

/// Tasks of a product, and the bytes that each holds beside what its thread keeps for all of them; `size` is that of a
/// number.
pub(super) fn scratch([rows, depth, columns]: [u64; 3], size: u64, threads: usize) -> (u64, u64) {
    let sizes = [rows, depth, columns].map(|size| size as usize);
    let division = Division::of(sizes, threads);
    let width = columns.min(COLUMNS as u64).next_multiple_of(16);
    let sums = match size < 4 && sizes[1] > division.depth {
        true => 4 * width * division.rows as u64,
        false => 0,
    };
    let [across, down] = division.tasks.map(|tasks| tasks as u64);
    (across * down, sums)
}

/// `first · second (+ bias)`, `[rows, columns]`, where `first` is `[rows, depth]`; `None` where [`is_here`] says no.
///
/// # Panics
/// If the factors have other sizes.
#[cfg(feature = "flex")]
pub(super) fn product<N: Number>(
    first: &[N],
    second: Second<'_, N>,
    bias: Option<&[f32]>,
    sizes: [usize; 3],
) -> Option<Vec<N>> {
    #[cfg(target_arch = "x86_64")]
    let found = is_here().then(|| product::product(first, second, bias, sizes));
    #[cfg(not(target_arch = "x86_64"))]
    let found = {
        let _ = (first, second, bias, sizes);
        None
    };
    found
}

/// `sums += firstᵀ · second`, or `=` unless it `adds`, `[rows, columns]`, where `first` is `[depth, rows]` and `second`
/// `[depth, columns]`; `false`, and nothing done, where [`is_here`] says no.
///
/// # Safety
/// There must be room for all sums, which must have been written if it adds to them.
///
/// # Panics
/// If the factors have other sizes.
#[cfg(feature = "flex")]
pub(super) unsafe fn sum<N: Number>(
    sums: Shared,
    adds: bool,
    first: &[N],
    second: &[N],
    sizes: [usize; 3],
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if is_here() {
        // SAFETY: the caller's promise.
        unsafe { sum::sum(sums, adds, first, second, sizes) };
        return true;
    }
    let _ = (sums, adds, first, second, sizes);
    false
}

#[cfg(all(test, feature = "flex", target_arch = "x86_64"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    /// Small enough for all types to hold each sum.
    fn number(i: usize) -> f32 {
        ((i * 7919) % 3) as f32 - 1.0
    }

    fn check<N: Number>(sizes: [usize; 3]) {
        let [rows, depth, columns] = sizes;
        let at = |row: usize, column: usize| number(row * 31 + column * 17);
        let of = |count: usize, value: &dyn Fn(usize) -> f32| -> Vec<N> {
            (0..count).map(|i| N::nearest(value(i))).collect()
        };
        let first = of(rows * depth, &number);
        let plain = of(depth * columns, &|i| at(i / columns, i % columns));
        let turned = of(depth * columns, &|i| at(i % depth, i / depth));
        let bias: Vec<f32> = (0..columns).map(|i| (i % 5) as f32).collect();
        for second in [Second::Plain(&plain), Second::Turned(&turned)] {
            let Some(found) = product(&first, second, Some(&bias), sizes) else {
                return;
            };
            assert_eq!(found.len(), rows * columns);
            for (index, found) in found.into_iter().enumerate() {
                let (row, column) = (index / columns, index % columns);
                let terms = (0..depth).map(|i| number(row * depth + i) * at(i, column));
                let expected = N::nearest(terms.sum::<f32>() + bias[column]).value();
                assert_eq!(found.value(), expected, "{sizes:?}: {row}, {column}");
            }
        }
    }

    #[test]
    fn products_are_those_of_whole_numbers() {
        for sizes in [
            [1, 1, 1],
            [7, 34, 70],
            [13, 128, 64],
            [6, 10, 129],
            [263, 33, 17],
            [11, 1057, 50],
            [3, 0, 5],
        ] {
            check::<f32>(sizes);
            check::<f16>(sizes);
            check::<bf16>(sizes);
        }
    }

    fn check_sum<N: Number>(sizes: [usize; 3]) {
        let [rows, depth, columns] = sizes;
        let of = |count: usize, from: usize| -> Vec<N> {
            (0..count).map(|i| N::nearest(number(i + from))).collect()
        };
        let (first, second) = (of(depth * rows, 0), of(depth * columns, 5));
        let mut sums = vec![0.5; rows * columns];
        for adds in [false, true] {
            let room = Shared::new(&mut sums);
            // SAFETY: there are so many sums.
            if !unsafe { sum(room, adds, &first, &second, sizes) } {
                return;
            }
            for (index, &found) in sums.iter().enumerate() {
                let (row, column) = (index / columns, index % columns);
                let terms = (0..depth)
                    .map(|i| first[i * rows + row].value() * second[i * columns + column].value());
                let expected = terms.sum::<f32>() * if adds { 2.0 } else { 1.0 };
                assert_eq!(found, expected, "{sizes:?}: {row}, {column}");
            }
        }
    }

    #[test]
    fn sums_are_those_of_whole_numbers() {
        for sizes in [
            [1, 1, 1],
            [7, 34, 70],
            [96, 128, 64],
            [130, 1057, 50],
            [33, 515, 200],
            [5, 0, 3],
        ] {
            check_sum::<f32>(sizes);
            check_sum::<f16>(sizes);
            check_sum::<bf16>(sizes);
        }
    }

    #[test]
    fn few_columns_are_shared_out_by_rows() {
        let division = Division::of([1560, 512, 16], 2);
        assert_eq!(division.tasks, [1, 8]);
        assert_eq!(Division::of([1560, 512, 768], 2).tasks, [12, 1]);
        assert_eq!(Division::of([5, 1408, 16], 2).depth, 480);
        let sum = sum::SumDivision::of([16, 1560, 512], 2);
        assert_eq!((sum.rows, sum.panels, sum.tasks), (16, 1, [8, 1]));
        let sum = sum::SumDivision::of([2816, 1560, 512], 2);
        assert_eq!((sum.rows, sum.panels, sum.tasks), (96, 8, [1, 30]));
    }
}

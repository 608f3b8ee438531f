//! Products of bfloat16 numbers by the instruction that multiplies pairs of them (AVX-512 BF16): twice as many
//! multiplications at once as in float32, in which they are summed; no factor is widened, and no result is kept in
//! float32.

#[cfg(feature = "flex")]
use half::bf16;

#[cfg(feature = "flex")]
use super::second::Second;

/// Columns of the result that are computed at once.
pub(super) const COLUMNS: usize = 64;
/// The most numbers that a product may sum over: packed columns of more of them (1 MiB) leave the second-level cache.
const DEPTH: usize = 1 << 13;

/// Whether a product that sums over so many numbers is computed so by the processor at hand.
pub(super) fn suits(depth: usize) -> bool {
    depth > 0 && depth <= DEPTH && depth.is_multiple_of(2) && is_here()
}

#[cfg(target_arch = "x86_64")]
fn is_here() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx512f") && has!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn is_here() -> bool {
    false
}

/// Bytes that a task packs of a factor.
pub(super) fn packed_bytes(depth: u64) -> u64 {
    2 * COLUMNS as u64 * depth
}

/// `first · second (+ bias)`, `[rows, columns]`, where `first` is `[rows, depth]`; `None` where [`suits`] says no.
///
/// # Panics
/// If the factors have other sizes.
#[cfg(feature = "flex")]
pub(super) fn product(
    first: &[bf16],
    second: Second<'_, bf16>,
    bias: Option<&[f32]>,
    sizes: [usize; 3],
) -> Option<Vec<bf16>> {
    #[cfg(target_arch = "x86_64")]
    let found = suits(sizes[1]).then(|| x86::product(first, second, bias, sizes));
    #[cfg(not(target_arch = "x86_64"))]
    let found = {
        let _ = (first, second, bias, sizes);
        None
    };
    found
}

#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod x86 {
    use std::arch::x86_64::*;

    use half::bf16;
    use rayon::prelude::*;

    use super::{COLUMNS, suits};
    use crate::layers::ops::linear::second::Second;

    /// Rows that meet the columns at once, as many as the registers hold sums of.
    const ROWS: usize = 6;

    impl Second<'_, bf16> {
        fn len(&self) -> usize {
            match self {
                Self::Turned(numbers) | Self::Plain(numbers) => numbers.len(),
            }
        }

        /// Pairs of numbers that follow each other in the sums, `[depth / 2, COLUMNS]`, of some columns from one on;
        /// those that are missing are zero.
        fn pack(&self, from: usize, count: usize, [depth, columns]: [usize; 2]) -> Vec<u32> {
            let mut pairs = vec![0; depth / 2 * COLUMNS];
            let pair =
                |low: bf16, high: bf16| u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16;
            match self {
                Self::Turned(numbers) => {
                    for column in 0..count {
                        let line = &numbers[(from + column) * depth..][..depth];
                        for (index, two) in line.chunks_exact(2).enumerate() {
                            pairs[index * COLUMNS + column] = pair(two[0], two[1]);
                        }
                    }
                }
                Self::Plain(numbers) => {
                    for (index, pairs) in pairs.chunks_exact_mut(COLUMNS).enumerate() {
                        let line = |row: usize| &numbers[row * columns + from..][..count];
                        let two = line(2 * index).iter().zip(line(2 * index + 1));
                        for (out, (&low, &high)) in pairs.iter_mut().zip(two) {
                            *out = pair(low, high);
                        }
                    }
                }
            }
            pairs
        }
    }

    /// A place that tasks share, each writing columns that no other touches.
    #[derive(Clone, Copy)]
    struct Place(*mut bf16);

    // SAFETY: a pointer; each task writes columns of its own.
    unsafe impl Send for Place {}
    unsafe impl Sync for Place {}

    impl Place {
        fn pointer(self) -> *mut bf16 {
            self.0
        }
    }

    /// See [`product`](super::product).
    pub fn product(
        first: &[bf16],
        second: Second<'_, bf16>,
        bias: Option<&[f32]>,
        [rows, depth, columns]: [usize; 3],
    ) -> Vec<bf16> {
        assert!(suits(depth));
        assert!(first.len() == rows * depth && second.len() == depth * columns);
        assert!(bias.is_none_or(|bias| bias.len() == columns));
        let mut out = Vec::with_capacity(rows * columns);
        let place = Place(out.as_mut_ptr());
        let panels = (0..columns.div_ceil(COLUMNS)).into_par_iter();
        panels.for_each(|panel| {
            let from = panel * COLUMNS;
            let count = COLUMNS.min(columns - from);
            let packed = second.pack(from, count, [depth, columns]);
            let mut start = [0.0; COLUMNS];
            if let Some(bias) = bias {
                start[..count].copy_from_slice(&bias[from..from + count]);
            }
            for row in (0..rows).step_by(ROWS) {
                let meet = match rows - row {
                    1 => meet::<1>,
                    2 => meet::<2>,
                    3 => meet::<3>,
                    4 => meet::<4>,
                    5 => meet::<5>,
                    _ => meet::<ROWS>,
                };
                // SAFETY: `suits` has asked for the instructions. So many rows follow in `first`, each of `depth`
                // numbers; `packed` has all pairs; there is room for the rows' columns from `from` on, which are
                // this task's.
                unsafe {
                    let to = place.pointer().add(row * columns + from);
                    meet(
                        &first[row * depth..],
                        depth,
                        &packed,
                        &start,
                        to,
                        columns,
                        count,
                    );
                }
            }
        });
        // SAFETY: the tasks have written all columns of all rows.
        unsafe { out.set_len(rows * columns) };
        out
    }

    /// The sums of some rows with the packed columns, of which `count` are written.
    ///
    /// # Safety
    /// The processor must have the instructions; there must be `R` rows of `depth` numbers, and room for the results.
    #[allow(clippy::needless_range_loop)]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn meet<const R: usize>(
        rows: &[bf16],
        depth: usize,
        packed: &[u32],
        start: &[f32; COLUMNS],
        to: *mut bf16,
        stride: usize,
        count: usize,
    ) {
        const PARTS: usize = COLUMNS / 16;
        let (rows, packed) = (rows.as_ptr(), packed.as_ptr());
        // SAFETY: the caller's promises; `start` has as many numbers as the registers of a row.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); PARTS]; R];
            for row in &mut sums {
                for (part, sum) in row.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(start.as_ptr().add(16 * part));
                }
            }
            for pair in 0..depth / 2 {
                let mut second = [_mm512_setzero_si512(); PARTS];
                for part in 0..PARTS {
                    let from = packed.add(pair * COLUMNS + 16 * part);
                    second[part] = _mm512_loadu_si512(from.cast());
                }
                for row in 0..R {
                    let two = rows.add(row * depth + 2 * pair).cast::<i32>();
                    let first = _mm512_set1_epi32(two.read_unaligned());
                    for part in 0..PARTS {
                        let [first, second] = [first, second[part]]
                            .map(|numbers| std::mem::transmute::<__m512i, __m512bh>(numbers));
                        sums[row][part] = _mm512_dpbf16_ps(sums[row][part], first, second);
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                let mut numbers = [bf16::ZERO; COLUMNS];
                for (part, &sum) in sums.iter().enumerate() {
                    let narrow = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(sum));
                    _mm256_storeu_si256(numbers.as_mut_ptr().add(16 * part).cast(), narrow);
                }
                let to = to.add(row * stride);
                std::ptr::copy_nonoverlapping(numbers.as_ptr(), to, count);
            }
        }
    }
}

#[cfg(all(test, feature = "flex", target_arch = "x86_64"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_whole_numbers() {
        for (rows, depth, columns) in [(1, 2, 1), (7, 34, 70), (13, 128, 64), (6, 10, 129)] {
            if !suits(depth) {
                return;
            }
            // Small enough for each sum to be a bfloat16 number.
            let number = |i: usize| ((i * 7919) % 3) as f32 - 1.0;
            let first: Vec<bf16> = (0..rows * depth)
                .map(|i| bf16::from_f32(number(i)))
                .collect();
            let at = |row: usize, column: usize| bf16::from_f32(number(row * 31 + column * 17));
            let plain: Vec<bf16> = (0..depth * columns)
                .map(|i| at(i / columns, i % columns))
                .collect();
            let turned: Vec<bf16> = (0..depth * columns)
                .map(|i| at(i % depth, i / depth))
                .collect();
            let bias: Vec<f32> = (0..columns).map(|i| (i % 5) as f32).collect();
            for second in [Second::Plain(&plain), Second::Turned(&turned)] {
                let sizes = [rows, depth, columns];
                let found = product(&first, second, Some(&bias), sizes).unwrap();
                for (index, found) in found.into_iter().enumerate() {
                    let (row, column) = (index / columns, index % columns);
                    let terms = (0..depth)
                        .map(|i| first[row * depth + i].to_f32() * at(i, column).to_f32());
                    let expected = terms.sum::<f32>() + bias[column];
                    assert_eq!(found.to_f32(), expected, "{rows} · {depth} · {columns}");
                }
            }
        }
        assert!(!suits(3));
    }
}

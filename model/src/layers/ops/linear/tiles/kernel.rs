//! What the products of packed columns are made of, in the registers of AVX-512.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::division::{COLUMNS, DEPTH, ROWS};
use crate::layers::ops::flex::products::Number;

/// Numbers of a register.
pub(super) const LANES: usize = 16;

/// A place that tasks share, each writing numbers that no other touches.
#[derive(Clone, Copy)]
pub(super) struct Place<N>(pub *mut N);

// SAFETY: a pointer; each task writes numbers of its own.
unsafe impl<N> Send for Place<N> {}
unsafe impl<N> Sync for Place<N> {}

impl<N: Copy> Place<N> {
    pub fn pointer(self) -> *mut N {
        self.0
    }
}

thread_local! {
    static ROOM: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Work with room for so many numbers, which the thread keeps: what is allocated anew for each task is often faulted in
/// anew. The work must not ask for room itself.
pub(super) fn with_room<R>(numbers: usize, work: impl FnOnce(*mut f32) -> R) -> R {
    ROOM.with_borrow_mut(|room| {
        room.clear();
        room.reserve(numbers);
        work(room.as_mut_ptr())
    })
}

/// Rows of numbers, of which one begins a stride after the other.
#[derive(Clone, Copy)]
pub(super) struct Lines<N> {
    pub first: N,
    pub stride: usize,
}

/// The sums of up to [`ROWS`] rows with the packed columns, of which `count` are written.
///
/// # Safety
/// The processor must have the instructions; there must be so many rows of `depth` numbers, sums to begin with,
/// and room for the results.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn meet<N: Number, T: Number, const PARTS: usize>(
    rows: usize,
    first: Lines<*const N>,
    depth: usize,
    packed: *const f32,
    begin: Lines<*const f32>,
    end: Lines<*mut T>,
    count: usize,
) {
    let mut widened = [const { MaybeUninit::<f32>::uninit() }; ROWS * DEPTH];
    let room = widened.as_mut_ptr().cast::<f32>();
    // SAFETY: the caller's promises; there is room for `ROWS` rows of no more than `DEPTH` numbers.
    unsafe {
        let lines = match size_of::<N>() == size_of::<f32>() {
            true => Lines {
                first: first.first.cast::<f32>(),
                stride: first.stride,
            },
            false => {
                for row in 0..rows {
                    let from = first.first.add(row * first.stride);
                    widen(from, room.add(row * DEPTH), depth);
                }
                Lines {
                    first: room.cast_const(),
                    stride: DEPTH,
                }
            }
        };
        match rows {
            1 => tile::<T, 1, PARTS>(lines, depth, packed, begin, end, count),
            2 => tile::<T, 2, PARTS>(lines, depth, packed, begin, end, count),
            3 => tile::<T, 3, PARTS>(lines, depth, packed, begin, end, count),
            4 => tile::<T, 4, PARTS>(lines, depth, packed, begin, end, count),
            5 => tile::<T, 5, PARTS>(lines, depth, packed, begin, end, count),
            _ => tile::<T, ROWS, PARTS>(lines, depth, packed, begin, end, count),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn widen<N: Number>(from: *const N, to: *mut f32, count: usize) {
    let whole = count / LANES * LANES;
    // SAFETY: the caller promises so many numbers, and room.
    unsafe {
        for at in (0..whole).step_by(LANES) {
            _mm512_storeu_ps(to.add(at), N::load::<__m512>(from.add(at)));
        }
        for at in whole..count {
            *to.add(at) = (*from.add(at)).value();
        }
    }
}

/// See [`meet`], for `R` rows in float32.
///
/// # Safety
/// As there.
#[allow(clippy::needless_range_loop)]
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn tile<T: Number, const R: usize, const PARTS: usize>(
    rows: Lines<*const f32>,
    depth: usize,
    packed: *const f32,
    begin: Lines<*const f32>,
    end: Lines<*mut T>,
    count: usize,
) {
    let width = PARTS * LANES;
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); PARTS]; R];
        let lines: [*const f32; R] = std::array::from_fn(|row| rows.first.add(row * rows.stride));
        for at in 0..depth {
            let mut second = [_mm512_setzero_ps(); PARTS];
            for part in 0..PARTS {
                second[part] = _mm512_loadu_ps(packed.add(at * width + LANES * part));
            }
            for row in 0..R {
                let first = _mm512_set1_ps(*lines[row].add(at));
                for part in 0..PARTS {
                    sums[row][part] = _mm512_fmadd_ps(first, second[part], sums[row][part]);
                }
            }
        }
        // What there is already is added at the end: a sum over a great depth is one of parts, which rounds less.
        for row in 0..R {
            for part in 0..PARTS {
                let from = begin.first.add(row * begin.stride + LANES * part);
                sums[row][part] = _mm512_add_ps(sums[row][part], _mm512_loadu_ps(from));
            }
        }
        for row in 0..R {
            let to = end.first.add(row * end.stride);
            if count == width {
                for part in 0..PARTS {
                    T::store::<__m512>(sums[row][part], to.add(LANES * part));
                }
                continue;
            }
            let mut numbers = [0.0f32; COLUMNS];
            for part in 0..PARTS {
                _mm512_storeu_ps(numbers.as_mut_ptr().add(LANES * part), sums[row][part]);
            }
            for (at, &number) in numbers[..count].iter().enumerate() {
                *to.add(at) = T::nearest(number);
            }
        }
    }
}

/// Sixteen lines of sixteen numbers each, turned.
///
/// # Safety
/// The processor must have the instructions; the lines must be there, and room.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn turn<N: Number>(
    from: *const N,
    stride: usize,
    to: *mut f32,
    to_stride: usize,
) {
    // SAFETY: the caller's promise.
    let mut a: [__m512; LANES] =
        std::array::from_fn(|line| unsafe { N::load::<__m512>(from.add(line * stride)) });
    let mut b = a;
    for two in 0..LANES / 2 {
        b[2 * two] = _mm512_unpacklo_ps(a[2 * two], a[2 * two + 1]);
        b[2 * two + 1] = _mm512_unpackhi_ps(a[2 * two], a[2 * two + 1]);
    }
    for four in 0..LANES / 4 {
        let pairs = |index: usize| _mm512_castps_pd(b[4 * four + index]);
        let (low, high) = ([pairs(0), pairs(2)], [pairs(1), pairs(3)]);
        a[4 * four] = _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1]));
        a[4 * four + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1]));
        a[4 * four + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1]));
        a[4 * four + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1]));
    }
    for line in 0..4 {
        let even =
            |index: usize| _mm512_shuffle_f32x4::<0x88>(a[index + line], a[index + 4 + line]);
        let odd = |index: usize| _mm512_shuffle_f32x4::<0xdd>(a[index + line], a[index + 4 + line]);
        let (low, high) = ([even(0), even(8)], [odd(0), odd(8)]);
        b[line] = _mm512_shuffle_f32x4::<0x88>(low[0], low[1]);
        b[line + 8] = _mm512_shuffle_f32x4::<0xdd>(low[0], low[1]);
        b[line + 4] = _mm512_shuffle_f32x4::<0x88>(high[0], high[1]);
        b[line + 12] = _mm512_shuffle_f32x4::<0xdd>(high[0], high[1]);
    }
    for (line, numbers) in b.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to.add(line * to_stride), numbers) };
    }
}

/// Numbers of lines `[depth, columns]`, as rows of `width` from column `from` on: those of columns that are missing, `count`
/// being there, are zero.
///
/// # Safety
/// The processor must have the instructions; the columns and lines must be there, and room.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn pack<N: Number>(
    numbers: Lines<*const N>,
    lines: Range<usize>,
    [from, count]: [usize; 2],
    to: *mut f32,
    width: usize,
) {
    let whole = count / LANES * LANES;
    for (index, line) in lines.enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let from = numbers.first.add(line * numbers.stride + from);
            let to = to.add(index * width);
            widen(from, to, whole);
            for at in whole..width {
                *to.add(at) = match at < count {
                    true => (*from.add(at)).value(),
                    false => 0.0,
                };
            }
        }
    }
}

/// Columns `from …` of lines `[depth, columns]`, turned into rows of which one begins `stride` numbers after the other:
/// those of columns that are missing, `count` being there, are zero up to a multiple of [`LANES`].
///
/// # Safety
/// As for [`pack`].
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn pack_turned<N: Number>(
    numbers: Lines<*const N>,
    lines: Range<usize>,
    [from, count]: [usize; 2],
    to: *mut f32,
    stride: usize,
) {
    let tiles = lines.len() / LANES * LANES;
    // SAFETY: the caller's promise.
    unsafe {
        for column in (0..count).step_by(LANES) {
            let tiles = if column + LANES <= count { tiles } else { 0 };
            for line in (0..tiles).step_by(LANES) {
                let at = (lines.start + line) * numbers.stride + from + column;
                let to = to.add(column * stride + line);
                turn(numbers.first.add(at), numbers.stride, to, stride);
            }
            for column in column..column + LANES {
                for line in tiles..lines.len() {
                    let at = (lines.start + line) * numbers.stride + from + column;
                    *to.add(column * stride + line) = match column < count {
                        true => (*numbers.first.add(at)).value(),
                        false => 0.0,
                    };
                }
            }
        }
    }
}

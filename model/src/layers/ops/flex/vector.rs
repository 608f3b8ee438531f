//! Registers of numbers, and what is computed in them of numbers in any of the types that tensors store: 16-bit ones
//! are widened on their way into a register, and never lie anywhere as float32.
//!
//! A computation is written once, over [`Vector`], and compiled for the registers of AVX-512, of AVX2 and for
//! processors of any kind; which of them the processor at hand has is found out at run time.

// An index counts registers of several arrays at once.
#![allow(clippy::needless_range_loop)]

use half::{bf16, f16};

/// Some float32 numbers that are computed with together.
///
/// # Safety
/// The functions of an implementation may need instructions that not every processor has: whoever calls them has
/// asked. Those that take a pointer read or write [`LANES`](Self::LANES) numbers from it on.
pub(in crate::layers::ops) trait Vector: Copy {
    /// How many numbers.
    const LANES: usize;

    /// The same number everywhere.
    unsafe fn all(value: f32) -> Self;
    /// Float32 numbers.
    unsafe fn of_f32(from: *const f32) -> Self;
    /// Half-precision numbers, widened.
    unsafe fn of_f16(from: *const f16) -> Self;
    /// bfloat16 numbers, widened.
    unsafe fn of_bf16(from: *const bf16) -> Self;
    /// `self · factor + term`.
    unsafe fn times_plus(self, factor: Self, term: Self) -> Self;
    /// The sum of all numbers.
    unsafe fn sum(self) -> f32;
    /// `self + term`.
    unsafe fn plus(self, term: Self) -> Self;
    /// Writes the numbers.
    unsafe fn store(self, to: *mut f32);
    /// Writes them in half precision, to the nearest.
    unsafe fn store_f16(self, to: *mut f16);
    /// Writes them as bfloat16, to the nearest.
    unsafe fn store_bf16(self, to: *mut bf16);
}

/// A number as tensors store it.
pub(in crate::layers::ops) trait Number: Copy + Send + Sync {
    /// Some numbers, adjacent in memory.
    ///
    /// # Safety
    /// As for [`Vector`].
    unsafe fn load<V: Vector>(from: *const Self) -> V;
    /// Writes some numbers, rounded to the nearest.
    ///
    /// # Safety
    /// As for [`Vector`].
    unsafe fn store<V: Vector>(numbers: V, to: *mut Self);
    /// The number.
    fn value(self) -> f32;
    /// The nearest to a number.
    fn nearest(value: f32) -> Self;
}

impl Number for f32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::of_f32(from) }
    }

    #[inline(always)]
    unsafe fn store<V: Vector>(numbers: V, to: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { numbers.store(to) }
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        value
    }
}

impl Number for f16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::of_f16(from) }
    }

    #[inline(always)]
    unsafe fn store<V: Vector>(numbers: V, to: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { numbers.store_f16(to) }
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        f16::from_f32(value)
    }
}

impl Number for bf16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::of_bf16(from) }
    }

    #[inline(always)]
    unsafe fn store<V: Vector>(numbers: V, to: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { numbers.store_bf16(to) }
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        bf16::from_f32(value)
    }
}

/// The numbers of a processor of which nothing else is known.
impl Vector for [f32; 8] {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn all(value: f32) -> Self {
        [value; 8]
    }

    #[inline(always)]
    unsafe fn of_f32(from: *const f32) -> Self {
        // SAFETY: the caller's promise; an array of floats may lie anywhere that a float may.
        unsafe { *from.cast::<[f32; 8]>() }
    }

    #[inline(always)]
    unsafe fn of_f16(from: *const f16) -> Self {
        // SAFETY: as above.
        unsafe { *from.cast::<[f16; 8]>() }.map(f16::to_f32)
    }

    #[inline(always)]
    unsafe fn of_bf16(from: *const bf16) -> Self {
        // SAFETY: as above.
        unsafe { *from.cast::<[bf16; 8]>() }.map(bf16::to_f32)
    }

    #[inline(always)]
    unsafe fn times_plus(self, factor: Self, term: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * factor[lane] + term[lane])
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    #[inline(always)]
    unsafe fn plus(self, term: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + term[lane])
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { *to.cast::<[f32; 8]>() = self }
    }

    #[inline(always)]
    unsafe fn store_f16(self, to: *mut f16) {
        // SAFETY: as above.
        unsafe { *to.cast::<[f16; 8]>() = self.map(f16::from_f32) }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16) {
        // SAFETY: as above.
        unsafe { *to.cast::<[bf16; 8]>() = self.map(bf16::from_f32) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::{bf16, f16};

    use super::Vector;

    /// AVX-512.
    impl Vector for __m512 {
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn all(value: f32) -> Self {
            // SAFETY: the caller has asked for the instructions, here and below, and promises what is read or written.
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn of_f32(from: *const f32) -> Self {
            // SAFETY: see `all`.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn of_f16(from: *const f16) -> Self {
            // SAFETY: see `all`.
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
        }

        #[inline(always)]
        unsafe fn of_bf16(from: *const bf16) -> Self {
            // SAFETY: see `all`.
            unsafe {
                let numbers = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(numbers))
            }
        }

        #[inline(always)]
        unsafe fn times_plus(self, factor: Self, term: Self) -> Self {
            // SAFETY: see `all`.
            unsafe { _mm512_fmadd_ps(self, factor, term) }
        }

        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            // SAFETY: see `all`.
            unsafe { _mm512_reduce_add_ps(self) }
        }

        #[inline(always)]
        unsafe fn plus(self, term: Self) -> Self {
            // SAFETY: see `all`.
            unsafe { _mm512_add_ps(self, term) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see `all`.
            unsafe { _mm512_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn store_f16(self, to: *mut f16) {
            // SAFETY: see `all`.
            unsafe {
                let numbers = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self);
                _mm256_storeu_si256(to.cast(), numbers);
            }
        }

        #[inline(always)]
        unsafe fn store_bf16(self, to: *mut bf16) {
            // SAFETY: see `all`.
            unsafe {
                let bits = _mm512_castps_si512(self);
                let high = _mm512_srli_epi32::<16>(bits);
                let odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
                let up = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
                let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, up));
                // What is no number stays none.
                let quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
                let is_none = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self, self);
                let found = _mm512_mask_blend_epi32(is_none, rounded, quiet);
                _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(found));
            }
        }
    }

    /// AVX2 with FMA and F16C.
    impl Vector for __m256 {
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn all(value: f32) -> Self {
            // SAFETY: the caller has asked for the instructions, here and below, and promises what is read or written.
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn of_f32(from: *const f32) -> Self {
            // SAFETY: see `all`.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn of_f16(from: *const f16) -> Self {
            // SAFETY: see `all`.
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
        }

        #[inline(always)]
        unsafe fn of_bf16(from: *const bf16) -> Self {
            // SAFETY: see `all`.
            unsafe {
                let numbers = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(numbers))
            }
        }

        #[inline(always)]
        unsafe fn times_plus(self, factor: Self, term: Self) -> Self {
            // SAFETY: see `all`.
            unsafe { _mm256_fmadd_ps(self, factor, term) }
        }

        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            let mut lanes = [0.0; 8];
            // SAFETY: see `all`; the array has room.
            unsafe {
                self.store(lanes.as_mut_ptr());
                Vector::sum(lanes)
            }
        }

        #[inline(always)]
        unsafe fn plus(self, term: Self) -> Self {
            // SAFETY: see `all`.
            unsafe { _mm256_add_ps(self, term) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see `all`.
            unsafe { _mm256_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn store_f16(self, to: *mut f16) {
            // SAFETY: see `all`.
            unsafe {
                let numbers = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self);
                _mm_storeu_si128(to.cast(), numbers);
            }
        }

        #[inline(always)]
        unsafe fn store_bf16(self, to: *mut bf16) {
            // SAFETY: see `all`.
            unsafe {
                let bits = _mm256_castps_si256(self);
                let high = _mm256_srli_epi32::<16>(bits);
                let odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
                let up = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
                let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, up));
                // What is no number stays none.
                let quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
                let is_none = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self, self));
                let found = _mm256_blendv_epi8(rounded, quiet, is_none);
                // Packs within each half of the register.
                let packed = _mm256_packus_epi32(found, found);
                let packed = _mm256_permute4x64_epi64::<0b1000>(packed);
                _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(packed));
            }
        }
    }
}

/// The registers of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registers {
    /// 32 of 16 numbers: AVX-512.
    #[cfg(target_arch = "x86_64")]
    Wide,
    /// 16 of 8 numbers: AVX2, with FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Narrow,
    /// Of any kind.
    Plain,
}

impl Registers {
    /// Those of the processor at hand.
    pub fn of_this_cpu() -> Self {
        Self::all()[0]
    }

    /// Rows whose products with four lines they hold at once.
    pub fn rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Wide => 4,
            #[cfg(target_arch = "x86_64")]
            Self::Narrow => 2,
            Self::Plain => 2,
        }
    }

    /// All that the processor at hand has, the best first.
    pub fn all() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let is_narrow = has!("avx2") && has!("fma") && has!("f16c");
            if is_narrow && has!("avx512f") {
                found.push(Self::Wide);
            }
            if is_narrow {
                found.push(Self::Narrow);
            }
        }
        found.push(Self::Plain);
        found
    }
}

/// Compiles an unsafe function over a [`Vector`] for each kind of registers: `name(registers, …)` calls it for those
/// at hand.
///
/// Everything that it calls must be `#[inline(always)]`: what is not inlined is compiled for the plain instruction set.
macro_rules! in_registers {
    (
        $(#[$doc:meta])*
        fn $name:ident<$number:ident $(, const $size:ident: usize)*>($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?
        = $body:ident
    ) => {
        $(#[$doc])*
        #[inline]
        pub(super) unsafe fn $name<$number: Number $(, const $size: usize)*>(
            registers: Registers,
            $($argument: $type),*
        ) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma,f16c")]
            unsafe fn wide<$number: Number $(, const $size: usize)*>($($argument: $type),*) $(-> $result)? {
                // SAFETY: the caller's promise.
                unsafe { $body::<std::arch::x86_64::__m512, $number $(, $size)*>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn narrow<$number: Number $(, const $size: usize)*>($($argument: $type),*) $(-> $result)? {
                // SAFETY: the caller's promise.
                unsafe { $body::<std::arch::x86_64::__m256, $number $(, $size)*>($($argument),*) }
            }
            // SAFETY: `Registers` are those that the processor has, and the rest is the caller's promise.
            unsafe {
                match registers {
                    #[cfg(target_arch = "x86_64")]
                    Registers::Wide => wide::<$number $(, $size)*>($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    Registers::Narrow => narrow::<$number $(, $size)*>($($argument),*),
                    Registers::Plain => $body::<[f32; 8], $number $(, $size)*>($($argument),*),
                }
            }
        }
    };
}

/// Lines of numbers, of which one begins `stride` numbers after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<N> {
    pub first: *const N,
    pub stride: usize,
}

impl<N> Lines<N> {
    /// # Safety
    /// The line must be there.
    #[inline(always)]
    unsafe fn line(&self, index: usize) -> *const N {
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

#[inline(always)]
unsafe fn widen_in<V: Vector, N: Number>(from: *const N, to: *mut f32, count: usize) {
    // SAFETY: the caller promises so many numbers, and room.
    unsafe {
        let whole = count / V::LANES * V::LANES;
        let mut at = 0;
        while at < whole {
            N::load::<V>(from.add(at)).store(to.add(at));
            at += V::LANES;
        }
        for at in whole..count {
            *to.add(at) = (*from.add(at)).value();
        }
    }
}

in_registers! {
    /// Writes numbers as float32.
    ///
    /// # Safety
    /// There must be so many numbers, and room for them, and the processor must have the registers.
    fn widen<N>(from: *const N, to: *mut f32, count: usize) = widen_in
}

#[inline(always)]
unsafe fn narrow_in<V: Vector, N: Number>(from: *const f32, to: *mut N, count: usize) {
    // SAFETY: the caller promises so many numbers, and room.
    unsafe {
        let whole = count / V::LANES * V::LANES;
        let mut at = 0;
        while at < whole {
            N::store(V::of_f32(from.add(at)), to.add(at));
            at += V::LANES;
        }
        for at in whole..count {
            *to.add(at) = N::nearest(*from.add(at));
        }
    }
}

in_registers! {
    /// Writes float32 numbers in another type, rounded to the nearest.
    ///
    /// # Safety
    /// As for [`widen`].
    fn narrow<N>(from: *const f32, to: *mut N, count: usize) = narrow_in
}

#[inline(always)]
unsafe fn add_in<V: Vector, N: Number>(a: *const N, b: *const N, to: *mut N, count: usize) {
    // SAFETY: the caller promises so many numbers, and room.
    unsafe {
        let whole = count / V::LANES * V::LANES;
        let mut at = 0;
        while at < whole {
            let sum = N::load::<V>(a.add(at)).plus(N::load::<V>(b.add(at)));
            N::store(sum, to.add(at));
            at += V::LANES;
        }
        for at in whole..count {
            *to.add(at) = N::nearest((*a.add(at)).value() + (*b.add(at)).value());
        }
    }
}

in_registers! {
    /// Writes the sums of two numbers each; they may be written where either lies.
    ///
    /// # Safety
    /// There must be so many numbers of both, and room for their sums, and the processor must have the registers.
    fn add<N>(a: *const N, b: *const N, to: *mut N, count: usize) = add_in
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn number(i: usize) -> f32 {
        ((i * 7919) % 23) as f32 - 11.0
    }

    fn numbers(count: usize, from: usize) -> Vec<f32> {
        (0..count).map(|i| number(i + from)).collect()
    }

    /// Whole numbers: no order of additions rounds, and all types hold them.
    fn check<N: Number>(store: impl Fn(f32) -> N) {
        const ROWS: usize = 2;
        const LINES: usize = 4;
        for registers in Registers::all() {
            for depth in [0, 1, 7, 16, 83, 128] {
                let stride = depth + 3;
                let rows = numbers(ROWS * stride, 0);
                let lines = numbers(LINES * stride, 5);
                let stored: Vec<N> = lines.iter().map(|&number| store(number)).collect();
                let of = |first: *const f32| Lines { first, stride };
                let held = Lines {
                    first: stored.as_ptr(),
                    stride,
                };
                // SAFETY: the vectors have so many rows and lines of more than `depth` numbers, and the processor
                // has the registers.
                let found = unsafe {
                    products::<N, ROWS, LINES>(registers, of(rows.as_ptr()), held, depth)
                };
                for (row, found) in found.iter().enumerate() {
                    for (line, found) in found.iter().enumerate() {
                        let x = &rows[row * stride..][..depth];
                        let w = &lines[line * stride..][..depth];
                        let expected: f32 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                        assert_eq!(*found, expected, "{registers:?}, depth {depth}");
                    }
                }
                let mut sums = vec![0.5; ROWS * stride];
                // SAFETY: as above; the rows have more than `LINES` weights.
                unsafe {
                    weighted_sums::<N, ROWS>(
                        registers,
                        of(rows.as_ptr()),
                        held,
                        [LINES.min(stride), depth],
                        sums.as_mut_ptr(),
                        stride,
                    );
                }
                for (row, sums) in sums.chunks(stride).enumerate() {
                    for (at, &found) in sums.iter().enumerate() {
                        let weights = &rows[row * stride..];
                        let terms =
                            (0..LINES.min(stride)).map(|i| weights[i] * lines[i * stride + at]);
                        let expected: f32 = if at < depth { terms.sum() } else { 0.5 };
                        assert_eq!(found, expected, "{registers:?}, width {depth}");
                    }
                }
            }
        }
    }

    #[test]
    fn each_kind_of_registers_computes_the_same_of_each_type() {
        check(|number| number);
        check(f16::from_f32);
        check(bf16::from_f32);
    }

    /// What each kind of registers rounds is what is rounded number by number.
    fn check_nearest<N: Number + PartialEq + std::fmt::Debug>(bits: impl Fn(N) -> u16) {
        let special = [
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            -f32::NAN,
        ];
        let numbers = (0..5_000).map(|i| {
            let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
            sign * (1.0 + (i * 7919 % 4096) as f32 / 4096.0) * 2.0f32.powi(i % 48 - 28)
        });
        let numbers: Vec<f32> = special.into_iter().chain(numbers).collect();
        let expected: Vec<u16> = numbers.iter().map(|&n| bits(N::nearest(n))).collect();
        for registers in Registers::all() {
            let mut found = vec![N::nearest(0.5); numbers.len()];
            // SAFETY: both are as long; the processor has the registers.
            unsafe { narrow(registers, numbers.as_ptr(), found.as_mut_ptr(), found.len()) };
            let found: Vec<u16> = found.into_iter().map(&bits).collect();
            assert_eq!(found, expected, "{registers:?}");
        }
    }

    #[test]
    fn each_kind_of_registers_rounds_alike() {
        check_nearest::<f16>(f16::to_bits);
        check_nearest::<bf16>(bf16::to_bits);
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let lines = [
            f16::INFINITY,
            f16::NAN,
            f16::MIN_POSITIVE,
            f16::from_bits(1),
        ]
        .map(|n| [n; 16]);
        let ones = [1.0; 16];
        for registers in Registers::all() {
            let rows = Lines {
                first: ones.as_ptr(),
                stride: 0,
            };
            let lines = Lines {
                first: lines.as_ptr().cast::<f16>(),
                stride: 16,
            };
            // SAFETY: four lines of 16 numbers; the processor has the registers.
            let [[infinite, nan, normal, least]] =
                unsafe { products::<_, 1, 4>(registers, rows, lines, 16) };
            assert_eq!(infinite, f32::INFINITY);
            assert!(nan.is_nan());
            assert_eq!(normal, 16.0 * f16::MIN_POSITIVE.to_f32());
            assert_eq!(least, 16.0 * f16::from_bits(1).to_f32());
        }
    }
}

//! Registers of numbers, and what is computed in them of numbers in any of the types that tensors store: 16-bit ones
//! are widened on their way into a register, and never lie anywhere as float32.
//!
//! A computation is written once, over [`Vector`], and compiled for the registers of AVX-512, of AVX2 and for
//! processors of any kind; which of them the processor at hand has is found out at run time.

// An index counts registers of several arrays at once.
#![allow(clippy::needless_range_loop)]

mod conversions;
mod products;
mod registers;
#[cfg(test)]
mod tests;
mod weighted_sums;
#[cfg(target_arch = "x86_64")]
mod x86;

use half::{bf16, f16};

pub(super) use conversions::{add, narrow, widen};
pub(super) use products::{Lines, line_products, products};
pub(super) use registers::Registers;
pub(super) use weighted_sums::weighted_sums;

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

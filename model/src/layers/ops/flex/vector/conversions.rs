//! Numbers of one type written in another one, and sums of two.

use super::registers::{Registers, in_registers};
use super::{Number, Vector};

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

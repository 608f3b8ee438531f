//! Registers of AVX-512 and of AVX2.

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

//! Weights of each float type as vectors of eight f32, from bytes of any alignment.

use std::arch::x86_64::*;

/// An element type of weights.
pub(in crate::kernels) trait Weight {
    /// Bytes per element.
    const BYTES: usize;

    /// Elements `0..8` at `p`.
    ///
    /// # Safety
    /// AVX2 and F16C; `p` is readable for eight elements.
    unsafe fn load(p: *const u8) -> __m256;

    /// Elements `0..n` at `p`, then zeros; `n` is below eight.
    ///
    /// # Safety
    /// AVX2 and F16C; `p` is readable for `n` elements.
    unsafe fn load_first(p: *const u8, n: usize) -> __m256;
}

/// IEEE single.
pub(in crate::kernels) struct F32;
/// bfloat16, the upper half of an f32.
pub(in crate::kernels) struct Bf16;
/// IEEE half.
pub(in crate::kernels) struct F16;

impl Weight for F32 {
    const BYTES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(p: *const u8) -> __m256 {
        // SAFETY: the caller gives 32 readable bytes.
        unsafe { _mm256_loadu_ps(p.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_first(p: *const u8, n: usize) -> __m256 {
        // SAFETY: lanes from `n` on are not read.
        unsafe { _mm256_maskload_ps(p.cast(), first_lanes(n)) }
    }
}

impl Weight for Bf16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(p: *const u8) -> __m256 {
        // SAFETY: the caller gives 16 readable bytes.
        widen_bf16(unsafe { _mm_loadu_si128(p.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_first(p: *const u8, n: usize) -> __m256 {
        // SAFETY: the caller gives `n` readable elements of two bytes.
        widen_bf16(unsafe { first_halves(p, n) })
    }
}

impl Weight for F16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(p: *const u8) -> __m256 {
        // SAFETY: the caller gives 16 readable bytes.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(p.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_first(p: *const u8, n: usize) -> __m256 {
        // SAFETY: the caller gives `n` readable elements of two bytes.
        _mm256_cvtph_ps(unsafe { first_halves(p, n) })
    }
}

/// All bits set in lanes `0..n`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels) fn first_lanes(n: usize) -> __m256i {
    let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen_bf16(halves: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
}

/// `n` elements of 16 bits, then zeros.
///
/// # Safety
/// `p` is readable for `n <= 8` elements.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn first_halves(p: *const u8, n: usize) -> __m128i {
    let mut halves = [0u16; 8];
    // SAFETY: the caller gives `2 n` readable bytes, and there is room for 16.
    unsafe {
        std::ptr::copy_nonoverlapping(p, halves.as_mut_ptr().cast(), 2 * n);
        _mm_loadu_si128(halves.as_ptr().cast())
    }
}

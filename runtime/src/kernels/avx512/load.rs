//! Weights of each float type as vectors of sixteen f32, from bytes of any alignment.

use std::arch::x86_64::*;

use crate::kernels::avx2::load::{Bf16, F16, F32, Weight};

/// An element type of weights.
pub(in crate::kernels) trait Weight16: Weight {
    /// Elements `0..16` at `p`.
    ///
    /// # Safety
    /// AVX-512 with BW and VL; `p` is readable for sixteen elements.
    unsafe fn load16(p: *const u8) -> __m512;

    /// The elements at `p` whose bits are set in `mask`, and zeros.
    ///
    /// # Safety
    /// AVX-512 with BW and VL; `p` is readable for those elements.
    unsafe fn load_first16(p: *const u8, mask: __mmask16) -> __m512;

    /// Elements `0..8` at `a`, then those at `b`.
    ///
    /// # Safety
    /// AVX-512 with BW and VL; both are readable for eight elements.
    unsafe fn load_pair(a: *const u8, b: *const u8) -> __m512;
}

/// Two halves of a vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn both(lower: __m256, upper: __m256) -> __m512 {
    let whole = _mm512_castpd256_pd512(_mm256_castps_pd(lower));
    _mm512_castpd_ps(_mm512_insertf64x4::<1>(whole, _mm256_castps_pd(upper)))
}

/// 16 bytes at `a`, then those at `b`.
///
/// # Safety
/// AVX-512 with VL; both are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn halves(a: *const u8, b: *const u8) -> __m256i {
    // SAFETY: as the caller says.
    unsafe {
        let lower = _mm256_castsi128_si256(_mm_loadu_si128(a.cast()));
        _mm256_inserti128_si256::<1>(lower, _mm_loadu_si128(b.cast()))
    }
}

impl Weight16 for F32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load16(p: *const u8) -> __m512 {
        // SAFETY: the caller gives 64 readable bytes.
        unsafe { _mm512_loadu_ps(p.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_first16(p: *const u8, mask: __mmask16) -> __m512 {
        // SAFETY: other lanes are not read.
        unsafe { _mm512_maskz_loadu_ps(mask, p.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_pair(a: *const u8, b: *const u8) -> __m512 {
        // SAFETY: the caller gives eight elements at both.
        unsafe { both(_mm256_loadu_ps(a.cast()), _mm256_loadu_ps(b.cast())) }
    }
}

impl Weight16 for Bf16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load16(p: *const u8) -> __m512 {
        // SAFETY: the caller gives 32 readable bytes.
        widen_bf16(unsafe { _mm256_loadu_si256(p.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_first16(p: *const u8, mask: __mmask16) -> __m512 {
        // SAFETY: other lanes are not read.
        widen_bf16(unsafe { _mm256_maskz_loadu_epi16(mask, p.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_pair(a: *const u8, b: *const u8) -> __m512 {
        // SAFETY: the caller gives eight elements at both.
        unsafe { widen_bf16(halves(a, b)) }
    }
}

impl Weight16 for F16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load16(p: *const u8) -> __m512 {
        // SAFETY: the caller gives 32 readable bytes.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(p.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_first16(p: *const u8, mask: __mmask16) -> __m512 {
        // SAFETY: other lanes are not read.
        _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(mask, p.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_pair(a: *const u8, b: *const u8) -> __m512 {
        // SAFETY: the caller gives eight elements at both.
        unsafe { _mm512_cvtph_ps(halves(a, b)) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn widen_bf16(halves: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}

/// A mask of the first `n` lanes, of at most all.
pub(super) fn first_lanes(n: usize) -> __mmask16 {
    (u32::MAX >> (32 - n.min(16))) as __mmask16
}

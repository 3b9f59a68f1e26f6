//! Conversions between f32 and the 16-bit types.

use std::arch::x86_64::*;

use super::load::Weight;

/// [`crate::abi::KernelTable::bf16_to_f32`] and [`crate::abi::KernelTable::f16_to_f32`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn to_f32<W: Weight>(x: *const u8, n: usize, out: *mut f32) {
    let whole = n - n % 8;
    for i in (0..whole).step_by(8) {
        // SAFETY: elements `i..i + 8` are among the `n` of each array.
        unsafe { _mm256_storeu_ps(out.add(i), W::load(x.add(i * W::BYTES))) }
    }
    if whole < n {
        // SAFETY: only the last `n - whole` elements are read and written.
        unsafe {
            let lanes = super::load::first_lanes(n - whole);
            let rest = W::load_first(x.add(whole * W::BYTES), n - whole);
            _mm256_maskstore_ps(out.add(whole), lanes, rest);
        }
    }
}

/// [`crate::abi::KernelTable::f32_to_bf16`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn f32_to_bf16(x: *const f32, n: usize, out: *mut u8) {
    // SAFETY: the caller gives `n` elements of each array.
    unsafe { narrow(x, n, out, |v| round_to_bf16(v)) }
}

/// [`crate::abi::KernelTable::f32_to_f16`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn f32_to_f16(x: *const f32, n: usize, out: *mut u8) {
    // SAFETY: the caller gives `n` elements of each array.
    unsafe {
        narrow(x, n, out, |v| {
            _mm256_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(v)
        })
    }
}

/// Writes `f` of eight elements at a time as 16-bit values.
///
/// # Safety
/// AVX2 and F16C; `x` is readable for `n` elements and `out` writable for `2 n` bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn narrow(x: *const f32, n: usize, out: *mut u8, f: impl Fn(__m256) -> __m128i) {
    let whole = n - n % 8;
    for i in (0..whole).step_by(8) {
        // SAFETY: elements `i..i + 8` are among the `n` of each array.
        unsafe { _mm_storeu_si128(out.add(2 * i).cast(), f(_mm256_loadu_ps(x.add(i)))) }
    }
    if whole < n {
        let lanes = super::load::first_lanes(n - whole);
        let mut halves = [0u16; 8];
        // SAFETY: only the last `n - whole` elements are read and written; there is room for eight in `halves`.
        unsafe {
            let v = f(_mm256_maskload_ps(x.add(whole), lanes));
            _mm_storeu_si128(halves.as_mut_ptr().cast(), v);
            std::ptr::copy_nonoverlapping(
                halves.as_ptr().cast(),
                out.add(2 * whole),
                2 * (n - whole),
            );
        }
    }
}

/// Ties to even; NaN stays NaN by its quiet bit.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn round_to_bf16(v: __m256) -> __m128i {
    let bits = _mm256_castps_si256(v);
    let upper = _mm256_srli_epi32::<16>(bits);
    let odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    let bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, bias));
    let quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
    let words = _mm256_blendv_epi8(rounded, quiet, is_nan);
    _mm_packus_epi32(
        _mm256_castsi256_si128(words),
        _mm256_extracti128_si256::<1>(words),
    )
}

//! Functions applied to each element of an array.

use std::arch::x86_64::*;

use super::load::first_lanes;
use super::math;

/// `x[i] = f(x[i])` for `n` elements, eight at a time.
///
/// # Safety
/// AVX2, FMA and F16C; `x` is readable and writable for `n` elements.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn map(x: *mut f32, n: usize, f: impl Fn(__m256) -> __m256) {
    let whole = n - n % 8;
    for i in (0..whole).step_by(8) {
        // SAFETY: elements `i..i + 8` are among the `n`.
        unsafe { _mm256_storeu_ps(x.add(i), f(_mm256_loadu_ps(x.add(i)))) }
    }
    if whole < n {
        let lanes = first_lanes(n - whole);
        // SAFETY: only lanes that are among the `n` elements are read and written.
        unsafe {
            let x = x.add(whole);
            _mm256_maskstore_ps(x, lanes, f(_mm256_maskload_ps(x, lanes)));
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn silu(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| _mm256_mul_ps(v, math::sigmoid(v))) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn gelu(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| math::gelu(v)) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn gelu_tanh(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| math::gelu_tanh(v)) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn sigmoid(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| math::sigmoid(v)) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn tanh(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| math::tanh(v)) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn relu(x: *mut f32, n: usize) {
    // The zero goes first: where an operand is NaN the maximum is the second.
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| _mm256_max_ps(_mm256_setzero_ps(), v)) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn relu2(x: *mut f32, n: usize) {
    let square = |v| {
        let v = _mm256_max_ps(_mm256_setzero_ps(), v);
        _mm256_mul_ps(v, v)
    };
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, square) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn exp(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| math::exp(v)) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn softplus(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| math::softplus(v)) }
}

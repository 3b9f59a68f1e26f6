//! `out[m, n] (+)= x[m, k] · w[n, k]ᵀ` for at most eight rows of `x`: dot products along `k`, each weight read once.
//!
//! Rows of weights of a middling length are read one after the other, others several at once. Which it is depends on `k` alone,
//! and so does the order of an element's sum.

use std::arch::x86_64::*;

use super::load::Weight;
use super::matmul::Call;

mod one;
pub(in crate::kernels) mod several;

/// Bytes of rows that are read one after the other: with 135 million parameters (rows of 1 to 3 KiB) that makes decode up to 1.1
/// times as fast, where memory is not busy with others. Longer ones, in files in small pages, are read a fifth faster several at
/// once, and so are shorter ones, of which experts have few together.
const ONE_STREAM: std::ops::RangeInclusive<usize> = 1024..=4096;

/// Whether rows of `k` weights of `bytes` bytes each are read one after the other.
pub(in crate::kernels) fn is_one_stream(k: usize, bytes: usize) -> bool {
    ONE_STREAM.contains(&(k * bytes))
}

/// Whether rows of `k` weights of `bytes` bytes each are shorter than those that are read one after the other.
pub(in crate::kernels) fn is_short(k: usize, bytes: usize) -> bool {
    k * bytes < *ONE_STREAM.start()
}

/// # Safety
/// AVX2, FMA and F16C; the contract of [`crate::abi::MatmulFn`]; `m` is at most eight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels) unsafe fn matmul<W: Weight, const LINES: bool>(c: &Call) {
    // SAFETY: the caller has AVX2, FMA and F16C, and the call keeps the contract of `MatmulFn` of at most eight rows, as both take.
    unsafe {
        if is_one_stream(c.k, W::BYTES) {
            one::matmul::<W, LINES>(c)
        } else {
            several::matmul::<W>(c)
        }
    }
}

/// The sum of each vector's lanes: `((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels) fn add_lanes<const R: usize>(v: &[__m256; R]) -> [f32; R] {
    let mut sums = [0f32; R];
    for (sums, v) in sums.chunks_mut(4).zip(v.chunks(4)) {
        let v = |i: usize| v.get(i).copied().unwrap_or(_mm256_setzero_ps());
        let four = add_lanes_of_4([v(0), v(1), v(2), v(3)]);
        let mut all = [0f32; 4];
        // SAFETY: there is room for four.
        unsafe { _mm_storeu_ps(all.as_mut_ptr(), four) };
        sums.copy_from_slice(&all[..sums.len()]);
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_lanes_of_4(v: [__m256; 4]) -> __m128 {
    let (a, b) = (_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    let halves = _mm256_hadd_ps(a, b);
    _mm_add_ps(
        _mm256_castps256_ps128(halves),
        _mm256_extractf128_ps::<1>(halves),
    )
}

/// The sum of a vector's lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels) fn sum(v: __m256) -> f32 {
    let [sum] = add_lanes(&[v]);
    sum
}

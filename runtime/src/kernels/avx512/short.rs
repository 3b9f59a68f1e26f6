//! `out[m, n] (+)= x[m, k] · w[n, k]ᵀ` for at most eight rows of `x` and short rows of `w`, as cached keys are.
//!
//! A vector holds eight terms of one row and the same eight of another, so that term `i` is in lane `i % 8` of an element's sum and the
//! bits are those of [`crate::kernels::avx2::dot::several`].

use std::arch::x86_64::*;

use super::rows::Pairs;
use crate::kernels::avx2::dot::several::ahead;
use crate::kernels::avx2::load::first_lanes;
use crate::kernels::avx2::matmul::Call;
use crate::kernels::stream::ask_for;

/// Terms that share what [`Pairs::scales`] gives.
const TERMS: usize = 32;

/// Chooses a block: `m` rows of `x`, in one group or two, by so many pairs of rows of `w`.
///
/// # Safety
/// AVX-512; the contract of [`crate::abi::MatmulFn`]; `m` is at most eight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn matmul<W: Pairs>(c: &Call) {
    // SAFETY: the caller has AVX-512, and gives `m` rows of `x` and of the result; `m` is the sum of the first two constants.
    unsafe {
        match c.m {
            1 => columns::<W, 1, 0, 4>(c),
            2 => columns::<W, 2, 0, 4>(c),
            3 => columns::<W, 3, 0, 4>(c),
            4 => columns::<W, 4, 0, 4>(c),
            5 => columns::<W, 3, 2, 4>(c),
            6 => columns::<W, 3, 3, 4>(c),
            7 => columns::<W, 4, 3, 4>(c),
            8 => columns::<W, 4, 4, 4>(c),
            _ => debug_assert_eq!(c.m, 0),
        }
    }
}

/// Blocks of `2 R` columns, each for the first `M` rows of `x` and then for the other `N` while the weights are in cache.
///
/// # Safety
/// As [`matmul`], with `m == M + N`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn columns<W: Pairs, const M: usize, const N: usize, const R: usize>(c: &Call) {
    let (others, ahead) = (c.below(M), ahead(c));
    let whole = c.n - c.n % (2 * R);
    for col in (0..whole).step_by(2 * R) {
        // SAFETY: columns `col..col + 2 R` are below `n`.
        unsafe {
            block::<W, M, R>(c, col, 2 * R, Some(ahead));
            block::<W, N, R>(&others, col, 2 * R, None);
        }
    }
    for col in (whole..c.n).step_by(2) {
        let n = (c.n - col).min(2);
        // SAFETY: columns `col..col + n` are below `n`.
        unsafe {
            block::<W, M, 1>(c, col, n, None);
            block::<W, N, 1>(&others, col, n, None);
        }
    }
}

/// Computes `n` columns from `col` on: more than half of `2 R`.
///
/// # Safety
/// As [`columns`], for `M` rows of `x`; the columns exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn block<W: Pairs, const M: usize, const R: usize>(
    c: &Call,
    col: usize,
    n: usize,
    ahead: Option<usize>,
) {
    if M == 0 {
        return;
    }
    let row = |r: usize| c.w.wrapping_add((col + r.min(n - 1)) * c.w_stride);
    let mut pairs = [[std::ptr::null(); 2]; R];
    for (r, pair) in pairs.iter_mut().enumerate() {
        *pair = [row(r), row(r + R)];
    }
    // SAFETY: `M` rows of `x` and the rows of `w` have `k` elements, and the result has a place for each pair.
    unsafe {
        let sums = products::<W, M, R>(c, &pairs, ahead);
        for (row, sums) in sums.iter().enumerate() {
            let out = c.out(row, col);
            for (i, half) in add_lanes(sums).into_iter().enumerate() {
                for (r, sum) in half.into_iter().enumerate().take(R) {
                    if i * R + r < n {
                        let at = out.add(i * R + r);
                        *at = if c.accumulate { *at + sum } else { sum };
                    }
                }
            }
        }
    }
}

/// Lane-wise sums of the products of `M` rows of `x` and `R` pairs of rows of `w`.
///
/// # Safety
/// As [`block`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn products<W: Pairs, const M: usize, const R: usize>(
    c: &Call,
    pairs: &[[*const u8; 2]; R],
    ahead: Option<usize>,
) -> [[__m512; R]; M] {
    let mut sums = [[_mm512_setzero_ps(); R]; M];
    // SAFETY: only elements below `k` of the rows are read.
    unsafe {
        for start in (0..c.k).step_by(TERMS) {
            let mut scales = [W::NO_SCALES; R];
            for (scales, pair) in scales.iter_mut().zip(pairs) {
                *scales = W::scales(*pair, start);
            }
            if let Some(ahead) = ahead {
                for row in pairs.as_flattened() {
                    let block = row.wrapping_add(start / TERMS * W::BLOCK_BYTES);
                    ask_for(block.wrapping_add(ahead), W::BLOCK_BYTES);
                }
            }
            let end = c.k.min(start + TERMS);
            let whole = end - (end - start) % 8;
            for i in (start..whole).step_by(8) {
                let mut weights = [_mm512_setzero_ps(); R];
                for ((weight, pair), scales) in weights.iter_mut().zip(pairs).zip(scales) {
                    *weight = W::eight(*pair, i, scales);
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = twice(_mm256_loadu_ps(c.x.add(row * c.x_stride + i)));
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = _mm512_fmadd_ps(x, weight, *sum);
                    }
                }
            }
            if whole < end {
                let lanes = first_lanes(end - whole);
                for (r, pair) in pairs.iter().enumerate() {
                    let weight = W::last(*pair, whole, end - whole);
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = c.x.add(row * c.x_stride + whole);
                        let x = twice(_mm256_maskload_ps(x, lanes));
                        sums[r] = _mm512_fmadd_ps(x, weight, sums[r]);
                    }
                }
            }
        }
    }
    sums
}

/// The same eight values in both halves.
#[inline]
#[target_feature(enable = "avx512f")]
fn twice(x: __m256) -> __m512 {
    _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(x)))
}

/// The sums of the lower and of the upper half of up to four vectors, each `((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))`.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn add_lanes<const R: usize>(v: &[__m512; R]) -> [[f32; 4]; 2] {
    let v = |i: usize| v.get(i).copied().unwrap_or(_mm512_setzero_ps());
    let quarters = neighbours(neighbours(v(0), v(1)), neighbours(v(2), v(3)));
    let others = _mm512_shuffle_f32x4::<0b10_11_00_01>(quarters, quarters);
    let sums = _mm512_add_ps(quarters, others);
    let mut out = [[0f32; 4]; 2];
    // SAFETY: there is room for four each.
    unsafe {
        _mm_storeu_ps(out[0].as_mut_ptr(), _mm512_castps512_ps128(sums));
        _mm_storeu_ps(out[1].as_mut_ptr(), _mm512_extractf32x4_ps::<2>(sums));
    }
    out
}

/// Sums of neighbouring lanes, in each run of four those of `a` before those of `b`.
#[inline]
#[target_feature(enable = "avx512f")]
fn neighbours(a: __m512, b: __m512) -> __m512 {
    let even = _mm512_shuffle_ps::<0b10_00_10_00>(a, b);
    let odd = _mm512_shuffle_ps::<0b11_01_11_01>(a, b);
    _mm512_add_ps(even, odd)
}

//! Several rows of `w` at once, in as many streams.
//!
//! An element's sum is kept in eight lanes, term `i` in lane `i % 8`, and the lanes are added in a fixed tree, so that any
//! number of rows and columns can be in flight at once: as many as hide the latency of an addition and leave registers free.
//!
//! Rows that are read together lie as far apart as the call allows, so that memory sees a few long streams, each read in
//! order: with two threads a quarter faster than reading neighbouring rows together.

use std::arch::x86_64::*;

use super::super::load::{Weight, first_lanes};
use super::super::matmul::Call;
use super::add_lanes;

const LINE_BYTES: usize = 64;
/// Weights of a call that take no more bytes are asked for during the call before it, if that is for the weights in front of
/// them: both together fit into the second-level cache.
const NEXT_CALL_BYTES: usize = 96 * 1024;
/// How far ahead of use others are asked for: the time until memory answers, several times over.
const AHEAD_BYTES: usize = 4096;

/// Chooses a block: `m` rows of `x`, in one group or two, by so many rows of `w`.
///
/// # Safety
/// AVX2, FMA and F16C; the contract of [`crate::abi::MatmulFn`]; `m` is at most eight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) unsafe fn matmul<W: Weight>(c: &Call) {
    // SAFETY: the caller has AVX2, FMA and F16C, and the call keeps the contract of `MatmulFn`; `m` is the sum of the first two constants.
    unsafe {
        match c.m {
            1 => columns::<W, 1, 0, 8>(c),
            2 => columns::<W, 2, 0, 4>(c),
            3 => columns::<W, 3, 0, 3>(c),
            4 => columns::<W, 4, 0, 3>(c),
            5 => columns::<W, 5, 0, 2>(c),
            6 => columns::<W, 6, 0, 2>(c),
            7 => columns::<W, 4, 3, 3>(c),
            8 => columns::<W, 4, 4, 3>(c),
            _ => debug_assert_eq!(c.m, 0),
        }
    }
}

/// Blocks of `R` columns, each for the first `M` rows of `x` and then for the other `N` while the weights are in cache.
///
/// # Safety
/// As [`matmul`], with `m == M + N`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn columns<W: Weight, const M: usize, const N: usize, const R: usize>(c: &Call) {
    let (others, apart) = (c.below(M), c.n / R);
    for col in 0..apart {
        // SAFETY: columns `col + r · apart` are below `n` for all `r < R`.
        unsafe {
            block::<W, M, R>(c, col, apart);
            if N > 0 {
                block::<W, N, R>(&others, col, apart);
            }
        }
    }
    for col in R * apart..c.n {
        // SAFETY: `col` is below `n`.
        unsafe {
            block::<W, M, 1>(c, col, 1);
            if N > 0 {
                block::<W, N, 1>(&others, col, 1);
            }
        }
    }
}

/// Computes `R` columns, from `col` on and `apart` from each other.
///
/// # Safety
/// As [`columns`], for `M` rows of `x`; the columns exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn block<W: Weight, const M: usize, const R: usize>(c: &Call, col: usize, apart: usize) {
    let rows = Call {
        w: c.w.wrapping_add(col * c.w_stride),
        w_stride: apart * c.w_stride,
        ..*c
    };
    // SAFETY: `M` rows of `x` and the rows of `w` have `k` elements, and the result has a place for each pair.
    unsafe {
        let sums = products::<W, M, R>(&rows, ahead(c));
        for (row, sums) in sums.iter().enumerate() {
            let out = c.out(row, col);
            for (r, sum) in add_lanes(sums).into_iter().enumerate() {
                let at = out.add(r * apart);
                *at = if c.accumulate { *at + sum } else { sum };
            }
        }
    }
}

/// Bytes from weights that are used to those that are asked for.
pub(in crate::kernels) fn ahead(c: &Call) -> usize {
    let bytes = c.n * c.w_stride;
    if bytes <= NEXT_CALL_BYTES {
        bytes
    } else {
        AHEAD_BYTES
    }
}

/// Lane-wise sums of the products of `M` rows of `x` and `R` rows of weights; asks for what lies `ahead` bytes after those.
///
/// They go to the second-level cache: requests to the first-level one keep its few slots for misses busy, and are half as fast.
///
/// # Safety
/// As [`columns`], for `M` rows of `x` and `R` rows of `w`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn products<W: Weight, const M: usize, const R: usize>(
    c: &Call,
    ahead: usize,
) -> [[__m256; R]; M] {
    let mut sums = [[_mm256_setzero_ps(); R]; M];
    let line = LINE_BYTES / W::BYTES;
    let (lines, whole) = (c.k - c.k % line, c.k - c.k % 8);
    for start in (0..lines).step_by(line) {
        for r in 0..R {
            let at = c.w.wrapping_add(r * c.w_stride + start * W::BYTES + ahead);
            _mm_prefetch::<_MM_HINT_T1>(at.cast());
        }
        for i in (start..start + line).step_by(8) {
            // SAFETY: elements `i..i + 8` are below `k`.
            unsafe { step::<W, M, R>(c, i, &mut sums) }
        }
    }
    for i in (lines..whole).step_by(8) {
        // SAFETY: elements `i..i + 8` are below `k`.
        unsafe { step::<W, M, R>(c, i, &mut sums) }
    }
    if whole < c.k {
        // SAFETY: elements from `whole` on are below `k`.
        unsafe { last_step::<W, M, R>(c, whole, &mut sums) }
    }
    sums
}

/// Adds the products of elements `i..i + 8`.
///
/// # Safety
/// As [`products`]; the elements exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn step<W: Weight, const M: usize, const R: usize>(
    c: &Call,
    i: usize,
    sums: &mut [[__m256; R]; M],
) {
    // SAFETY: elements `i..i + 8` exist in `R` rows of `w` and `M` rows of `x`, as the caller sees to.
    unsafe {
        // Whichever there are fewer of stay in registers, the others pass through one.
        if M < R {
            let mut x = [_mm256_setzero_ps(); M];
            for (row, x) in x.iter_mut().enumerate() {
                *x = _mm256_loadu_ps(c.x.add(row * c.x_stride + i));
            }
            for r in 0..R {
                let weight = W::load(c.w.add(r * c.w_stride + i * W::BYTES));
                for (x, sums) in x.iter().zip(sums.iter_mut()) {
                    sums[r] = _mm256_fmadd_ps(*x, weight, sums[r]);
                }
            }
        } else {
            let mut weights = [_mm256_setzero_ps(); R];
            for (r, weight) in weights.iter_mut().enumerate() {
                *weight = W::load(c.w.add(r * c.w_stride + i * W::BYTES));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_loadu_ps(c.x.add(row * c.x_stride + i));
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = _mm256_fmadd_ps(x, weight, *sum);
                }
            }
        }
    }
}

/// Adds the products of the last `k % 8` elements, from `i` on.
///
/// # Safety
/// As [`products`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn last_step<W: Weight, const M: usize, const R: usize>(
    c: &Call,
    i: usize,
    sums: &mut [[__m256; R]; M],
) {
    let lanes = first_lanes(c.k - i);
    for r in 0..R {
        // SAFETY: only elements `i..k` are read.
        unsafe {
            let weight = W::load_first(c.w.add(r * c.w_stride + i * W::BYTES), c.k - i);
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_maskload_ps(c.x.add(row * c.x_stride + i), lanes);
                sums[r] = _mm256_fmadd_ps(x, weight, sums[r]);
            }
        }
    }
}

//! Rows of `w` one after the other, as they lie: in [one stream](crate::kernels::stream).
//!
//! An element's sum is kept in [`CHAINS`] vectors of eight lanes, term `i` in lane `i % 32`, which are added in a fixed tree: as many
//! as hide the latency of an addition.

use std::arch::x86_64::*;

use super::super::load::{Weight, first_lanes};
use super::super::matmul::Call;
use super::add_lanes;
use crate::kernels::stream::{fetch_lines, fetch_pages};

/// Sums of an element.
const CHAINS: usize = 4;
/// Terms that are added at once.
const TERMS: usize = 8 * CHAINS;
/// Columns whose lanes are added together.
const COLUMNS: usize = 4;

/// Takes `m` rows of `x` in groups of at most three, whose sums fit into registers. Among the streams of two and more no processor found
/// that of the weights by itself.
///
/// # Safety
/// AVX2, FMA and F16C; the contract of [`crate::abi::MatmulFn`]; `m` is at most eight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) unsafe fn matmul<W: Weight, const LINES: bool>(c: &Call) {
    // SAFETY: the caller has AVX2, FMA and F16C, and the call keeps the contract of `MatmulFn`; `m` is the sum of the constants.
    unsafe {
        match c.m {
            1 if LINES => columns::<W, 1, 0, 0, true>(c),
            1 => columns::<W, 1, 0, 0, false>(c),
            2 => columns::<W, 2, 0, 0, true>(c),
            3 => columns::<W, 3, 0, 0, true>(c),
            4 => columns::<W, 2, 2, 0, true>(c),
            5 => columns::<W, 3, 2, 0, true>(c),
            6 => columns::<W, 3, 3, 0, true>(c),
            7 => columns::<W, 3, 2, 2, true>(c),
            8 => columns::<W, 3, 3, 2, true>(c),
            _ => debug_assert_eq!(c.m, 0),
        }
    }
}

/// A few columns at a time, whose weights are asked for in `LINES` or by pages, for the first `L` rows of `x`, then for the next `M` and `N` while the weights are in cache.
///
/// # Safety
/// As [`matmul`], with `m == L + M + N`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn columns<W: Weight, const L: usize, const M: usize, const N: usize, const LINES: bool>(
    c: &Call,
) {
    let (second, third) = (c.below(L), c.below(L + M));
    for col in (0..c.n).step_by(COLUMNS) {
        let n = COLUMNS.min(c.n - col);
        if !LINES {
            fetch_pages(c.w.wrapping_add(col * c.w_stride), n * c.w_stride);
        }
        // SAFETY: columns `col..col + n` are below `n`, and the call has as many rows.
        unsafe {
            block::<W, L, LINES>(c, col, n);
            block::<W, M, false>(&second, col, n);
            block::<W, N, false>(&third, col, n);
        }
    }
}

/// Computes `n` columns from `col` on, at most [`COLUMNS`].
///
/// # Safety
/// As [`columns`], for `M` rows of `x`; the columns exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn block<W: Weight, const M: usize, const LINES: bool>(c: &Call, col: usize, n: usize) {
    let mut sums = [[_mm256_setzero_ps(); COLUMNS]; M];
    // SAFETY: `M` rows of `x` and `n` rows of `w` have `k` elements, and the result has a place for each pair.
    unsafe {
        for r in 0..n {
            let products = products::<W, M, LINES>(c, c.w.add((col + r) * c.w_stride));
            for (sums, product) in sums.iter_mut().zip(products) {
                sums[r] = product;
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let out = c.out(row, col);
            for (r, sum) in add_lanes(sums).into_iter().take(n).enumerate() {
                let at = out.add(r);
                *at = if c.accumulate { *at + sum } else { sum };
            }
        }
    }
}

/// Lane-wise sums of the products of `M` rows of `x` and the row of weights at `w`.
///
/// # Safety
/// As [`columns`], for `M` rows of `x`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn products<W: Weight, const M: usize, const LINES: bool>(
    c: &Call,
    w: *const u8,
) -> [__m256; M] {
    let mut sums = [[_mm256_setzero_ps(); CHAINS]; M];
    let whole = c.k - c.k % TERMS;
    for i in (0..whole).step_by(TERMS) {
        if LINES {
            fetch_lines(w.wrapping_add(i * W::BYTES), TERMS * W::BYTES, 1);
        }
        for chain in 0..CHAINS {
            // SAFETY: elements `i..i + TERMS` are below `k`.
            unsafe { step::<W, M>(c, w, i + 8 * chain, chain, &mut sums) }
        }
    }
    for chain in 0..CHAINS {
        let i = whole + 8 * chain;
        // SAFETY: elements `i..i + 8` are below `k`, or those up to `k` are all that is read.
        unsafe {
            if i + 8 <= c.k {
                step::<W, M>(c, w, i, chain, &mut sums);
            } else if i < c.k {
                last_step::<W, M>(c, w, i, chain, &mut sums);
            }
        }
    }
    let mut all = [_mm256_setzero_ps(); M];
    for (all, [a, b, c, d]) in all.iter_mut().zip(sums) {
        *all = _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
    }
    all
}

/// Adds the products of elements `i..i + 8`.
///
/// # Safety
/// As [`products`]; the elements exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn step<W: Weight, const M: usize>(
    c: &Call,
    w: *const u8,
    i: usize,
    chain: usize,
    sums: &mut [[__m256; CHAINS]; M],
) {
    // SAFETY: elements `i..i + 8` exist in the row `w` and in `M` rows of `x`, as the caller sees to.
    unsafe {
        let weight = W::load(w.add(i * W::BYTES));
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = _mm256_loadu_ps(c.x.add(row * c.x_stride + i));
            sums[chain] = _mm256_fmadd_ps(x, weight, sums[chain]);
        }
    }
}

/// Adds the products of the last `k % 8` elements, from `i` on.
///
/// # Safety
/// As [`products`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn last_step<W: Weight, const M: usize>(
    c: &Call,
    w: *const u8,
    i: usize,
    chain: usize,
    sums: &mut [[__m256; CHAINS]; M],
) {
    let lanes = first_lanes(c.k - i);
    // SAFETY: only elements `i..k` are read.
    unsafe {
        let weight = W::load_first(w.add(i * W::BYTES), c.k - i);
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = _mm256_maskload_ps(c.x.add(row * c.x_stride + i), lanes);
            sums[chain] = _mm256_fmadd_ps(x, weight, sums[chain]);
        }
    }
}

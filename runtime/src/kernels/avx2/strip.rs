//! `out[m, n] (+)= x[m, k] · w[k, n]` for at most eight rows of `x`: strips of columns that stay in registers over rows of `w`.
//!
//! An element's terms are added one after the other, each to what is there so far, so that the sum can pause in `out`: rows
//! of `w` are taken in runs short enough that all their strips are read while the run is in cache. The first strip of a run asks
//! memory for the next run.

use std::arch::x86_64::*;

use super::load::{Weight, first_lanes};
use super::matmul::Call;
use crate::kernels::stream::ask_for;

/// Rows of `w` of a run.
const RUN: usize = 32;

/// Chooses a strip of `m` rows by so many vectors of columns.
///
/// # Safety
/// AVX2, FMA and F16C; the contract of [`crate::abi::MatmulFn`]; `m` is at most eight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels) unsafe fn matmul<W: Weight>(c: &Call) {
    // SAFETY: the caller has AVX2, FMA and F16C, and the call keeps the contract of `MatmulFn` of at most eight rows; the first constant is `m`.
    unsafe {
        match c.m {
            _ if c.k == 0 => c.empty(),
            1 => runs::<W, 1, 8>(c),
            2 => runs::<W, 2, 4>(c),
            3 => runs::<W, 3, 4>(c),
            4 => runs::<W, 4, 2>(c),
            5 => runs::<W, 5, 2>(c),
            6 => runs::<W, 6, 2>(c),
            7 => runs::<W, 7, 1>(c),
            8 => runs::<W, 8, 1>(c),
            _ => debug_assert_eq!(c.m, 0),
        }
    }
}

/// # Safety
/// As [`matmul`], with `m == M`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn runs<W: Weight, const M: usize, const V: usize>(c: &Call) {
    for start in (0..c.k).step_by(RUN) {
        let rows = RUN.min(c.k - start);
        let resume = c.accumulate || start > 0;
        let (wide, narrow) = (c.n - c.n % (8 * V), c.n - c.n % 8);
        // SAFETY: the strips are columns below `n`, the rows below `k`.
        unsafe {
            for col in (0..wide).step_by(8 * V) {
                strip::<W, M, V>(c, start, rows, col, resume);
            }
            for col in (wide..narrow).step_by(8) {
                strip::<W, M, 1>(c, start, rows, col, resume);
            }
            if narrow < c.n {
                last_strip::<W, M>(c, start, rows, narrow, resume);
            }
        }
    }
}

/// Adds the products of `rows` rows of `w` to columns `col..col + 8 V`.
///
/// # Safety
/// As [`runs`]; the rows and columns exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn strip<W: Weight, const M: usize, const V: usize>(
    c: &Call,
    start: usize,
    rows: usize,
    col: usize,
    resume: bool,
) {
    let mut sums = [[_mm256_setzero_ps(); V]; M];
    // SAFETY: `rows` rows of `w` and of `x`, and columns `col..col + 8 V` of both, exist, as the caller sees to.
    unsafe {
        if resume {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_loadu_ps(c.out(row, col + 8 * v));
                }
            }
        }
        for i in start..start + rows {
            if col == 0 {
                ask_for(c.w.wrapping_add((i + RUN) * c.w_stride), c.n * W::BYTES);
            }
            add_row::<W, M, V>(c, i, c.w.add(i * c.w_stride + col * W::BYTES), &mut sums);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                _mm256_storeu_ps(c.out(row, col + 8 * v), *sum);
            }
        }
    }
}

/// Adds the products of element `i` of each row of `x` and `V` vectors of weights at `w`.
///
/// # Safety
/// As [`strip`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_row<W: Weight, const M: usize, const V: usize>(
    c: &Call,
    i: usize,
    w: *const u8,
    sums: &mut [[__m256; V]; M],
) {
    let (mut x, mut weights) = ([_mm256_setzero_ps(); M], [_mm256_setzero_ps(); V]);
    // SAFETY: element `i` of `M` rows of `x`, and `8 V` weights at `w`, exist, as the caller sees to.
    unsafe {
        // Whichever there are fewer of stay in registers, the others pass through one.
        if M < V {
            for (row, x) in x.iter_mut().enumerate() {
                *x = _mm256_broadcast_ss(&*c.x.add(row * c.x_stride + i));
            }
            for v in 0..V {
                let weight = W::load(w.add(8 * v * W::BYTES));
                for (x, sums) in x.iter().zip(sums.iter_mut()) {
                    sums[v] = _mm256_fmadd_ps(*x, weight, sums[v]);
                }
            }
        } else {
            for (v, weight) in weights.iter_mut().enumerate() {
                *weight = W::load(w.add(8 * v * W::BYTES));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_broadcast_ss(&*c.x.add(row * c.x_stride + i));
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = _mm256_fmadd_ps(x, weight, *sum);
                }
            }
        }
    }
}

/// [`strip`] for the last `n % 8` columns, from `col` on.
///
/// # Safety
/// As [`runs`]; the rows exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn last_strip<W: Weight, const M: usize>(
    c: &Call,
    start: usize,
    rows: usize,
    col: usize,
    resume: bool,
) {
    let lanes = first_lanes(c.n - col);
    let mut sums = [_mm256_setzero_ps(); M];
    // SAFETY: the rows exist, as the caller sees to; only columns `col..n` are read and written.
    unsafe {
        if resume {
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_maskload_ps(c.out(row, col), lanes);
            }
        }
        for i in start..start + rows {
            let weight = W::load_first(c.w.add(i * c.w_stride + col * W::BYTES), c.n - col);
            for (row, sum) in sums.iter_mut().enumerate() {
                let x = _mm256_broadcast_ss(&*c.x.add(row * c.x_stride + i));
                *sum = _mm256_fmadd_ps(x, weight, *sum);
            }
        }
        for (row, sum) in sums.iter().enumerate() {
            _mm256_maskstore_ps(c.out(row, col), lanes, *sum);
        }
    }
}

//! `out[m, n] (+)= x[m, k] · w[k, n]` for at most eight rows of `x`: [`crate::kernels::avx2::strip`], twice as wide, with the same bits.

use std::arch::x86_64::*;

use super::rows::Strips;
use crate::kernels::avx2::matmul::Call;
use crate::kernels::stream::ask_for;

/// Rows of `w` that all strips read before the next ones.
const RUN: usize = 32;
/// Columns of a vector of a strip: two of sixteen.
const COLUMNS: usize = 32;

/// Chooses a strip of `m` rows by so many times [`COLUMNS`].
///
/// # Safety
/// AVX-512; the contract of [`crate::abi::MatmulFn`]; `m` is at most eight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn matmul<W: Strips>(c: &Call) {
    // SAFETY: the caller has AVX-512, and gives `m` rows of `x` and of the result; the first constant is `m`.
    unsafe {
        match c.m {
            _ if c.k == 0 => c.empty(),
            1 => runs::<W, 1, 2>(c),
            2 => runs::<W, 2, 2>(c),
            3 => runs::<W, 3, 2>(c),
            4 => runs::<W, 4, 2>(c),
            5 => runs::<W, 5, 1>(c),
            6 => runs::<W, 6, 1>(c),
            7 => runs::<W, 7, 1>(c),
            8 => runs::<W, 8, 1>(c),
            _ => debug_assert_eq!(c.m, 0),
        }
    }
}

/// # Safety
/// As [`matmul`], with `m == M`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn runs<W: Strips, const M: usize, const V: usize>(c: &Call) {
    let (wide, narrow) = (c.n - c.n % (COLUMNS * V), c.n - c.n % COLUMNS);
    for start in (0..c.k).step_by(RUN) {
        let rows = RUN.min(c.k - start);
        let resume = c.accumulate || start > 0;
        // SAFETY: the strips are columns below `n`, the rows below `k`.
        unsafe {
            for col in (0..wide).step_by(COLUMNS * V) {
                strip::<W, M, V>(c, start, rows, col, resume);
            }
            for col in (wide..narrow).step_by(COLUMNS) {
                strip::<W, M, 1>(c, start, rows, col, resume);
            }
        }
    }
    if narrow < c.n {
        // SAFETY: as the call itself.
        unsafe { W::rest(c, narrow) }
    }
}

/// Adds the products of `rows` rows of `w` to `V` times [`COLUMNS`] columns from `col` on.
///
/// # Safety
/// As [`runs`]; the rows and columns exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn strip<W: Strips, const M: usize, const V: usize>(
    c: &Call,
    start: usize,
    rows: usize,
    col: usize,
    resume: bool,
) {
    let mut sums = [[[_mm512_setzero_ps(); 2]; V]; M];
    // SAFETY: `rows` rows of `w`, as many elements of the rows of `x`, and the columns of both `w` and the result exist, as the caller sees to.
    unsafe {
        if resume {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(c.out(row, col + 16 * v));
                }
            }
        }
        for i in start..start + rows {
            let row = c.w.add(i * c.w_stride);
            if col == 0 {
                ask_for(row.wrapping_add(RUN * c.w_stride), W::bytes(c.n));
            }
            let mut weights = [[_mm512_setzero_ps(); 2]; V];
            for (v, weights) in weights.iter_mut().enumerate() {
                *weights = W::strip(row, col + COLUMNS * v);
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*c.x.add(row * c.x_stride + i));
                let weights = weights.as_flattened();
                for (sum, weight) in sums.as_flattened_mut().iter_mut().zip(weights) {
                    *sum = _mm512_fmadd_ps(x, *weight, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.as_flattened().iter().enumerate() {
                _mm512_storeu_ps(c.out(row, col + 16 * v), *sum);
            }
        }
    }
}

//! `out[m, n] (+)= x[m, k] · w[n, k]ᵀ` for at most eight rows of `x`, where [`crate::kernels::avx2::dot`] reads rows of `w` one after the other: as
//! [`crate::kernels::avx2::dot::one`], whose order of an element's terms this is, so that the bits are the same. Twice the registers,
//! twice as wide, hold the sums of several columns at once, so that each load of `x` and each conversion of a weight serves them all.

use std::arch::x86_64::*;

use super::load::Weight16;
use crate::kernels::avx2::dot::add_lanes;
use crate::kernels::avx2::dot::several::ahead;
use crate::kernels::avx2::matmul::Call;
use crate::kernels::stream::ask_for;

/// Terms that are added at once: in two vectors of an element's sums.
const TERMS: usize = 32;

/// Chooses a block: `m` rows of `x`, in one group or two, by so many rows of `w`.
///
/// # Safety
/// AVX-512; the contract of [`crate::abi::MatmulFn`]; `m` is 1 to 8.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn matmul<W: Weight16>(c: &Call) {
    // SAFETY: the caller has AVX-512, and gives `m` rows of `x` and of the result; `m` is the sum of the first two constants.
    unsafe {
        match c.m {
            1 => columns::<W, 1, 0, 4>(c),
            2 => columns::<W, 2, 0, 4>(c),
            3 => columns::<W, 3, 0, 4>(c),
            4 => columns::<W, 4, 0, 3>(c),
            5 => columns::<W, 3, 2, 4>(c),
            6 => columns::<W, 3, 3, 4>(c),
            7 => columns::<W, 4, 3, 3>(c),
            8 => columns::<W, 4, 4, 3>(c),
            _ => debug_assert!(false, "{} rows", c.m),
        }
    }
}

/// Blocks of `R` columns, as far apart as the call allows, each for the first `M` rows of `x` and then for the other `N` while the weights
/// are in cache.
///
/// # Safety
/// As [`matmul`], with `m == M + N`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn columns<W: Weight16, const M: usize, const N: usize, const R: usize>(c: &Call) {
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
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn block<W: Weight16, const M: usize, const R: usize>(c: &Call, col: usize, apart: usize) {
    let (w, ahead) = (c.w.wrapping_add(col * c.w_stride), ahead(c));
    let c = &Call {
        w_stride: apart * c.w_stride,
        ..*c
    };
    let mut sums = [[[_mm512_setzero_ps(); 2]; R]; M];
    let whole = c.k - c.k % TERMS;
    // SAFETY: `M` rows of `x` and `R` rows of `w` have `k` elements, and the result has a place for each pair.
    unsafe {
        for start in (0..whole).step_by(TERMS) {
            for r in 0..R {
                let at = w.wrapping_add(r * c.w_stride + start * W::BYTES + ahead);
                ask_for(at, TERMS * W::BYTES);
            }
            step::<W, M, R, 0>(c, w, start, &mut sums);
            step::<W, M, R, 1>(c, w, start + 16, &mut sums);
        }
        if whole < c.k {
            last_step::<W, M, R, 0>(c, w, whole, &mut sums);
        }
        if whole + 16 < c.k {
            last_step::<W, M, R, 1>(c, w, whole + 16, &mut sums);
        }
        for (row, sums) in sums.iter().enumerate() {
            let mut lanes = [_mm256_setzero_ps(); R];
            for (lanes, [a, b]) in lanes.iter_mut().zip(sums) {
                *lanes = _mm256_add_ps(halves(*a), halves(*b));
            }
            let out = c.out(row, col);
            for (r, sum) in add_lanes(&lanes).into_iter().enumerate() {
                let at = out.add(r * apart);
                *at = if c.accumulate { *at + sum } else { sum };
            }
        }
    }
}

/// Adds the products of elements `i..i + 16`.
///
/// # Safety
/// As [`block`]; the elements exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn step<W: Weight16, const M: usize, const R: usize, const HALF: usize>(
    c: &Call,
    w: *const u8,
    i: usize,
    sums: &mut [[[__m512; 2]; R]; M],
) {
    let mut weights = [_mm512_setzero_ps(); R];
    // SAFETY: elements `i..i + 16` exist in `R` rows of `w` and in all rows of `x`, as the caller sees to.
    unsafe {
        for (r, weight) in weights.iter_mut().enumerate() {
            *weight = W::load16(w.add(r * c.w_stride + i * W::BYTES));
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = _mm512_loadu_ps(c.x.add(row * c.x_stride + i));
            for (sums, weight) in sums.iter_mut().zip(weights) {
                sums[HALF] = _mm512_fmadd_ps(x, weight, sums[HALF]);
            }
        }
    }
}

/// Adds the products of the last elements from `i` on, at most 16. Terms that fill up the last eight are zeros that are added, as with
/// vectors of eight: that makes a sum of −0 one of 0.
///
/// # Safety
/// As [`block`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn last_step<W: Weight16, const M: usize, const R: usize, const HALF: usize>(
    c: &Call,
    w: *const u8,
    i: usize,
    sums: &mut [[[__m512; 2]; R]; M],
) {
    let n = (c.k - i).min(16);
    let mask = |n: usize| (u32::MAX >> (32 - n)) as __mmask16;
    let (there, added) = (mask(n), mask(n.next_multiple_of(8)));
    for r in 0..R {
        // SAFETY: only elements `i..i + n` are read.
        unsafe {
            let weight = W::load_first16(w.add(r * c.w_stride + i * W::BYTES), there);
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_maskz_loadu_ps(there, c.x.add(row * c.x_stride + i));
                sums[r][HALF] = _mm512_mask3_fmadd_ps(x, weight, sums[r][HALF], added);
            }
        }
    }
}

/// The sum of a vector's halves.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
fn halves(v: __m512) -> __m256 {
    let upper = _mm256_castsi256_ps(_mm512_extracti64x4_epi64::<1>(_mm512_castps_si512(v)));
    _mm256_add_ps(_mm512_castps512_ps256(v), upper)
}

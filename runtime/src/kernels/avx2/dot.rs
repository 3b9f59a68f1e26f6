//! `out[m, n] (+)= x[m, k] · w[n, k]ᵀ` for at most eight rows of `x`: dot products along `k`, each weight read once.
//!
//! An element's sum is kept in eight lanes, term `i` in lane `i % 8`, and the lanes are added in a fixed tree, so that any
//! number of rows and columns can be in flight at once: as many as hide the latency of an addition and leave registers free.

use std::arch::x86_64::*;

use super::load::{Weight, first_lanes};
use super::matmul::Call;

const LINE_BYTES: usize = 64;
/// How far ahead of use weights are fetched, at least: the time from a request to memory until its answer, several times over.
/// They go to the second-level cache, since requests to the first-level one keep its few slots for misses busy: half as fast.
const AHEAD_BYTES: usize = 16 * 1024;

/// Chooses a block: `m` rows of `x`, in one group or two, by so many rows of `w`.
///
/// # Safety
/// AVX2, FMA and F16C; the contract of [`crate::abi::MatmulFn`]; `m` is at most eight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn matmul<W: Weight>(c: &Call) {
    // SAFETY: the caller's promise, and `m` is the sum of the first two constants.
    unsafe {
        match c.m {
            1 => columns::<W, 1, 0, 4>(c),
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
    let others = Call {
        x: c.x.wrapping_add(M * c.x_stride),
        out: c.out.wrapping_add(M * c.out_stride),
        ..*c
    };
    let whole = c.n - c.n % R;
    for col in (0..whole).step_by(R) {
        // SAFETY: columns `col..col + R` are below `n`.
        unsafe {
            block::<W, M, R>(c, col);
            block::<W, N, R>(&others, col);
        }
    }
    for col in whole..c.n {
        // SAFETY: `col` is below `n`.
        unsafe {
            block::<W, M, 1>(c, col);
            block::<W, N, 1>(&others, col);
        }
    }
}

/// Computes columns `col..col + R`.
///
/// # Safety
/// As [`columns`]; the columns exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn block<W: Weight, const M: usize, const R: usize>(c: &Call, col: usize) {
    // SAFETY: `M` rows of `x` and rows `col..col + R` of `w` have `k` elements, and the result has a place for each pair.
    unsafe {
        let sums = products::<W, M, R>(c, c.w.add(col * c.w_stride));
        for (row, sums) in sums.iter().enumerate() {
            let out = c.out(row, col);
            for (r, sum) in add_lanes(sums).into_iter().enumerate() {
                let old = if c.accumulate { *out.add(r) } else { 0.0 };
                *out.add(r) = old + sum;
            }
        }
    }
}

/// Lane-wise sums of the products of `M` rows of `x` and `R` rows of weights from `w` on.
///
/// # Safety
/// As [`columns`]; `R` rows from `w` on are readable.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn products<W: Weight, const M: usize, const R: usize>(
    c: &Call,
    w: *const u8,
) -> [[__m256; R]; M] {
    let mut sums = [[_mm256_setzero_ps(); R]; M];
    let line = LINE_BYTES / W::BYTES;
    let (lines, whole) = (c.k - c.k % line, c.k - c.k % 8);
    // Whole blocks ahead, whose lines are asked for in the order of their addresses, although they will be read row beside
    // row: that is what the processor's own prefetcher goes along with.
    let block_bytes = (R * c.w_stride).max(LINE_BYTES);
    let mut ahead = w.wrapping_add(AHEAD_BYTES.next_multiple_of(block_bytes));
    for start in (0..lines).step_by(line) {
        for _ in 0..R {
            _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            ahead = ahead.wrapping_add(LINE_BYTES);
        }
        for i in (start..start + line).step_by(8) {
            // SAFETY: elements `i..i + 8` are below `k`.
            unsafe { step::<W, M, R>(c, w, i, &mut sums) }
        }
    }
    for i in (lines..whole).step_by(8) {
        // SAFETY: elements `i..i + 8` are below `k`.
        unsafe { step::<W, M, R>(c, w, i, &mut sums) }
    }
    if whole < c.k {
        // SAFETY: elements from `whole` on are below `k`.
        unsafe { last_step::<W, M, R>(c, w, whole, &mut sums) }
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
    w: *const u8,
    i: usize,
    sums: &mut [[__m256; R]; M],
) {
    // SAFETY: the caller's promise.
    unsafe {
        // Whichever there are fewer of stay in registers, the others pass through one.
        if M < R {
            let mut x = [_mm256_setzero_ps(); M];
            for (row, x) in x.iter_mut().enumerate() {
                *x = _mm256_loadu_ps(c.x.add(row * c.x_stride + i));
            }
            for r in 0..R {
                let weight = W::load(w.add(r * c.w_stride + i * W::BYTES));
                for (x, sums) in x.iter().zip(sums.iter_mut()) {
                    sums[r] = _mm256_fmadd_ps(*x, weight, sums[r]);
                }
            }
        } else {
            let mut weights = [_mm256_setzero_ps(); R];
            for (r, weight) in weights.iter_mut().enumerate() {
                *weight = W::load(w.add(r * c.w_stride + i * W::BYTES));
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
    w: *const u8,
    i: usize,
    sums: &mut [[__m256; R]; M],
) {
    let lanes = first_lanes(c.k - i);
    for r in 0..R {
        // SAFETY: only elements `i..k` are read.
        unsafe {
            let weight = W::load_first(w.add(r * c.w_stride + i * W::BYTES), c.k - i);
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_maskload_ps(c.x.add(row * c.x_stride + i), lanes);
                sums[r] = _mm256_fmadd_ps(x, weight, sums[r]);
            }
        }
    }
}

/// The sum of each vector's lanes: `((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_lanes<const R: usize>(v: &[__m256; R]) -> [f32; R] {
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
pub(super) fn sum(v: __m256) -> f32 {
    let [sum] = add_lanes(&[v]);
    sum
}

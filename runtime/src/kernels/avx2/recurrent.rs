//! The gated delta rule: strips of columns, each of which stays in cache while all tokens pass over it.

use std::arch::x86_64::*;

use super::load::first_lanes;
use crate::abi::DeltaRun;

/// Vectors of a strip: sums beside each other hide an addition's latency, and still leave room for what is added.
const STRIP: usize = 4;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn delta_rule(run: *const DeltaRun) {
    // SAFETY: the caller gives a run.
    let run = unsafe { &*run };
    // SAFETY: the caller has the instructions, and gives a run.
    unsafe {
        match run.corrects {
            0 => strips::<false>(run),
            _ => strips::<true>(run),
        }
    }
}

/// All columns.
///
/// # Safety
/// AVX2, FMA and F16C; a run as [`DeltaRun`] describes it.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn strips<const CORRECTS: bool>(run: &DeltaRun) {
    let all = first_lanes(8);
    let mut column = 0;
    // SAFETY: each strip ends at or before the last column, the last one by its mask.
    unsafe {
        while column + 8 * STRIP <= run.columns {
            strip::<STRIP, true, CORRECTS>(run, column, all);
            column += 8 * STRIP;
        }
        while column + 8 <= run.columns {
            strip::<1, true, CORRECTS>(run, column, all);
            column += 8;
        }
        if column < run.columns {
            strip::<1, false, CORRECTS>(run, column, first_lanes(run.columns - column));
        }
    }
}

/// All tokens' steps of `V` vectors of columns, or of the first `lanes` of one.
///
/// # Safety
/// AVX2, FMA and F16C; a run as [`DeltaRun`] describes it, which has these columns.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn strip<const V: usize, const WHOLE: bool, const CORRECTS: bool>(
    run: &DeltaRun,
    column: usize,
    lanes: __m256i,
) {
    // SAFETY: rows are below `run.rows`, tokens below `run.tokens`, columns inside the strip.
    unsafe {
        let state = run.state.add(column);
        for t in 0..run.tokens {
            let (q, k) = (run.q.add(t * run.q_stride), run.k.add(t * run.k_stride));
            let decay = run.decay.add(t * run.decay_stride);
            let step = usize::from(run.decays > 1);
            let mut found = [_mm256_setzero_ps(); V];
            for i in 0..if CORRECTS { run.rows } else { 0 } {
                let by = _mm256_set1_ps(*k.add(i) * *decay.add(i * step));
                let row = state.add(i * run.columns);
                for (j, found) in found.iter_mut().enumerate() {
                    *found = _mm256_fmadd_ps(load::<WHOLE>(row.add(8 * j), lanes), by, *found);
                }
            }
            let beta = _mm256_set1_ps(*run.beta.add(t * run.beta_stride));
            let values = run.v.add(t * run.v_stride + column);
            for (j, found) in found.iter_mut().enumerate() {
                let off = _mm256_sub_ps(load::<WHOLE>(values.add(8 * j), lanes), *found);
                *found = _mm256_mul_ps(off, beta);
            }
            let change = found;
            let mut sums = [_mm256_setzero_ps(); V];
            for i in 0..run.rows {
                let (q, k) = (_mm256_set1_ps(*q.add(i)), _mm256_set1_ps(*k.add(i)));
                let decay = _mm256_set1_ps(*decay.add(i * step));
                let row = state.add(i * run.columns);
                for (j, sum) in sums.iter_mut().enumerate() {
                    let at = row.add(8 * j);
                    let kept = _mm256_mul_ps(load::<WHOLE>(at, lanes), decay);
                    let new = _mm256_fmadd_ps(k, change[j], kept);
                    store::<WHOLE>(at, lanes, new);
                    *sum = _mm256_fmadd_ps(new, q, *sum);
                }
            }
            let (out, scale) = (
                run.out.add(t * run.out_stride + column),
                _mm256_set1_ps(run.scale),
            );
            for (j, sum) in sums.iter().enumerate() {
                store::<WHOLE>(out.add(8 * j), lanes, _mm256_mul_ps(*sum, scale));
            }
        }
    }
}

/// # Safety
/// AVX2; `p` is readable for eight elements, or for those that `lanes` names.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load<const WHOLE: bool>(p: *const f32, lanes: __m256i) -> __m256 {
    // SAFETY: the caller gives what is read.
    unsafe {
        match WHOLE {
            true => _mm256_loadu_ps(p),
            false => _mm256_maskload_ps(p, lanes),
        }
    }
}

/// # Safety
/// AVX2; `p` is writable for eight elements, or for those that `lanes` names.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn store<const WHOLE: bool>(p: *mut f32, lanes: __m256i, v: __m256) {
    // SAFETY: the caller gives what is written.
    unsafe {
        match WHOLE {
            true => _mm256_storeu_ps(p, v),
            false => _mm256_maskstore_ps(p, lanes, v),
        }
    }
}

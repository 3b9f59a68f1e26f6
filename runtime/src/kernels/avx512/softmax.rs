//! One block of an online softmax, as [`crate::kernels::avx2`] has it, in vectors of 512 bits and with exponents scaled by one instruction.

use std::arch::x86_64::*;

use super::load::first_lanes;
use crate::kernels::avx2::math::{EXP, LN_2};

/// Scores in a vector.
const LANES: usize = 16;

/// [`crate::abi::KernelTable::softmax_block`].
#[target_feature(enable = "avx512f")]
pub(super) unsafe extern "C" fn softmax_block(
    x: *mut f32,
    n: usize,
    scale: f32,
    state: *mut f32,
) -> f32 {
    // SAFETY: the caller gives `n` scores and a state of two values.
    unsafe {
        let state = &mut *state.cast::<[f32; 2]>();
        let [m_old, l_old] = *state;
        let m = maximum(x, n, scale, m_old);
        if m == f32::NEG_INFINITY {
            // Every score so far is masked: no −∞ − (−∞) may arise.
            x.write_bytes(0, n);
            return 0.0;
        }
        let factor = _mm512_cvtss_f32(exp(_mm512_set1_ps(m_old - m)));
        *state = [m, l_old * factor + exponentials(x, n, scale, m)];
        factor
    }
}

/// The largest of `m` and `scale · x[i]`.
///
/// # Safety
/// AVX-512; `x` is readable for `n` elements.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn maximum(x: *const f32, n: usize, scale: f32, m: f32) -> f32 {
    let (scale, m) = (_mm512_set1_ps(scale), _mm512_set1_ps(m));
    let mut most = [m; 2];
    for i in (0..n).step_by(LANES) {
        let mask = first_lanes(n - i);
        // SAFETY: only lanes in the mask are read.
        let x = unsafe { _mm512_maskz_loadu_ps(mask, x.add(i)) };
        let so_far = &mut most[i / LANES % 2];
        *so_far = _mm512_mask_max_ps(*so_far, mask, *so_far, _mm512_mul_ps(x, scale));
    }
    _mm512_reduce_max_ps(_mm512_max_ps(most[0], most[1]))
}

/// `x[i] = exp(scale · x[i] − m)`; returns the sum.
///
/// # Safety
/// AVX-512; `x` is readable and writable for `n` elements.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn exponentials(x: *mut f32, n: usize, scale: f32, m: f32) -> f32 {
    let (scale, m) = (_mm512_set1_ps(scale), _mm512_set1_ps(m));
    let mut sum = _mm512_setzero_ps();
    for i in (0..n).step_by(LANES) {
        let mask = first_lanes(n - i);
        // SAFETY: only lanes in the mask are read and written.
        unsafe {
            let score = _mm512_maskz_loadu_ps(mask, x.add(i));
            let e = exp(_mm512_fmsub_ps(score, scale, m));
            _mm512_mask_storeu_ps(x.add(i), mask, e);
            sum = _mm512_mask_add_ps(sum, mask, sum, e);
        }
    }
    _mm512_reduce_add_ps(sum)
}

/// `eˣ` of numbers that are not positive, gradually to zero below the normal range: [`crate::kernels::avx2`]'s polynomial. `NaN` stays.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp(x: __m512) -> __m512 {
    // The constant goes first: where an operand is NaN this returns the second.
    let x = _mm512_max_ps(_mm512_set1_ps(-105.0), x);
    let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(
        _mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E)),
    );
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2[0]), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2[1]), r);
    let [rest @ .., last] = EXP;
    let mut p = _mm512_set1_ps(last);
    for c in rest.iter().rev() {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(*c));
    }
    let p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r);
    _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0)), n)
}

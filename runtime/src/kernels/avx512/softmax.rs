//! The passes over a block of an online softmax in vectors of 512 bits, with exponents scaled by one instruction. Terms are summed in the order of
//! [`crate::kernels::avx2::softmax`], so that the bits are the same where no exponential is below the normal range.

use std::arch::x86_64::*;

use super::load::first_lanes;
use crate::kernels::avx2::dot;
use crate::kernels::avx2::math::{EXP, LN_2};
use crate::kernels::avx2::softmax::Passes;

/// Scores in a vector.
const LANES: usize = 16;

/// Sixteen scores at a time.
pub(super) struct Wide;

impl Passes for Wide {
    #[target_feature(enable = "avx2,fma,f16c,avx512f")]
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

    #[target_feature(enable = "avx2,fma,f16c,avx512f")]
    unsafe fn exponentials(x: *mut f32, n: usize, scale: f32, m: f32) -> f32 {
        let (scale, m) = (_mm512_set1_ps(scale), _mm512_set1_ps(m));
        let mut sum = _mm256_setzero_ps();
        for i in (0..n).step_by(LANES) {
            let mask = first_lanes(n - i);
            // SAFETY: only lanes in the mask are read and written.
            let e = unsafe {
                let scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x.add(i)), scale);
                let e = exp(_mm512_sub_ps(scaled, m));
                _mm512_mask_storeu_ps(x.add(i), mask, e);
                _mm512_castps_pd(_mm512_maskz_mov_ps(mask, e))
            };
            for half in [_mm512_castpd512_pd256(e), _mm512_extractf64x4_pd::<1>(e)] {
                sum = _mm256_add_ps(sum, _mm256_castpd_ps(half));
            }
        }
        dot::sum(sum)
    }
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

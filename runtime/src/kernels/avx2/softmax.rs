//! One block of an online softmax.

use std::arch::x86_64::*;

use super::load::first_lanes;
use super::{dot, math};

/// The two passes over a block.
pub(in crate::kernels) trait Passes {
    /// The largest of `m` and `scale · x[i]`.
    ///
    /// # Safety
    /// The processor has the instructions; `x` is readable for `n` elements.
    unsafe fn maximum(x: *const f32, n: usize, scale: f32, m: f32) -> f32;

    /// `x[i] = exp(scale · x[i] − m)`; returns the sum. Neither depends on the width of vectors.
    ///
    /// # Safety
    /// The processor has the instructions; `x` is readable and writable for `n` elements.
    unsafe fn exponentials(x: *mut f32, n: usize, scale: f32, m: f32) -> f32;
}

/// [`crate::abi::KernelTable::softmax_block`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels) unsafe extern "C" fn softmax_block<P: Passes>(
    x: *mut f32,
    n: usize,
    scale: f32,
    state: *mut f32,
) -> f32 {
    // SAFETY: the caller gives `n` scores and a state of two values.
    unsafe {
        let state = &mut *state.cast::<[f32; 2]>();
        let [m_old, l_old] = *state;
        let m = P::maximum(x, n, scale, m_old);
        if m == f32::NEG_INFINITY {
            // Every score so far is masked: no −∞ − (−∞) may arise.
            x.write_bytes(0, n);
            return 0.0;
        }
        let factor = _mm256_cvtss_f32(math::exp(_mm256_set1_ps(m_old - m)));
        *state = [m, l_old * factor + P::exponentials(x, n, scale, m)];
        factor
    }
}

/// Eight scores at a time.
pub(super) struct Narrow;

impl Passes for Narrow {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn maximum(x: *const f32, n: usize, scale: f32, m: f32) -> f32 {
        let (scale, m) = (_mm256_set1_ps(scale), _mm256_set1_ps(m));
        let mut most = [m; 2];
        let whole = n - n % 8;
        for i in (0..whole).step_by(8) {
            // SAFETY: elements `i..i + 8` are among the `n`.
            let scaled = _mm256_mul_ps(unsafe { _mm256_loadu_ps(x.add(i)) }, scale);
            most[i / 8 % 2] = _mm256_max_ps(most[i / 8 % 2], scaled);
        }
        let lanes = first_lanes(n - whole);
        // SAFETY: lanes from `n - whole` on are not read.
        let scaled = _mm256_mul_ps(unsafe { _mm256_maskload_ps(x.add(whole), lanes) }, scale);
        let rest = _mm256_blendv_ps(m, scaled, _mm256_castsi256_ps(lanes));
        let most = _mm256_max_ps(_mm256_max_ps(most[0], most[1]), rest);
        let most = _mm_max_ps(
            _mm256_castps256_ps128(most),
            _mm256_extractf128_ps::<1>(most),
        );
        let most = _mm_max_ps(most, _mm_movehl_ps(most, most));
        _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)))
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn exponentials(x: *mut f32, n: usize, scale: f32, m: f32) -> f32 {
        let (scale, m) = (_mm256_set1_ps(scale), _mm256_set1_ps(m));
        let exp = |v| math::exp(_mm256_sub_ps(_mm256_mul_ps(v, scale), m));
        let mut sum = _mm256_setzero_ps();
        let whole = n - n % 8;
        for i in (0..whole).step_by(8) {
            // SAFETY: elements `i..i + 8` are among the `n`.
            unsafe {
                let e = exp(_mm256_loadu_ps(x.add(i)));
                _mm256_storeu_ps(x.add(i), e);
                sum = _mm256_add_ps(sum, e);
            }
        }
        let lanes = first_lanes(n - whole);
        // SAFETY: only lanes that are among the `n` elements are read and written.
        unsafe {
            let e = exp(_mm256_maskload_ps(x.add(whole), lanes));
            _mm256_maskstore_ps(x.add(whole), lanes, e);
            sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(lanes)));
        }
        dot::sum(sum)
    }
}

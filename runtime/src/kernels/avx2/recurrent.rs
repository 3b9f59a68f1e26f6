//! The gated delta rule, eight columns at a time.

use std::arch::x86_64::*;

use super::load::first_lanes;
use crate::abi::DeltaRun;
use crate::kernels::recurrent::{self, Vector};

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe extern "C" fn delta_rule(run: *const DeltaRun) {
    // SAFETY: the caller has the instructions, and gives a run.
    unsafe { recurrent::delta_rule::<__m256, 4>(&*run) }
}

impl Vector for __m256 {
    const LANES: usize = 8;
    type Mask = __m256i;

    #[inline(always)]
    unsafe fn first(columns: usize) -> __m256i {
        // SAFETY: the caller has the instructions.
        unsafe { first_lanes(columns) }
    }

    #[inline(always)]
    unsafe fn all(value: f32) -> __m256 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn times(self, by: __m256) -> __m256 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_mul_ps(self, by) }
    }

    #[inline(always)]
    unsafe fn minus(self, other: __m256) -> __m256 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn times_plus(self, by: __m256, more: __m256) -> __m256 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_fmadd_ps(self, by, more) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32, mask: Option<__m256i>) -> __m256 {
        // SAFETY: the caller gives what is read.
        unsafe {
            match mask {
                None => _mm256_loadu_ps(from),
                Some(mask) => _mm256_maskload_ps(from, mask),
            }
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, mask: Option<__m256i>) {
        // SAFETY: the caller gives what is written.
        unsafe {
            match mask {
                None => _mm256_storeu_ps(to, self),
                Some(mask) => _mm256_maskstore_ps(to, mask, self),
            }
        }
    }
}

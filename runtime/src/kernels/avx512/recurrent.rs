//! The gated delta rule, sixteen columns at a time.

use std::arch::x86_64::*;

use super::load::first_lanes;
use crate::abi::{DeltaRuleFn, DeltaRun};
use crate::kernels::choices::has_large_first_level;
use crate::kernels::recurrent::{self, Vector};

/// The kernel for this processor's first-level cache: a strip of four vectors and 128 rows takes 32 KiB.
pub(super) fn for_cache() -> DeltaRuleFn {
    match has_large_first_level() {
        true => delta_rule::<4>,
        false => delta_rule::<2>,
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe extern "C" fn delta_rule<const STRIP: usize>(run: *const DeltaRun) {
    // SAFETY: the caller has the instructions, and gives a run.
    unsafe { recurrent::delta_rule::<__m512, STRIP>(&*run) }
}

impl Vector for __m512 {
    const LANES: usize = 16;
    type Mask = __mmask16;

    #[inline(always)]
    unsafe fn first(columns: usize) -> __mmask16 {
        first_lanes(columns)
    }

    #[inline(always)]
    unsafe fn all(value: f32) -> __m512 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn times(self, by: __m512) -> __m512 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_mul_ps(self, by) }
    }

    #[inline(always)]
    unsafe fn minus(self, other: __m512) -> __m512 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn times_plus(self, by: __m512, more: __m512) -> __m512 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_fmadd_ps(self, by, more) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32, mask: Option<__mmask16>) -> __m512 {
        // SAFETY: the caller gives what is read.
        unsafe {
            match mask {
                None => _mm512_loadu_ps(from),
                Some(mask) => _mm512_maskz_loadu_ps(mask, from),
            }
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, mask: Option<__mmask16>) {
        // SAFETY: the caller gives what is written.
        unsafe {
            match mask {
                None => _mm512_storeu_ps(to, self),
                Some(mask) => _mm512_mask_storeu_ps(to, mask, self),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// State and results of a head with 100 columns, whose strips are of four vectors or two, of one, and of a part of one.
    fn run(kernel: DeltaRuleFn, corrects: u32) -> Vec<u32> {
        let (rows, columns, tokens) = (19, 100, 7);
        let number = |i: usize| (i * 37 % 101) as f32 / 101.0 - 0.5;
        let numbers = |n: usize| (0..n).map(number).collect::<Vec<_>>();
        let (keys, values, factors) = (
            numbers(tokens * rows),
            numbers(tokens * columns),
            numbers(tokens),
        );
        let (mut state, mut out) = (numbers(rows * columns), vec![0.0; tokens * columns]);
        let run = DeltaRun {
            state: state.as_mut_ptr(),
            rows,
            columns,
            tokens,
            q: keys.as_ptr(),
            q_stride: rows,
            k: keys.as_ptr(),
            k_stride: rows,
            v: values.as_ptr(),
            v_stride: columns,
            decay: factors.as_ptr(),
            decay_stride: 1,
            decays: 1,
            beta: factors.as_ptr(),
            beta_stride: 1,
            out: out.as_mut_ptr(),
            out_stride: columns,
            scale: 0.5,
            corrects,
        };
        // SAFETY: the arrays have the sizes that the run says, and the processor the instructions.
        unsafe { kernel(&run) };
        state.iter().chain(&out).map(|v| v.to_bits()).collect()
    }

    #[test]
    fn strips_of_any_width_give_the_same_bits() {
        if !super::super::usable() {
            return;
        }
        for corrects in [0, 1] {
            assert_eq!(
                run(delta_rule::<2>, corrects),
                run(delta_rule::<4>, corrects)
            );
        }
    }
}

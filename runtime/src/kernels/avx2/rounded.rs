//! Products of `x` rounded to bf16 with bf16 weights: those of f32, whose `x` is rounded first.

use half::bf16;

use super::dot;
use super::load::Bf16;
use super::matmul::{Call, Kernel};
use super::tile::{self, Narrow};
use crate::abi::{DECODE_TOKENS, MATMUL_SCRATCH};
use crate::kernels::scalar_table;

/// Elements that scratch has room for.
const ROOM: usize = MATMUL_SCRATCH / size_of::<f32>();

/// Weights `[n, k]`.
pub(super) struct Rounded;

impl Kernel for Rounded {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn run(c: &Call) {
        // SAFETY: the caller keeps the contract of `MatmulFn`.
        unsafe {
            match c.m {
                0..=DECODE_TOKENS => few(c),
                _ => tile::matmul::<Bf16, Narrow<true>>(c),
            }
        }
    }
}

/// Up to eight rows, which are rounded in scratch, as many at a time as it has room for.
///
/// # Safety
/// AVX2, FMA and F16C; the contract of [`crate::abi::MatmulFn`]; `m` is at most eight.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels) unsafe fn few(c: &Call) {
    let Some(most) = ROOM.checked_div(c.k).filter(|most| *most > 0) else {
        // SAFETY: the caller keeps the contract of `MatmulFn`.
        return unsafe { scalar(c) };
    };
    for first in (0..c.m).step_by(most) {
        let mut some = c.below(first);
        some.m = most.min(c.m - first);
        // SAFETY: these rows of `x` and of the result exist; scratch has room for as many of `k`.
        unsafe {
            let to = std::slice::from_raw_parts_mut(c.scratch.cast::<f32>(), some.m * c.k);
            for (row, to) in to.chunks_exact_mut(c.k).enumerate() {
                let x = std::slice::from_raw_parts(some.x.add(row * c.x_stride), c.k);
                for (to, x) in to.iter_mut().zip(x) {
                    *to = bf16::from_f32(*x).to_f32();
                }
            }
            (some.x, some.x_stride) = (c.scratch.cast(), c.k);
            dot::matmul::<Bf16, false>(&some);
        }
    }
}

/// Rows longer than scratch, and those of nothing.
///
/// # Safety
/// As [`few`].
unsafe fn scalar(c: &Call) {
    // SAFETY: the call is handed on.
    unsafe {
        (scalar_table().matmul_bf16_rounded)(
            c.x,
            c.x_stride,
            c.m,
            c.w,
            c.w_stride,
            c.n,
            c.k,
            c.out,
            c.out_stride,
            usize::from(c.accumulate),
            c.arranged,
            c.scratch,
        );
    }
}

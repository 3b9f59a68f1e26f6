//! The float matmuls: which of the kernels here and of those for AVX2 runs.

use super::load::Weight16;
use super::{dot, tile};
use crate::abi::DECODE_TOKENS;
use crate::kernels::avx2;
use crate::kernels::avx2::load::Weight;
use crate::kernels::avx2::matmul::Call;
use crate::kernels::avx2::panel::Transpose;

/// Weights `[n, k]`: as for AVX2, in the same order of an element's terms.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) unsafe extern "C" fn matmul<
    W: Transpose + Weight16,
    const LINES: bool,
    const WIDE: bool,
>(
    x: *const f32,
    x_stride: usize,
    m: usize,
    w: *const u8,
    w_stride: usize,
    n: usize,
    k: usize,
    out: *mut f32,
    out_stride: usize,
    accumulate: usize,
    scratch: *mut u8,
) {
    let call = Call {
        x,
        x_stride,
        m,
        w,
        w_stride,
        n,
        k,
        out,
        out_stride,
        accumulate: accumulate != 0,
        scratch,
    };
    // SAFETY: the caller keeps the contract of `MatmulFn`.
    unsafe {
        match m {
            2..=DECODE_TOKENS if avx2::dot::is_one_stream(k, W::BYTES) => dot::matmul::<W>(&call),
            0..=DECODE_TOKENS => avx2::dot::matmul::<W, LINES>(&call),
            _ if WIDE => avx2::tile::matmul::<W, tile::Wide>(&call),
            _ => avx2::tile::matmul::<W, avx2::tile::Narrow<false>>(&call),
        }
    }
}

/// Weights `[k, n]`, in wide tiles.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
pub(super) unsafe extern "C" fn matmul_kn<W: Weight>(
    x: *const f32,
    x_stride: usize,
    m: usize,
    w: *const u8,
    w_stride: usize,
    n: usize,
    k: usize,
    out: *mut f32,
    out_stride: usize,
    accumulate: usize,
    scratch: *mut u8,
) {
    let call = Call {
        x,
        x_stride,
        m,
        w,
        w_stride,
        n,
        k,
        out,
        out_stride,
        accumulate: accumulate != 0,
        scratch,
    };
    // SAFETY: the caller keeps the contract of `MatmulFn`.
    unsafe {
        match m {
            0..=DECODE_TOKENS => avx2::strip::matmul::<W>(&call),
            _ => avx2::tile::matmul_kn::<W, tile::Wide>(&call),
        }
    }
}

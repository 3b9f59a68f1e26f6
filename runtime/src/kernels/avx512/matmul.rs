//! The float matmuls: which of the kernels here and of those for AVX2 runs.

use std::marker::PhantomData;

use super::load::Weight16;
use super::rows::CacheQ8;
use super::{dot, short, strip, tile};
use crate::abi::DECODE_TOKENS;
use crate::kernels::avx2;
use crate::kernels::avx2::matmul::{Call, Kernel};
use crate::kernels::avx2::panel::Transpose;

/// Bytes of a call's weights from which on one row of activations, too, reads them in several streams where lines are asked for. In large
/// pages one stream is as fast, in small ones a tenth slower.
const LONG_BYTES: usize = 256 << 10;

/// Weights `[n, k]`: as for AVX2, in the same order of an element's terms.
pub(in crate::kernels) struct Rows<W, const LINES: bool, const WIDE: bool>(PhantomData<W>);
/// Weights `[k, n]`: likewise.
pub(in crate::kernels) struct Columns<W, const WIDE: bool>(PhantomData<W>);
/// Cached integers `[n, k]`.
pub(super) struct CachedRows;
/// Cached integers `[k, n]`.
pub(super) struct CachedColumns;

impl<W: Transpose + Weight16, const LINES: bool, const WIDE: bool> Kernel for Rows<W, LINES, WIDE> {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn run(c: &Call) {
        // SAFETY: the caller keeps the contract of `MatmulFn`.
        unsafe {
            match c.m {
                1..=DECODE_TOKENS
                    if avx2::dot::is_one_stream(c.k, W::BYTES)
                        && (c.m > 1 || LINES && c.n * c.w_stride >= LONG_BYTES) =>
                {
                    dot::matmul::<W>(c);
                }
                0..=DECODE_TOKENS if avx2::dot::is_short(c.k, W::BYTES) => short::matmul::<W>(c),
                0..=DECODE_TOKENS => avx2::dot::matmul::<W, LINES>(c),
                _ if WIDE => avx2::tile::matmul::<W, tile::Wide>(c),
                _ => avx2::tile::matmul::<W, avx2::tile::Narrow<false>>(c),
            }
        }
    }
}

impl<W: Weight16, const WIDE: bool> Kernel for Columns<W, WIDE> {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn run(c: &Call) {
        // SAFETY: the caller keeps the contract of `MatmulFn`.
        unsafe {
            match c.m {
                0..=DECODE_TOKENS => strip::matmul::<W>(c),
                _ if WIDE => avx2::tile::matmul_kn::<W, tile::Wide>(c),
                _ => avx2::tile::matmul_kn::<W, avx2::tile::Narrow<false>>(c),
            }
        }
    }
}

impl Kernel for CachedRows {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn run(c: &Call) {
        c.by_few(|c| {
            // SAFETY: the caller keeps the contract of `MatmulFn`, of rows in whole groups.
            unsafe { short::matmul::<CacheQ8>(c) }
        });
    }
}

impl Kernel for CachedColumns {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn run(c: &Call) {
        c.by_few(|c| {
            // SAFETY: the caller keeps the contract of `MatmulFn`, of rows in whole groups.
            unsafe { strip::matmul::<CacheQ8>(c) }
        });
    }
}

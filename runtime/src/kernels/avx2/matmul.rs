//! The float matmuls: `out[m, n] (+)= x[m, k] · w[n, k]ᵀ`, or `· w[k, n]`.
//!
//! Up to [`DECODE_TOKENS`] rows the weights are read once, straight into registers; more rows pay for making panels of
//! them in cache. In either case an element's sum is taken in an order that depends on `k` alone.

use std::marker::PhantomData;

use super::load::Weight;
use super::panel::Transpose;
use super::{dot, strip, tile};
use crate::abi::DECODE_TOKENS;

/// The arguments of a [`crate::abi::MatmulFn`].
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Call {
    pub(in crate::kernels) x: *const f32,
    /// Elements.
    pub(in crate::kernels) x_stride: usize,
    pub(in crate::kernels) m: usize,
    pub(in crate::kernels) w: *const u8,
    /// Bytes.
    pub(in crate::kernels) w_stride: usize,
    pub(in crate::kernels) n: usize,
    pub(in crate::kernels) k: usize,
    pub(in crate::kernels) out: *mut f32,
    /// Elements.
    pub(in crate::kernels) out_stride: usize,
    pub(in crate::kernels) accumulate: bool,
    pub(in crate::kernels) arranged: *const u8,
    pub(in crate::kernels) scratch: *mut u8,
}

/// A kernel of products of floats.
pub(in crate::kernels) trait Kernel {
    /// Makes all of the result.
    ///
    /// # Safety
    /// The processor has the instructions; the contract of [`crate::abi::MatmulFn`].
    unsafe fn run(c: &Call);
}

/// [`crate::abi::MatmulFn`].
pub(in crate::kernels) unsafe extern "C" fn matmul<K: Kernel>(
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
    arranged: *const u8,
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
        arranged,
        scratch,
    };
    // SAFETY: the table that holds this function is only used where the instructions are there, and `call` holds what the caller gives by the contract of `MatmulFn`.
    unsafe { K::run(&call) }
}

/// Weights `[n, k]`; those that are read once, one row after the other, are asked for in `LINES` or by pages.
pub(super) struct Rows<W, const LINES: bool>(PhantomData<W>);
/// Weights `[k, n]`.
pub(super) struct Columns<W>(PhantomData<W>);

impl<W: Transpose, const LINES: bool> Kernel for Rows<W, LINES> {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn run(c: &Call) {
        // SAFETY: the caller keeps the contract of `MatmulFn`.
        unsafe {
            match c.m {
                0..=DECODE_TOKENS => dot::matmul::<W, LINES>(c),
                _ => tile::matmul::<W, tile::Narrow<false>>(c),
            }
        }
    }
}

impl<W: Weight> Kernel for Columns<W> {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn run(c: &Call) {
        // SAFETY: the caller keeps the contract of `MatmulFn`.
        unsafe {
            match c.m {
                0..=DECODE_TOKENS => strip::matmul::<W>(c),
                _ => tile::matmul_kn::<W, tile::Narrow<false>>(c),
            }
        }
    }
}

impl Call {
    /// The rows of `x` and of the result from row `first` on.
    pub(in crate::kernels) fn below(&self, first: usize) -> Call {
        Call {
            x: self.x.wrapping_add(first * self.x_stride),
            out: self.out.wrapping_add(first * self.out_stride),
            arranged: std::ptr::null(),
            ..*self
        }
    }

    /// Calls `body` with at most [`DECODE_TOKENS`] rows of `x` at a time.
    pub(in crate::kernels) fn by_few(&self, body: impl Fn(&Call)) {
        for first in (0..self.m).step_by(DECODE_TOKENS) {
            body(&Call {
                m: DECODE_TOKENS.min(self.m - first),
                ..self.below(first)
            });
        }
    }

    /// Address of element `(row, col)` of the result.
    ///
    /// # Safety
    /// Below `m` and `n`, or just after a row.
    pub(in crate::kernels) unsafe fn out(&self, row: usize, col: usize) -> *mut f32 {
        // SAFETY: the element lies in the result or at the end of one of its rows, as the caller sees to.
        unsafe { self.out.add(row * self.out_stride + col) }
    }

    /// Writes zeros, where an empty product is not to be added to what is there.
    ///
    /// # Safety
    /// The contract of [`crate::abi::MatmulFn`].
    pub(in crate::kernels) unsafe fn empty(&self) {
        if !self.accumulate {
            for row in 0..self.m {
                // SAFETY: row `row` of the result has `n` writable elements.
                unsafe { self.out(row, 0).write_bytes(0, self.n) }
            }
        }
    }
}

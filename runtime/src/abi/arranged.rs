//! Activations as products read them that multiply tiles: made once for all threads and all rows of weights.
//!
//! Sixteen rows of `x` lie side by side, a step of `k` after the other. Only kernels know more of it: which of them read it, and how they find a
//! number in it. Generated code knows the size, has it made, and hands it on.

use super::quant::GROUP;

/// Rows of activations that are arranged together.
pub const ARRANGED_ROWS: usize = 16;

/// What is arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arranged {
    /// f32 values rounded to bf16, for weights in bf16.
    Rounded,
    /// Blocks of int8, for quantised weights: integers, scales, offsets.
    Blocks,
}

impl Arranged {
    /// Bytes of [`ARRANGED_ROWS`] rows of `k` activations.
    pub const fn bytes(self, k: usize) -> usize {
        let terms = k.next_multiple_of(GROUP);
        ARRANGED_ROWS
            * match self {
                Arranged::Rounded => terms * 2,
                Arranged::Blocks => terms + terms / GROUP * 2 * size_of::<f32>(),
            }
    }
}

/// Arranges `rows` rows of `x`, at most [`ARRANGED_ROWS`], for the products of the same table: [`Arranged::bytes`] at `out`, which begins a cache line. Rows of
/// `k` f32 values, or of their blocks, are `x_stride` bytes apart. Where products read `x` as it lies, nothing is done.
pub type ArrangeFn =
    unsafe extern "C" fn(x: *const u8, x_stride: usize, rows: usize, k: usize, out: *mut u8);

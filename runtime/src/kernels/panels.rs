//! What the wide products of quantised weights have in common: their arguments as one value, and how a panel's groups lie.

use crate::abi::quant::{GROUP, PANEL_ROWS};

/// Chunks of four along K in a group.
pub(super) const CHUNKS: usize = GROUP / 4;
/// Bytes of the scales in front of a group.
pub(super) const SCALES: usize = 2 * PANEL_ROWS;

/// The arguments of a [`crate::abi::QuantMatmulFn`].
pub(super) struct Call {
    pub(super) x: *const u8,
    pub(super) x_stride: usize,
    pub(super) m: usize,
    pub(super) w: *const u8,
    pub(super) n: usize,
    pub(super) groups: usize,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
}

/// A kernel of one type of weights for one set of instructions.
pub(super) trait Product {
    /// Makes all of the result.
    ///
    /// # Safety
    /// The processor has the instructions; the contract of [`crate::abi::QuantMatmulFn`].
    unsafe fn run(call: &Call);
}

/// [`crate::abi::QuantMatmulFn`].
pub(super) unsafe extern "C" fn matmul<P: Product>(
    x: *const u8,
    x_stride: usize,
    m: usize,
    w: *const u8,
    n: usize,
    groups: usize,
    out: *mut f32,
    out_stride: usize,
) {
    let call = Call {
        x,
        x_stride,
        m,
        w,
        n,
        groups,
        out,
        out_stride,
    };
    // SAFETY: the table that holds this function is only used where the instructions are there; the rest is the caller's.
    unsafe { P::run(&call) }
}

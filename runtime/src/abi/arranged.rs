//! Activations as products read them that multiply tiles: made once for all threads and all rows of weights.
//!
//! Sixteen rows of `x` lie side by side, a step of `k` after the other. Only kernels know more of it: which of them read it, and how they find a
//! number in it. Generated code knows the size, has it made, and hands it on.

use super::KernelTable;
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

    /// Bytes of any number of rows of `k` activations.
    pub const fn room(self, rows: usize, k: usize) -> usize {
        rows.div_ceil(ARRANGED_ROWS) * self.bytes(k)
    }
}

impl KernelTable {
    /// What arranges rows for the products that read them so.
    pub fn arrange(&self, of: Arranged) -> ArrangeFn {
        match of {
            Arranged::Rounded => self.arrange_rounded,
            Arranged::Blocks => self.arrange_blocks,
        }
    }

    /// Arranges any number of rows, as generated code does.
    ///
    /// # Safety
    /// `m` rows of `x` are readable as [`ArrangeFn`] says, and [`Arranged::room`] for them is writable at `out`, which begins a cache line.
    pub unsafe fn arrange_all(
        &self,
        of: Arranged,
        (x, x_stride): (*const u8, usize),
        m: usize,
        k: usize,
        out: *mut u8,
    ) {
        for (tile, first) in (0..m).step_by(ARRANGED_ROWS).enumerate() {
            let rows = ARRANGED_ROWS.min(m - first);
            // SAFETY: the caller gives these rows, and room for each few of them.
            unsafe {
                let (x, to) = (x.add(first * x_stride), out.add(tile * of.bytes(k)));
                self.arrange(of)(x, x_stride, rows, k, to);
            }
        }
    }
}

/// Arranges `rows` rows of `x`, at most [`ARRANGED_ROWS`], for the products of the same table: [`Arranged::bytes`] at `out`, which begins a cache line. Rows of
/// `k` f32 values, or of their blocks, are `x_stride` bytes apart. Where products read `x` as it lies, nothing is done.
pub type ArrangeFn =
    unsafe extern "C" fn(x: *const u8, x_stride: usize, rows: usize, k: usize, out: *mut u8);

//! What one thread may touch at the moment: the ranges of the kernel it runs, as addresses.

use super::access::{Extent, RowCount, Size, ValuePlace};
use crate::abi::{KernelTable, StepContext};

/// Columns of rows in memory. A dense run of bytes is one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    base: usize,
    rows: usize,
    stride: usize,
    start: usize,
    width: usize,
    written: bool,
}

impl Region {
    /// `bytes` bytes from `base` on.
    pub(super) fn dense(base: usize, bytes: usize, written: bool) -> Region {
        Region {
            base,
            rows: 1,
            stride: bytes.max(1),
            start: 0,
            width: bytes,
            written,
        }
    }

    /// Where `extent` lies in the step of `ctx`.
    pub(super) fn of(extent: &Extent, ctx: &StepContext, written: bool) -> Region {
        let base = match extent.place {
            ValuePlace::Logits => ctx.logits as usize,
            ValuePlace::Arena {
                offset,
                per_position,
            } => ctx.arena as usize + offset + per_position * ctx.context,
        };
        match extent.size {
            Size::Whole {
                bytes,
                per_position,
            } => Region::dense(base, bytes + per_position * ctx.context, written),
            Size::Rows {
                count,
                stride,
                start,
                width,
            } => {
                let rows = match count {
                    RowCount::PerToken(n) => n * ctx.n_tokens,
                    RowCount::LogitRows => ctx.n_logit_rows,
                    RowCount::Fixed(n) => n,
                };
                if start == 0 && width == stride {
                    return Region::dense(base, rows * stride, written);
                }
                Region {
                    base,
                    rows,
                    stride: stride.max(1),
                    start,
                    width,
                    written,
                }
            }
        }
    }

    /// First address and length of all that is in it, gaps between rows included.
    pub(super) fn span(&self) -> (usize, usize) {
        match self.rows {
            0 => (self.base, 0),
            rows => (
                self.base + self.start,
                (rows - 1) * self.stride + self.width,
            ),
        }
    }

    fn holds(&self, at: usize, bytes: usize, write: bool) -> bool {
        let Some(offset) = at.checked_sub(self.base) else {
            return false;
        };
        let (row, column) = (offset / self.stride, offset % self.stride);
        let end = column.checked_add(bytes);
        row < self.rows
            && column >= self.start
            && end.is_some_and(|end| end <= self.start + self.width)
            && (self.written || !write)
    }
}

/// One thread of a checked session.
pub(super) struct Live {
    /// The kernel it runs, among those of the program.
    pub(super) kernel: Option<usize>,
    /// Blocks it has begun in this step.
    pub(super) blocks: usize,
    /// The block's place in the order of the step.
    pub(super) place: Option<usize>,
    /// What the kernel may touch.
    pub(super) regions: Vec<Region>,
    /// The kernels that do the work.
    pub(super) inner: &'static KernelTable,
    /// Where a load or store goes that must not be made.
    sink: Box<[u128; 8]>,
}

impl Live {
    pub(super) fn new(inner: &'static KernelTable) -> Live {
        Live {
            kernel: None,
            blocks: 0,
            place: None,
            regions: vec![],
            inner,
            sink: Box::new([0; 8]),
        }
    }

    /// Whether the kernel may touch these bytes.
    pub(super) fn allows(&self, at: usize, bytes: usize, write: bool) -> bool {
        bytes == 0 || self.regions.iter().any(|r| r.holds(at, bytes, write))
    }

    /// Where `at` lies, seen from the nearest bytes that the kernel may touch: for messages.
    pub(super) fn near(&self, at: usize) -> String {
        let distance = |r: &Region| {
            let (first, bytes) = r.span();
            (first.saturating_sub(at)).max(at.saturating_sub(first + bytes))
        };
        let Some(nearest) = self.regions.iter().min_by_key(|r| distance(r)) else {
            return "it may touch nothing".into();
        };
        let (first, bytes) = nearest.span();
        let rights = if nearest.written { "write" } else { "read" };
        format!("the nearest that it may {rights} is {bytes} bytes at {first:#x}")
    }

    /// Address of bytes that nobody needs.
    pub(super) fn sink(&mut self) -> usize {
        self.sink.fill(0);
        self.sink.as_mut_ptr() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dense_region_ends_where_it_ends() {
        let r = Region::dense(1000, 10, false);
        assert!(r.holds(1000, 10, false) && r.holds(1009, 1, false));
        assert!(!r.holds(1009, 2, false) && !r.holds(999, 1, false) && !r.holds(1010, 1, false));
        assert!(!r.holds(1000, usize::MAX, false), "no sum wraps around");
        assert!(!r.holds(1000, 4, true), "it is only read");
        assert!(!Region::dense(1000, 0, true).holds(1000, 1, true));
    }

    #[test]
    fn columns_of_rows_leave_out_their_neighbours() {
        let r = Region {
            base: 0,
            rows: 3,
            stride: 100,
            start: 20,
            width: 30,
            written: true,
        };
        assert!(r.holds(20, 30, true) && r.holds(249, 1, true));
        assert!(!r.holds(19, 1, true) && !r.holds(49, 2, true) && !r.holds(320, 1, true));
        assert_eq!(r.span(), (20, 230));
    }
}

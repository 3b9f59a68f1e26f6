//! Operations on the columns of each of several equal heads: picking a run of them, and setting two runs side by side.

/// A run of columns of every head. Operand: `x [rows, heads · width]`; result: `[rows, heads · len]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadColumns {
    /// How many heads a row has.
    pub heads: usize,
    /// Width of a head.
    pub width: usize,
    /// First column of the run.
    pub start: usize,
    /// Columns of the run.
    pub len: usize,
}

/// `[a | b]` for every head. Operands: `a [rows, heads · left]`, `b [rows, heads · right]`; either may have one head only,
/// which all share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadConcat {
    /// How many heads the result has.
    pub heads: usize,
    /// Columns of a head of `a`.
    pub left: usize,
    /// Columns of a head of `b`.
    pub right: usize,
}

impl HeadConcat {
    /// Width of a head of the result.
    pub fn width(&self) -> usize {
        self.left + self.right
    }
}

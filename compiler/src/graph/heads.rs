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

/// A matrix of its own for each head: `out[t, h] = [x[t, h, columns] · W_h | x[t, h, kept]]`, the kept columns being those
/// behind the multiplied ones. Operands: `x [rows, heads · columns.width]`, and `w [heads · rows.width, n]`, of which
/// `W_h` is a run of rows: `[columns.len, n]`, or where the product runs `over_columns` of it, `[rows.len, columns.len]ᵀ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadMatmul {
    /// Columns of each head of `x` that are multiplied.
    pub columns: HeadColumns,
    /// Rows of each head's part of `w` that multiply them.
    pub rows: HeadColumns,
    /// The product sums over the columns of `w`; otherwise over its rows.
    pub over_columns: bool,
    /// Columns of `x` that are handed on.
    pub keep: usize,
}

impl HeadMatmul {
    /// Width of a head's product, `w` having `n` columns.
    pub fn product(&self, n: usize) -> usize {
        if self.over_columns { self.rows.len } else { n }
    }

    /// What the product sums over, `w` having `n` columns.
    pub fn inner(&self, n: usize) -> usize {
        if self.over_columns { n } else { self.rows.len }
    }
}

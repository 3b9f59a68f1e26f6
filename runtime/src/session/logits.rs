//! What a step gives: rows of logits, or of hidden states.

use std::ops::Deref;

/// Rows of logits, in the order of the tokens they follow; of hidden states, where the program ends with them.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    pub(super) values: &'a [f32],
    pub(super) width: usize,
}

impl<'a> Logits<'a> {
    /// `[rows, width]`.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// The logits of one row; panics when there is no such row.
    pub fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// The last row, if any was wanted.
    pub fn last(&self) -> Option<&'a [f32]> {
        self.n_rows().checked_sub(1).map(|row| self.row(row))
    }
}

impl Deref for Logits<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.values
    }
}

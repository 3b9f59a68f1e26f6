//! Columns of each of several equal heads.

use super::Rows;
use crate::graph::{HeadColumns, HeadConcat};

/// `[T, heads · len]`.
pub(super) fn slice(c: &HeadColumns, x: &Rows) -> Rows {
    let head = |h: &[f32]| h[c.start..c.start + c.len].to_vec();
    Rows::new(
        x.data.chunks_exact(c.width).flat_map(head).collect(),
        c.heads * c.len,
    )
}

/// `[T, heads · (left + right)]`.
pub(super) fn concat(c: &HeadConcat, a: &Rows, b: &Rows) -> Rows {
    let mut data = vec![];
    for (left, right) in a.iter().zip(b.iter()) {
        for h in 0..c.heads {
            data.extend_from_slice(head_of(left, c.left, h));
            data.extend_from_slice(head_of(right, c.right, h));
        }
    }
    Rows::new(data, c.heads * c.width())
}

/// Head `h` of a row, or the one head that all share.
fn head_of(row: &[f32], width: usize, h: usize) -> &[f32] {
    let h = if row.len() == width { 0 } else { h };
    &row[h * width..(h + 1) * width]
}

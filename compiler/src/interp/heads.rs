//! Columns of each of several equal heads.

use super::values::Rows;
use crate::graph::{HeadColumns, HeadConcat, HeadMatmul, HeadMatmulOperands, Pair};

/// `[T, heads · len]`.
pub(super) fn slice(c: &HeadColumns, x: &Rows) -> Rows {
    let head = |h: &[f32]| h[c.start..c.start + c.len].to_vec();
    Rows::new(
        x.data.chunks_exact(c.width).flat_map(head).collect(),
        c.heads * c.len,
    )
}

/// `[T, heads · (left + right)]`.
pub(super) fn concat(c: &HeadConcat, o: Pair<&Rows>) -> Rows {
    let mut data = vec![];
    for (left, right) in o.a.iter().zip(o.b.iter()) {
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

/// `[T, heads · (product + keep)]`.
pub(super) fn matmul(m: &HeadMatmul, o: HeadMatmulOperands<&Rows>) -> Rows {
    let HeadMatmulOperands { x, weight: w } = o;
    let (c, r, product) = (&m.columns, &m.rows, m.product(w.width));
    let weight = |h: usize, i: usize, j: usize| {
        let (row, column) = if m.over_columns { (j, i) } else { (i, j) };
        w.data[(h * r.width + r.start + row) * w.width + column]
    };
    let mut data = vec![];
    for (i, head) in x.data.chunks_exact(c.width).enumerate() {
        let (picked, after) = head[c.start..].split_at(c.len);
        let dot = |j: usize| -> f64 {
            let terms = picked.iter().enumerate();
            terms
                .map(|(k, v)| f64::from(*v) * f64::from(weight(i % c.heads, k, j)))
                .sum()
        };
        data.extend((0..product).map(|j| dot(j) as f32));
        data.extend_from_slice(&after[..m.keep]);
    }
    Rows::new(data, c.heads * (product + m.keep))
}

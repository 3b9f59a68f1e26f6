//! A matrix of each expert, and the pieces in which it is multiplied.

use cranelift_codegen::ir::Value;

use crate::codegen::kernel::{Rows, Site};
use crate::codegen::products::product;
use crate::codegen::vectors::combine;
use crate::codegen::writer::{Count, Writer};
use crate::graph::{Binary, ExpertMatrix, NodeId, WeightDecl};
use crate::schedule::expert_tile;

/// A matrix or vector of each expert.
#[derive(Clone, Copy)]
pub(super) struct Family<'a> {
    pub(super) decl: &'a WeightDecl,
    /// Place of the first expert's pointer.
    pub(super) first: usize,
}

impl<'a> Family<'a> {
    pub(super) fn of(s: &Site<'a>, id: NodeId) -> Family<'a> {
        let (w, decl) = s.weight(id);
        Family {
            decl,
            first: s.graph.pointer(w),
        }
    }

    pub(super) fn pointer(self, e: &mut Writer, expert: Value) -> Value {
        let at = e.at(e.weights, expert, 8);
        e.field_at(at, self.first * 8)
    }
}

/// A family with its biases.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) weight: Family<'a>,
    pub(super) bias: Option<Family<'a>>,
}

impl<'a> Matrix<'a> {
    pub(super) fn of(s: &Site<'a>, matrix: ExpertMatrix<NodeId>) -> Matrix<'a> {
        Matrix {
            weight: Family::of(s, matrix.weight),
            bias: matrix.bias.map(|id| Family::of(s, id)),
        }
    }

    /// `out = x · w[first .. first + n]ᵀ + bias` for `m` rows.
    pub(super) fn product(
        self,
        e: &mut Writer,
        c: Chunk,
        first: Value,
        n: Count,
        x: Rows,
        m: Value,
        out: Rows,
    ) {
        let base = self.weight.pointer(e, c.expert);
        product(e, self.weight.decl, base, first, (x, None), m, n, out);
        if let Some(b) = self.bias {
            let base = b.pointer(e, c.expert);
            let bias = e.at(base, first, 4);
            e.repeat(m, |e, i| {
                let row = out.row(e, i);
                combine(e, Binary::Add, row, bias, row, n);
            });
        }
    }
}

/// Rows of one expert's matrix, and the rows of tokens that they are multiplied with.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) expert: Value,
    pub(super) from: Value,
    pub(super) to: Value,
    pub(super) first: Value,
    pub(super) n: Count,
    pub(super) width: usize,
}

/// Calls `body` with the first row and the length of each tile of tokens.
pub(super) fn tiles(
    e: &mut Writer,
    s: &Site,
    c: Chunk,
    body: impl FnOnce(&mut Writer, Value, Value),
) {
    e.pieces(c.from, c.to, expert_tile(s.kind), body);
}

pub(super) fn rows_from(e: &mut Writer, rows: Rows, first: Value) -> Rows {
    let base = rows.row(e, first);
    Rows { base, ..rows }
}

pub(super) fn columns(e: &mut Writer, rows: Rows, first: Value) -> Rows {
    let base = e.at(rows.base, first, 4);
    Rows { base, ..rows }
}

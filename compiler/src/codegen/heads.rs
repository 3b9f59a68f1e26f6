//! Kernels that move or multiply columns of each of several equal heads.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::Dtype;

use super::kernel::Site;
use super::products::{MatmulArgs, matmul_kernel};
use super::vectors::copy;
use super::writer::Writer;
use crate::graph::{HeadColumns, HeadConcat, HeadMatmul, NodeId, Pair, Single, WeightDecl};
use crate::schedule::Work;

/// The picked columns of one row's heads.
pub(super) fn slice(e: &mut Writer, s: &Site, c: &HeadColumns, t: Value) {
    let x = s.read(Single::of).x;
    let (from, to) = (s.row(e, x, t), s.out_row(e, t));
    let from = e.plus(from, c.start * 4);
    let heads = e.int(c.heads);
    e.repeat(heads, |e, h| {
        let (from, to) = (e.at(from, h, c.width * 4), e.at(to, h, c.len * 4));
        copy(e, from, to, c.len, 1.0);
    });
}

/// Both operands' columns, head by head, of one row.
pub(super) fn concat(e: &mut Writer, s: &Site, c: &HeadConcat, t: Value) {
    let to = s.out_row(e, t);
    let heads = e.int(c.heads);
    let Pair { a, b } = s.read(Pair::of);
    for (id, width, start) in [(a, c.left, 0), (b, c.right, c.left)] {
        let from = s.row(e, id, t);
        let to = e.plus(to, start * 4);
        // One head that all share is read again for each.
        let step = if s.graph.width(id) == width {
            0
        } else {
            width * 4
        };
        e.repeat(heads, |e, h| {
            let (from, to) = (e.at(from, h, step), e.at(to, h, c.width() * 4));
            copy(e, from, to, width, 1.0);
        });
    }
}

/// Every head's product with its own rows of the weight, all rows of the step at once.
pub(super) fn matmul(e: &mut Writer, s: &Site, m: &HeadMatmul) {
    let Work::HeadColumns {
        heads,
        width,
        count,
    } = s.kernel.work
    else {
        unreachable!("scheduled by heads")
    };
    let chunks = e.int(heads * count);
    e.chunks(chunks, s.share(), |e, c| {
        let count = e.int(count);
        let (head, run) = (e.b.ins().udiv(c, count), e.b.ins().urem(c, count));
        let first = e.times(run, width);
        product(e, s, m, head, (first, width));
        if m.keep > 0 {
            let once = e.b.ins().icmp_imm_s(IntCC::Equal, run, 0);
            e.when(once, |e| keep(e, s, m, head));
        }
    });
}

/// Columns `first..first + width` (fewer at the end) of one head's product.
fn product(e: &mut Writer, s: &Site, m: &HeadMatmul, head: Value, (first, width): (Value, usize)) {
    let o = s.read(|take| m.operands(take));
    let (x, out) = (s.rows(e, o.x), s.out(e));
    let whole = HeadWeight::of(e, s, o.weight, m.rows, head);
    let product = m.product(whole.decl.shape[1]);
    let from = e.at(x.base, head, m.columns.width * 4);
    let from = Panel {
        base: e.plus(from, m.columns.start * 4),
        stride: x.stride / 4,
    };
    let to = e.at(out.base, head, (product + m.keep) * 4);
    let to = Panel {
        base: e.at(to, first, 4),
        stride: out.stride / 4,
    };
    let (end, most) = (e.int(product), e.int(width));
    let left = e.sub(end, first);
    let n = e.min(left, most);
    let (rows, w) = (s.n_rows(e), whole.from(e, m.over_columns, first));
    w.multiply_part(e, m.over_columns, (from, rows), (n, m.columns.len), to);
}

/// A matrix of f32: address of its first row, and elements between rows.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub(super) base: Value,
    pub(super) stride: usize,
}

/// One head's rows of a weight.
#[derive(Clone, Copy)]
pub(super) struct HeadWeight<'a> {
    decl: &'a WeightDecl,
    rows: usize,
    base: Value,
}

impl<'a> HeadWeight<'a> {
    pub(super) fn of(
        e: &mut Writer,
        s: &Site<'a>,
        weight: NodeId,
        rows: HeadColumns,
        head: Value,
    ) -> HeadWeight<'a> {
        let (decl, base) = (s.weight(weight).1, s.pointer(e, weight));
        let step = steps(decl).0;
        let base = e.at(base, head, rows.width * step);
        HeadWeight {
            decl,
            rows: rows.len,
            base: e.plus(base, rows.start * step),
        }
    }

    /// Without the first columns of the product.
    fn from(self, e: &mut Writer, over_columns: bool, first: Value) -> HeadWeight<'a> {
        let (row, column) = steps(self.decl);
        HeadWeight {
            base: e.at(self.base, first, if over_columns { row } else { column }),
            ..self
        }
    }

    /// `to = x · W`, summed over the rows of `W`, or over its `rank` columns.
    pub(super) fn multiply(
        &self,
        e: &mut Writer,
        over_columns: bool,
        x: (Panel, Value),
        rank: usize,
        to: Panel,
    ) {
        let (n, inner) = match over_columns {
            true => (self.rows, rank),
            false => (rank, self.rows),
        };
        let n = e.int(n);
        self.multiply_part(e, over_columns, x, (n, inner), to);
    }

    fn multiply_part(
        &self,
        e: &mut Writer,
        over_columns: bool,
        (x, rows): (Panel, Value),
        (n, inner): (Value, usize),
        to: Panel,
    ) {
        let args = MatmulArgs {
            x: (x.base, e.int(x.stride), rows),
            w: (self.base, self.decl.row_stride),
            sizes: (n, e.int(inner)),
            out: (to.base, e.int(to.stride)),
            accumulate: None,
            arranged: None,
        };
        let by_columns = over_columns == self.decl.transposed;
        args.call(e, matmul_kernel(dtype_of(self.decl), by_columns));
    }
}

/// Products by head reach into a weight by row and column, which only floats allow.
fn dtype_of(decl: &WeightDecl) -> Dtype {
    decl.encoding.float().expect("weights by head stay floats")
}

/// Bytes from one row of a weight to the next, and from one column to the next.
fn steps(decl: &WeightDecl) -> (usize, usize) {
    let size = dtype_of(decl).size();
    match decl.transposed {
        true => (size, decl.row_stride),
        false => (decl.row_stride, size),
    }
}

/// The columns of one head that are handed on as they are.
fn keep(e: &mut Writer, s: &Site, m: &HeadMatmul, head: Value) {
    let o = s.read(|take| m.operands(take));
    let (x, out) = (s.rows(e, o.x), s.out(e));
    let product = m.product(s.weight(o.weight).1.shape[1]);
    let rows = s.n_rows(e);
    e.repeat(rows, |e, t| {
        let (from, to) = (x.row(e, t), out.row(e, t));
        let from = e.at(from, head, m.columns.width * 4);
        let from = e.plus(from, (m.columns.start + m.columns.len) * 4);
        let to = e.at(to, head, (product + m.keep) * 4);
        let to = e.plus(to, product * 4);
        copy(e, from, to, m.keep, 1.0);
    });
}

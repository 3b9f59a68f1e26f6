//! Kernels that move or multiply columns of each of several equal heads.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::emit::Emit;
use super::kernel::Site;
use super::matmul::matmul_kernel;
use super::rows::{copy, out_row};
use crate::graph::{HeadColumns, HeadConcat, HeadMatmul};
use crate::schedule::Work;

/// The picked columns of one row's heads.
pub(super) fn slice(e: &mut Emit, s: &Site, c: &HeadColumns, t: Value) {
    let (from, to) = (s.rows(e, s.operand("x")).row(e, t), out_row(e, s, t));
    let from = e.plus(from, c.start * 4);
    let heads = e.int(c.heads);
    e.repeat(heads, |e, h| {
        let (from, to) = (e.at(from, h, c.width * 4), e.at(to, h, c.len * 4));
        copy(e, from, to, c.len, 1.0);
    });
}

/// Both operands' columns, head by head, of one row.
pub(super) fn concat(e: &mut Emit, s: &Site, c: &HeadConcat, t: Value) {
    let to = out_row(e, s, t);
    let heads = e.int(c.heads);
    for (role, width, start) in [("a", c.left, 0), ("b", c.right, c.left)] {
        let id = s.operand(role);
        let from = s.rows(e, id).row(e, t);
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
pub(super) fn matmul(e: &mut Emit, s: &Site, m: &HeadMatmul) {
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
fn product(e: &mut Emit, s: &Site, m: &HeadMatmul, head: Value, (first, width): (Value, usize)) {
    let (x, out, w) = (s.rows(e, s.operand("x")), s.out(e), s.operand("w"));
    let decl = s.weight(w).1;
    let dtype = decl.encoding.float().expect("weights by head stay floats");
    let (size, product) = (dtype.size(), m.product(decl.shape[1]));
    // Bytes from one row of the weight to the next, and from one column to the next.
    let (row, column) = match decl.transposed {
        true => (size, decl.row_stride),
        false => (decl.row_stride, size),
    };
    let weights = s.pointer(e, w);
    let weights = e.at(weights, head, m.rows.width * row);
    let weights = e.plus(weights, m.rows.start * row);
    let weights = e.at(weights, first, if m.over_columns { row } else { column });
    let from = e.at(x.base, head, m.columns.width * 4);
    let from = e.plus(from, m.columns.start * 4);
    let to = e.at(out.base, head, (product + m.keep) * 4);
    let to = e.at(to, first, 4);
    let (end, most) = (e.int(product), e.int(width));
    let left = e.sub(end, first);
    let n = e.min(left, most);
    let (rows, scratch, zero) = (s.n_rows(e), e.scratch(0), e.int(0));
    let (x_stride, out_stride) = (e.int(x.stride / 4), e.int(out.stride / 4));
    let (w_stride, inner) = (e.int(decl.row_stride), e.int(m.columns.len));
    let args = [
        from, x_stride, rows, weights, w_stride, n, inner, to, out_stride, zero, scratch,
    ];
    let by_columns = m.over_columns == decl.transposed;
    e.micro(matmul_kernel(dtype, by_columns), &args, None);
}

/// The columns of one head that are handed on as they are.
fn keep(e: &mut Emit, s: &Site, m: &HeadMatmul, head: Value) {
    let (x, out) = (s.rows(e, s.operand("x")), s.out(e));
    let product = m.product(s.weight(s.operand("w")).1.shape[1]);
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

//! Kernels that move or multiply columns of each of several equal heads.

use cranelift_codegen::ir::Value;

use super::emit::Emit;
use super::kernel::Site;
use super::rows::{copy, out_row};
use crate::graph::{HeadColumns, HeadConcat};

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

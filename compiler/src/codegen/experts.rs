//! Kernels of experts: products of the tokens that chose an expert with some rows of its matrices.
//!
//! A chunk takes tiles of its expert's tokens; a tile of one token reads that token's row where it lies, a larger one
//! gathers rows into scratch. What an expert gives back is multiplied and summed in scratch, expert by expert, so that a
//! token's sum does not depend on which other tokens there are.

mod activate;
mod matrix;
mod routes;
mod rows;
mod sums;

use std::mem::offset_of;

pub(super) use rows::{
    activation, combine as combine_rows, gather, identity_weight, route_row, scale_row,
};
pub(super) use sums::experts_out;

use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::KernelTable;
use graver_runtime::abi::quant::{Block, GROUP};

use self::activate::activate_row;
use self::matrix::{Chunk, Matrix, columns, rows_from, tiles};
use self::routes::groups;
use super::groups::Table;
use super::kernel::{Rows, Site};
use super::norms::{NormBefore, quantize};
use super::share::Share;
use super::vectors::{copy, count, divide, run_length, scaled_copy};
use super::writer::{Count, Writer};
use crate::graph::{ExpertsIn, ExpertsInOperands, Form, GroupedMatmul, Grouping, NodeId, Single};
use crate::schedule::scratch::ExpertsInScratch;
use crate::schedule::{Work, expert_tile, has_prologue, prologue_row_bytes, tile_row_bytes};

/// Sorts routes by expert.
pub(super) fn group(e: &mut Writer, s: &Site, g: Grouping) {
    let one = e.int(1);
    e.chunks(one, s.share(), |e, _| {
        let x = s.read(Single::of).x;
        let (routes, base) = (s.rows(e, x), s.out(e).base);
        let tokens = e.tokens();
        Table::new(s, base, g).fill(e, routes, tokens);
    });
}

/// Calls `body` with every chunk of every expert that has rows; each matrix has `rows` rows.
fn expert_chunks(
    e: &mut Writer,
    s: &Site,
    table: Table,
    rows: usize,
    body: impl FnOnce(&mut Writer, Chunk),
) {
    let Work::Experts {
        rows: width,
        chunks,
        at_once,
    } = s.kernel.work
    else {
        unreachable!("scheduled by experts")
    };
    let active = table.n_active(e);
    let all = e.times(active, chunks);
    let run = |e: &mut Writer, rank: Value, first: Value, n: Count| {
        let expert = table.active(e, rank);
        let (from, to) = table.run(e, expert);
        Chunk {
            expert,
            from,
            to,
            first,
            n,
            width: at_once,
        }
    };
    match s.share() {
        Share::Static => own_experts(e, all, chunks, |e, rank, [start, end]| {
            let [first, end] = [start, end].map(|chunk| {
                let (row, most) = (e.times(chunk, width), e.int(rows));
                e.min(row, most)
            });
            e.pieces(first, end, at_once, |e, first, n| {
                let chunk = run(e, rank, first, Count::Dynamic(n));
                body(e, chunk);
            });
        }),
        Share::Claimed(_) => e.chunks(all, s.share(), |e, c| {
            let per = e.int(chunks);
            let (rank, index) = (e.b.ins().udiv(c, per), e.b.ins().urem(c, per));
            let first = e.times(index, width);
            let n = run_length(e, rows, width, first);
            let chunk = run(e, rank, first, n);
            body(e, chunk);
        }),
    }
}

/// Calls `body` with the place of each expert, among those that have rows, of whose `chunks` chunks some are this thread's, and with the
/// run of these: so is its share of all.
fn own_experts(
    e: &mut Writer,
    all: Value,
    chunks: usize,
    body: impl FnOnce(&mut Writer, Value, [Value; 2]),
) {
    let (from, to) = e.own_run(all);
    let up = e.plus(to, chunks - 1);
    let (first, end) = (divide(e, from, chunks), divide(e, up, chunks));
    e.own_chunks(first, end, |e, rank| {
        let (before, most) = (e.times(rank, chunks), e.int(chunks));
        let run = e.inside((from, to), before, most);
        body(e, rank, run);
    });
}

/// A matrix per expert on its rows.
pub(super) fn grouped_matmul(e: &mut Writer, s: &Site, m: &GroupedMatmul) {
    let o = s.read(|take| m.operands(take));
    let base = s.rows(e, o.groups).base;
    let table = Table::new(s, base, m.grouping);
    let matrix = Matrix::of(s, o.matrix);
    expert_chunks(e, s, table, m.rows, |e, c| {
        let x = s.rows(e, o.x);
        let whole = s.out(e);
        let out = columns(e, whole, c.first);
        let (x, out) = (rows_from(e, x, c.from), rows_from(e, out, c.from));
        let n = e.sub(c.to, c.from);
        matrix.product(e, c, c.first, c.n, x, n, out);
    });
}

/// From tokens to the inside of their experts.
pub(super) fn experts_in(e: &mut Writer, s: &Site, x: &ExpertsIn) {
    let scratch = ExpertsInScratch::of(s.graph, s.kernel.node, x, s.kind);
    let o = s.read(|take| x.operands(take));
    let input = prepared(e, s, (x, &o), &scratch);
    let route = x.route.as_ref().zip(scratch.routing.as_ref());
    let table = groups(e, s, x.grouping, o.routing, route);
    let matrices = o.matrices.iter().map(|m| Matrix::of(s, *m));
    let matrices: Vec<Matrix> = matrices.collect();
    expert_chunks(e, s, table, x.ffn, |e, c| {
        let gathered = Rows {
            base: e.scratch(scratch.gathered),
            stride: tile_row_bytes(s.graph, s.kernel.node),
        };
        tiles(e, s, c, |e, i, m| {
            let tokens = take_tokens(e, s, (x, o.x), &scratch, table, [input, gathered], [i, m]);
            let whole = s.out(e);
            let out = rows_from(e, whole, i);
            let inner = Inside {
                x,
                scratch: &scratch,
                c,
                tokens,
                m,
                out,
            };
            inner.emit(e, &matrices);
        });
    });
}

/// The input, normalised and rounded into this thread's scratch where that is done to all tokens first.
fn prepared(
    e: &mut Writer,
    s: &Site,
    (x, o): (&ExpertsIn, &ExpertsInOperands<NodeId>),
    scratch: &ExpertsInScratch,
) -> Rows {
    let input = s.rows(e, o.x);
    if !has_prologue(x) {
        return input;
    }
    let own = Rows {
        base: e.scratch(scratch.prepared),
        stride: prologue_row_bytes(s.graph, s.kernel.node, x),
    };
    let k = s.graph.width(o.x);
    let norm = NormBefore::of(x.norm.as_ref(), o.norm);
    let tokens = e.tokens();
    e.repeat(tokens, |e, t| {
        let (from, to) = (input.row(e, t), own.row(e, t));
        match (x.quantize_x && !x.weighted, norm) {
            (true, norm) => quantize(e, s, (norm, scratch.row), from, to, k),
            (false, Some(n)) => n.emit(e, s, from, to),
            (false, None) => unreachable!("there is a prologue"),
        }
    });
    own
}

/// Rows of the tokens of a tile: where they lie, if it is one and needs no weight, else gathered.
fn take_tokens(
    e: &mut Writer,
    s: &Site,
    (x, tokens): (&ExpertsIn, NodeId),
    scratch: &ExpertsInScratch,
    table: Table,
    [input, gathered]: [Rows; 2],
    [first, m]: [Value; 2],
) -> Rows {
    if expert_tile(s.kind) == 1 && !x.weighted {
        let token = table.token(e, first);
        return rows_from(e, input, token);
    }
    let k = s.graph.width(tokens);
    e.repeat(m, |e, r| {
        let i = e.add(first, r);
        let token = table.token(e, i);
        let (from, to) = (input.row(e, token), gathered.row(e, r));
        if !x.weighted {
            return copy(e, from, to, gathered.stride / 4, 1.0);
        }
        let w = table.weight(e, i);
        let floats = match x.quantize_x {
            true => e.scratch(scratch.row),
            false => to,
        };
        scaled_copy(e, from, floats, Count::Known(k), w);
        if x.quantize_x {
            quantize(e, s, (None, scratch.row), floats, to, k);
        }
    });
    gathered
}

/// Products and activation of a tile.
struct Inside<'a> {
    x: &'a ExpertsIn,
    scratch: &'a ExpertsInScratch,
    c: Chunk,
    tokens: Rows,
    m: Value,
    out: Rows,
}

impl Inside<'_> {
    fn emit(&self, e: &mut Writer, matrices: &[Matrix]) {
        let each = self.x.activate.form.rows_each();
        let tile = Rows {
            base: e.scratch(self.scratch.tile),
            stride: self.c.width * each * 4,
        };
        let (first, n) = (e.times(self.c.first, each), times(e, self.c.n, each));
        let own = self.floats(e);
        let (into, other) = match self.x.activate.form {
            Form::Plain | Form::Gated => (own, tile),
            Form::Paired => (tile, tile),
        };
        for (matrix, to) in matrices.iter().zip([into, other]) {
            matrix.product(e, self.c, first, n, self.tokens, self.m, to);
        }
        e.repeat(self.m, |e, r| {
            let (row, other) = (own.row(e, r), tile.row(e, r));
            activate_row(e, &self.x.activate, row, other, self.c.n);
            if self.x.quantize_y {
                self.round(e, row, r);
            }
        });
    }

    /// Where the chunk's result is made in f32.
    fn floats(&self, e: &mut Writer) -> Rows {
        match self.x.quantize_y {
            true => Rows {
                base: e.scratch(self.scratch.staged),
                stride: self.c.width * 4,
            },
            false => columns(e, self.out, self.c.first),
        }
    }

    /// A finished row to int8: whole groups of the result, but for its last.
    fn round(&self, e: &mut Writer, from: Value, r: Value) {
        let group = e.b.ins().udiv_imm_u(self.c.first, GROUP as i64);
        let (to, n) = (self.out.row(e, r), count(e, self.c.n));
        let to = e.at(to, group, size_of::<Block>());
        e.micro(offset_of!(KernelTable, quantize), &[from, n, to], None);
    }
}

fn times(e: &mut Writer, n: Count, by: usize) -> Count {
    match n {
        Count::Known(n) => Count::Known(n * by),
        Count::Dynamic(n) => Count::Dynamic(e.times(n, by)),
    }
}

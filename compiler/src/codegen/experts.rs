//! Kernels of experts: products of the tokens that chose an expert with some rows of its matrices.
//!
//! A chunk takes tiles of its expert's tokens; a tile of one token reads that token's row where it lies, a larger one
//! gathers rows into scratch. What an expert gives back is multiplied and summed in scratch, expert by expert, so that a
//! token's sum does not depend on which other tokens there are.

mod activate;
mod rows;

use std::mem::offset_of;

pub(super) use rows::{
    activation, combine as combine_rows, gather, identity_weight, route_row, scale_row,
};

use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::KernelTable;
use graver_runtime::abi::quant::{Block, GROUP};

use self::activate::activate_row;
use super::collective::finished;
use super::groups::Table;
use super::kernel::{Rows, Site};
use super::norms::{NormBefore, quantize};
use super::products::product;
use super::route::own_groups;
use super::vectors::{add_weighted, combine, copy, count, run_length, scaled_copy};
use super::writer::{Count, Lanes, Writer};
use crate::graph::{
    Binary, ExpertMatrix, ExpertsIn, ExpertsInOperands, ExpertsOut, ExpertsOutOperands, Form,
    GroupedMatmul, Grouping, NodeId, Route, Routing, Single, WeightDecl,
};
use crate::schedule::scratch::{ExpertsInScratch, ExpertsOutScratch, RoutingScratch};
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

/// A matrix or vector of each expert.
#[derive(Clone, Copy)]
struct Family<'a> {
    decl: &'a WeightDecl,
    /// Place of the first expert's pointer.
    first: usize,
}

impl<'a> Family<'a> {
    fn of(s: &Site<'a>, id: NodeId) -> Family<'a> {
        let (w, decl) = s.weight(id);
        Family {
            decl,
            first: s.graph.pointer(w),
        }
    }

    fn pointer(self, e: &mut Writer, expert: Value) -> Value {
        let at = e.at(e.weights, expert, 8);
        e.field_at(at, self.first * 8)
    }
}

/// A family with its biases.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    weight: Family<'a>,
    bias: Option<Family<'a>>,
}

impl<'a> Matrix<'a> {
    fn of(s: &Site<'a>, matrix: ExpertMatrix<NodeId>) -> Matrix<'a> {
        Matrix {
            weight: Family::of(s, matrix.weight),
            bias: matrix.bias.map(|id| Family::of(s, id)),
        }
    }

    /// `out = x · w[first .. first + n]ᵀ + bias` for `m` rows.
    fn product(
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
        product(e, self.weight.decl, base, first, x, m, n, out);
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
struct Chunk {
    expert: Value,
    from: Value,
    to: Value,
    first: Value,
    n: Count,
    width: usize,
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
    } = s.kernel.work
    else {
        unreachable!("scheduled by experts")
    };
    let active = table.n_active(e);
    let all = e.times(active, chunks);
    e.chunks(all, s.share(), |e, c| {
        let per = e.int(chunks);
        let (rank, index) = (e.b.ins().udiv(c, per), e.b.ins().urem(c, per));
        let expert = table.active(e, rank);
        let (from, to) = table.run(e, expert);
        let first = e.times(index, width);
        let n = run_length(e, rows, width, first);
        let chunk = Chunk {
            expert,
            from,
            to,
            first,
            n,
            width,
        };
        body(e, chunk);
    });
}

/// Calls `body` with the first row and the length of each tile of tokens.
fn tiles(e: &mut Writer, s: &Site, c: Chunk, body: impl FnOnce(&mut Writer, Value, Value)) {
    let size = expert_tile(s.kind);
    e.range(c.from, c.to, size, |e, i| {
        let (left, most) = (e.sub(c.to, i), e.int(size));
        let m = e.min(left, most);
        body(e, i, m);
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

fn rows_from(e: &mut Writer, rows: Rows, first: Value) -> Rows {
    let base = rows.row(e, first);
    Rows { base, ..rows }
}

fn columns(e: &mut Writer, rows: Rows, first: Value) -> Rows {
    let base = e.at(rows.base, first, 4);
    Rows { base, ..rows }
}

/// The groups: made by a kernel before, or by this thread.
fn groups(
    e: &mut Writer,
    s: &Site,
    g: Grouping,
    routing: Routing<NodeId>,
    route: Option<(&Route, &RoutingScratch)>,
) -> Table {
    match (routing, route) {
        (Routing::Own(o), Some((r, scratch))) => own_groups(e, s, (r, o), g, scratch),
        (Routing::Own(_), None) => unreachable!("threads route where there is a route"),
        (Routing::Groups(groups), _) => {
            let base = s.rows(e, groups).base;
            Table::new(s, base, g)
        }
    }
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

/// From the inside of the experts back to tokens.
pub(super) fn experts_out(e: &mut Writer, s: &Site, x: &ExpertsOut) {
    let Work::Columns(plan) = &s.kernel.work else {
        unreachable!("scheduled by columns")
    };
    let (width, chunks) = plan[0];
    let scratch = ExpertsOutScratch::of(s.graph, s.kernel.node, x, s.kind);
    let route = x.route.as_ref().zip(scratch.routing.as_ref());
    let o = s.read(|take| x.operands(take));
    let table = groups(e, s, x.grouping, o.routing, route);
    let matrix = Matrix::of(s, o.matrix);
    let chunks = e.int(chunks);
    e.chunks(chunks, s.share(), |e, c| {
        let first = e.times(c, width);
        let sums = TokenSums {
            n: run_length(e, x.rows, width, first),
            first,
            rows: Rows {
                base: e.scratch(scratch.sums),
                stride: width * 4,
            },
            table,
        };
        sums.clear(e);
        let active = table.n_active(e);
        e.repeat(active, |e, rank| {
            let expert = table.active(e, rank);
            sums.add_expert(e, s, (x, o.x), &scratch, matrix, expert);
        });
        sums.deliver(e, s, &o);
        finished(e, s, sums.first, sums.n);
    });
}

/// The sums of all tokens for some columns of the result.
#[derive(Clone, Copy)]
struct TokenSums {
    first: Value,
    n: Count,
    rows: Rows,
    table: Table,
}

impl TokenSums {
    fn clear(self, e: &mut Writer) {
        let (tokens, zero) = (e.tokens(), e.float(0.0));
        e.repeat(tokens, |e, t| {
            let row = self.rows.row(e, t);
            e.each(self.n, |e, i, lanes| {
                let (at, v) = (e.add(row, i), e.splat(lanes, zero));
                e.store(v, at, 0);
            });
        });
    }

    fn add_expert(
        self,
        e: &mut Writer,
        s: &Site,
        (x, rows): (&ExpertsOut, NodeId),
        scratch: &ExpertsOutScratch,
        matrix: Matrix,
        expert: Value,
    ) {
        let (from, to) = self.table.run(e, expert);
        let c = Chunk {
            expert,
            from,
            to,
            first: self.first,
            n: self.n,
            width: self.rows.stride / 4,
        };
        let input = s.rows(e, rows);
        let tile = Rows {
            base: e.scratch(scratch.tile),
            ..self.rows
        };
        tiles(e, s, c, |e, i, m| {
            let x_rows = rows_from(e, input, i);
            matrix.product(e, c, c.first, c.n, x_rows, m, tile);
            e.repeat(m, |e, r| {
                let row = e.add(i, r);
                let token = self.table.token(e, row);
                let (from, to) = (tile.row(e, r), self.rows.row(e, token));
                let w = x.weighted.then(|| self.table.weight(e, row));
                add_weighted(e, from, to, self.n, w);
            });
        });
    }

    /// Adds what else there is, and writes the result.
    fn deliver(self, e: &mut Writer, s: &Site, o: &ExpertsOutOperands<NodeId>) {
        let tokens = e.tokens();
        let whole = s.out(e);
        let out = columns(e, whole, self.first);
        e.repeat(tokens, |e, t| {
            let (from, to) = (self.rows.row(e, t), out.row(e, t));
            if let Some(shared) = o.shared {
                let shared = s.rows(e, shared);
                let shared = columns(e, shared, self.first).row(e, t);
                let by = o.shared_gate.map(|gate| {
                    let gate = s.row(e, gate, t);
                    e.load(Lanes::One, gate, 0)
                });
                add_weighted(e, shared, from, self.n, by);
            }
            if let Some(residual) = o.residual {
                let residual = s.rows(e, residual);
                let residual = columns(e, residual, self.first).row(e, t);
                add_weighted(e, residual, from, self.n, None);
            }
            e.each(self.n, |e, i, lanes| {
                let (from, to) = (e.add(from, i), e.add(to, i));
                let x = e.load(lanes, from, 0);
                e.store(x, to, 0);
            });
        });
    }
}

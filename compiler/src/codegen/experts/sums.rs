//! The second half of experts: products that are multiplied and summed, expert by expert.

use cranelift_codegen::ir::Value;

use super::matrix::{Chunk, Matrix, columns, rows_from, tiles};
use super::routes::groups;
use crate::codegen::collective::finished;
use crate::codegen::groups::Table;
use crate::codegen::kernel::{Rows, Site};
use crate::codegen::share::Share;
use crate::codegen::vectors::{add_weighted, fill, run_length};
use crate::codegen::writer::{Count, Lanes, Writer};
use crate::graph::{ExpertsOut, ExpertsOutOperands, NodeId};
use crate::schedule::Work;
use crate::schedule::scratch::ExpertsOutScratch;

/// From the inside of the experts back to tokens.
///
/// In decode a thread reads all of its rows of one expert's matrix before those of the next, in one stream; in prefill the sums of a chunk
/// stay in cache from one expert to the next.
pub(in crate::codegen) fn experts_out(e: &mut Writer, s: &Site, x: &ExpertsOut) {
    let Work::Columns(plan) = &s.kernel.work else {
        unreachable!("scheduled by columns")
    };
    let (width, chunks) = plan[0];
    let scratch = ExpertsOutScratch::of(s.graph, s.kernel.node, x, s.kind);
    let route = x.route.as_ref().zip(scratch.routing.as_ref());
    let o = s.read(|take| x.operands(take));
    let table = groups(e, s, x.grouping, o.routing, route);
    let kernel = SumKernel {
        x,
        o: &o,
        matrix: Matrix::of(s, o.matrix),
        table,
        at_once: scratch.at_once,
        tile: e.scratch(scratch.tile),
    };
    let sums = Rows {
        base: e.scratch(scratch.sums),
        stride: scratch.columns * 4,
    };
    let (active, chunks) = (table.n_active(e), e.int(chunks));
    match s.share() {
        Share::Static => {
            let (from, to) = e.own_run(chunks);
            let [first, end] = [from, to].map(|chunk| {
                let (row, most) = (e.times(chunk, width), e.int(x.rows));
                e.min(row, most)
            });
            let own = TokenSums {
                first,
                n: Count::Dynamic(e.sub(end, first)),
                rows: columns(e, sums, first),
            };
            own.clear(e);
            e.repeat(active, |e, rank| {
                let expert = table.active(e, rank);
                e.pieces(first, end, kernel.at_once, |e, first, n| {
                    let piece = TokenSums {
                        first,
                        n: Count::Dynamic(n),
                        rows: columns(e, sums, first),
                    };
                    piece.add_expert(e, s, &kernel, expert);
                });
            });
            own.deliver(e, s, &o);
        }
        Share::Claimed(_) => e.chunks(chunks, s.share(), |e, c| {
            let first = e.times(c, width);
            let own = TokenSums {
                first,
                n: run_length(e, x.rows, width, first),
                rows: sums,
            };
            own.clear(e);
            e.repeat(active, |e, rank| {
                let expert = table.active(e, rank);
                own.add_expert(e, s, &kernel, expert);
            });
            own.deliver(e, s, &o);
            finished(e, s, own.first, own.n);
        }),
    }
}

/// What every chunk of [`experts_out`] works with.
struct SumKernel<'a> {
    x: &'a ExpertsOut,
    o: &'a ExpertsOutOperands<NodeId>,
    matrix: Matrix<'a>,
    table: Table,
    /// Columns of a tile.
    at_once: usize,
    /// Scratch for a tile of products.
    tile: Value,
}

/// The sums of all tokens for some columns of the result.
#[derive(Clone, Copy)]
struct TokenSums {
    first: Value,
    n: Count,
    rows: Rows,
}

impl TokenSums {
    fn clear(self, e: &mut Writer) {
        let (tokens, zero) = (e.tokens(), e.float(0.0));
        e.repeat(tokens, |e, t| {
            let row = self.rows.row(e, t);
            fill(e, row, self.n, zero);
        });
    }

    /// Adds what an expert gives its tokens: at most as many columns as are summed at once.
    fn add_expert(self, e: &mut Writer, s: &Site, kernel: &SumKernel, expert: Value) {
        let (from, to) = kernel.table.run(e, expert);
        let c = Chunk {
            expert,
            from,
            to,
            first: self.first,
            n: self.n,
            width: kernel.at_once,
        };
        let input = s.rows(e, kernel.o.x);
        let tile = Rows {
            base: kernel.tile,
            stride: kernel.at_once * 4,
        };
        tiles(e, s, c, |e, i, m| {
            let x_rows = rows_from(e, input, i);
            kernel.matrix.product(e, c, c.first, c.n, x_rows, m, tile);
            e.repeat(m, |e, r| {
                let row = e.add(i, r);
                let token = kernel.table.token(e, row);
                let (from, to) = (tile.row(e, r), self.rows.row(e, token));
                let w = kernel.x.weighted.then(|| kernel.table.weight(e, row));
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

//! The selective scan: the tokens of a sequence in order, runs of channels side by side.
//!
//! A run's state is `[key_dim, channels]`, so that channels lie in lanes. What is left of each of its numbers is made for a token
//! at once, since one long run of exponentials costs less than many short ones.

use std::mem::offset_of;

use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::KernelTable;

use super::kernel::{Rows, Site};
use super::tiles::{Tile, by_segment_and_columns};
use super::vectors::{combine, fill, scale_by};
use super::writer::{Count, Lanes, Writer};
use crate::graph::{Binary, NodeId, Scan, ScanOperands};
use crate::schedule::scratch::ScanScratch;

/// Emits the kernel.
pub(super) fn scan(e: &mut Writer, s: &Site, c: &Scan) {
    let all = s.graph.width(s.kernel.node);
    let o = s.read(|take| c.operands(take));
    by_segment_and_columns(e, s, |e, segment, columns| {
        let first = columns.first;
        let state = s.recurrent(e, c.state, segment.slot);
        let scratch = ScanScratch::of(c);
        let channels = Channels {
            c,
            first,
            n: columns.count(e),
            state: Rows {
                base: e.at(state, first, 4),
                stride: all * 4,
            },
            rates: e.scratch(scratch.rates),
            decays: e.scratch(scratch.decays),
            written: e.scratch(scratch.written),
        };
        channels.bring_rates(e, s, o.rate);
        e.repeat(segment.queries, |e, t| channels.token(e, s, &o, segment, t));
    });
}

/// A run of channels of one segment.
struct Channels<'a> {
    c: &'a Scan,
    first: Value,
    /// How many.
    n: Value,
    /// Their state.
    state: Rows,
    /// Scratch, rows of `n` one after the other.
    rates: Value,
    decays: Value,
    written: Value,
}

impl Channels<'_> {
    /// Row `j` of a matrix in scratch.
    fn row(&self, e: &mut Writer, base: Value, j: Value) -> Value {
        let before = e.mul(j, self.n);
        e.at(base, before, 4)
    }

    /// `−exp(rate)` of the channels, turned so that they lie side by side.
    fn bring_rates(&self, e: &mut Writer, s: &Site, rate: NodeId) {
        let stride = s.weight(rate).1.row_stride;
        let base = s.pointer(e, rate);
        let from = e.at(base, self.first, stride);
        let rows = e.int(self.c.key_dim);
        e.repeat(rows, |e, j| {
            let (from, to) = (e.at(from, j, 4), self.row(e, self.rates, j));
            e.repeat(self.n, |e, i| {
                let (from, to) = (e.at(from, i, stride), e.at(to, i, 4));
                let x = e.load(Lanes::One, from, 0);
                e.store(x, to, 0);
            });
        });
        let (count, minus) = (e.times(self.n, self.c.key_dim), e.float(-1.0));
        e.map(offset_of!(KernelTable, exp), self.rates, count);
        scale_by(e, self.rates, Count::Dynamic(count), minus);
    }

    /// The channels' part of a row.
    fn own(&self, e: &mut Writer, rows: Rows, row: Value) -> Value {
        let row = rows.row(e, row);
        e.at(row, self.first, 4)
    }

    fn token(&self, e: &mut Writer, s: &Site, o: &ScanOperands<NodeId>, segment: Tile, t: Value) {
        let (row, n) = (e.add(segment.start_row, t), Count::Dynamic(self.n));
        let [v, write, out] = [s.rows(e, o.v), s.rows(e, o.write), s.out(e)];
        let [v, write, out] = [v, write, out].map(|rows| self.own(e, rows, row));
        let [q, k] = [o.q, o.k].map(|id| s.row(e, id, row));
        let rows = e.int(self.c.key_dim);
        e.repeat(rows, |e, j| {
            let [rates, to] = [self.rates, self.decays].map(|base| self.row(e, base, j));
            combine(e, Binary::Mul, rates, write, to, n);
        });
        let count = e.times(self.n, self.c.key_dim);
        e.map(offset_of!(KernelTable, exp), self.decays, count);
        combine(e, Binary::Mul, write, v, self.written, n);
        match o.skip {
            Some(skip) => {
                let skip = s.pointer(e, skip);
                let skip = e.at(skip, self.first, 4);
                combine(e, Binary::Mul, skip, v, out, n);
            }
            None => {
                let zero = e.float(0.0);
                fill(e, out, n, zero);
            }
        }
        e.repeat(rows, |e, j| {
            let decays = self.row(e, self.decays, j);
            let state = self.state.row(e, j);
            let [q, k] = [q, k].map(|row| {
                let at = e.at(row, j, 4);
                e.load(Lanes::One, at, 0)
            });
            self.advance(e, [state, decays, out], [q, k]);
        });
    }

    /// One row of the state: `s ← decay · s + k · written`, `out += q · s`.
    fn advance(&self, e: &mut Writer, [state, decays, out]: [Value; 3], [q, k]: [Value; 2]) {
        e.each(Count::Dynamic(self.n), |e, i, lanes| {
            let [state, decays, out, written] =
                [state, decays, out, self.written].map(|base| e.add(base, i));
            let [s, decay, w, y] = [state, decays, written, out].map(|at| e.load(lanes, at, 0));
            let [q, k] = [q, k].map(|x| e.splat(lanes, x));
            let (kept, new) = (e.b.ins().fmul(s, decay), e.b.ins().fmul(w, k));
            let s = e.b.ins().fadd(kept, new);
            e.store(s, state, 0);
            let part = e.b.ins().fmul(s, q);
            let y = e.b.ins().fadd(y, part);
            e.store(y, out, 0);
        });
    }
}

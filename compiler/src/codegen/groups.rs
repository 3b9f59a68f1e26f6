//! Groups in generated code: from all tokens' routes to the table that says where the rows of each expert lie.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::kernel::{Rows, Site};
use super::writer::{Lanes, Writer};
use crate::graph::Grouping;
use crate::schedule::max_tokens;

/// A table of groups in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    base: Value,
    grouping: Grouping,
    /// Tokens that it is laid out for.
    tokens: usize,
}

impl Table {
    pub(super) fn new(s: &Site, base: Value, grouping: Grouping) -> Table {
        Table {
            base,
            grouping,
            tokens: max_tokens(s.kind),
        }
    }

    fn at(self, e: &mut Writer, place: usize) -> Value {
        e.plus(self.base, place * 4)
    }

    pub(super) fn n_active(self, e: &mut Writer) -> Value {
        let at = self.at(e, self.grouping.n_active());
        get(e, at)
    }

    /// The expert that comes `index`th among those that have rows.
    pub(super) fn active(self, e: &mut Writer, index: Value) -> Value {
        let list = self.at(e, self.grouping.active());
        let at = e.at(list, index, 4);
        get(e, at)
    }

    /// An expert's rows: first, end.
    pub(super) fn run(self, e: &mut Writer, expert: Value) -> (Value, Value) {
        let at = e.at(self.base, expert, 4);
        let next = e.plus(at, 4);
        (get(e, at), get(e, next))
    }

    /// A row's token.
    pub(super) fn token(self, e: &mut Writer, row: Value) -> Value {
        let list = self.at(e, self.grouping.tokens());
        let at = e.at(list, row, 4);
        get(e, at)
    }

    /// A row's weight.
    pub(super) fn weight(self, e: &mut Writer, row: Value) -> Value {
        let list = self.at(e, self.grouping.weights(self.tokens));
        let at = e.at(list, row, 4);
        e.load(Lanes::One, at, 0)
    }

    /// The row of a token at the `index`th of its experts.
    pub(super) fn place(self, e: &mut Writer, token: Value, index: Value) -> Value {
        let list = self.at(e, self.grouping.places(self.tokens));
        let row = e.at(list, token, self.grouping.top_k * 4);
        let at = e.at(row, index, 4);
        get(e, at)
    }

    /// Fills the table from the routes of `n` tokens: a counting sort, which keeps the order of tokens.
    pub(super) fn fill(self, e: &mut Writer, routes: Rows, n: Value) {
        let (g, k) = (self.grouping, e.int(self.grouping.top_k));
        // Until the experts that have rows are listed, their list holds where each expert's next row goes.
        let cursors = self.at(e, g.active());
        let zero = e.int(0);
        let (offsets, all) = (e.int(g.runs() + 1), e.int(g.runs()));
        e.repeat(offsets, |e, i| {
            let at = e.at(self.base, i, 4);
            put(e, zero, at);
        });
        e.repeat(n, |e, t| {
            let row = routes.row(e, t);
            e.repeat(k, |e, j| {
                let run = self.run_of(e, row, j);
                let at = e.at(self.base, run, 4);
                let at = e.plus(at, 4);
                let count = get(e, at);
                let count = e.plus(count, 1);
                put(e, count, at);
            });
        });
        e.repeat(all, |e, i| {
            let (from, to) = (e.at(self.base, i, 4), e.at(cursors, i, 4));
            let (start, next) = (get(e, from), e.plus(from, 4));
            put(e, start, to);
            let count = get(e, next);
            let end = e.add(start, count);
            put(e, end, next);
        });
        e.repeat(n, |e, t| {
            let row = routes.row(e, t);
            e.repeat(k, |e, j| self.place_row(e, cursors, row, t, j));
        });
        let here = e.int(g.here());
        self.list_active(e, cursors, here);
    }

    /// The run of rows of the `j`th expert of a route: its own, or that of all experts that are not here.
    fn run_of(self, e: &mut Writer, route: Value, j: Value) -> Value {
        let expert = expert_of(e, route, j, self.grouping.top_k);
        if !self.grouping.has_others() {
            return expert;
        }
        let (first, others) = (e.int(self.grouping.first()), e.int(self.grouping.here()));
        // What lies before the first one is very large without a sign.
        let place = e.sub(expert, first);
        let is_here = e.b.ins().icmp(IntCC::UnsignedLessThan, place, others);
        e.b.ins().select(is_here, place, others)
    }

    /// Whether a row's expert is here, where not all are.
    pub(super) fn is_here(self, e: &mut Writer, row: Value) -> Option<Value> {
        if !self.grouping.has_others() {
            return None;
        }
        let at = self.at(e, Grouping::OFFSETS + self.grouping.here());
        let end = get(e, at);
        Some(e.b.ins().icmp(IntCC::UnsignedLessThan, row, end))
    }

    fn place_row(self, e: &mut Writer, cursors: Value, route: Value, t: Value, j: Value) {
        let g = self.grouping;
        let run = self.run_of(e, route, j);
        let cursor = e.at(cursors, run, 4);
        let at = get(e, cursor);
        let next = e.plus(at, 1);
        put(e, next, cursor);
        let tokens = self.at(e, g.tokens());
        let to = e.at(tokens, at, 4);
        put(e, t, to);
        let weights = self.at(e, g.weights(self.tokens));
        let (from, to) = (e.at(route, j, 4), e.at(weights, at, 4));
        let w = e.load(Lanes::One, from, 0);
        e.store(w, to, 0);
        let places = self.at(e, g.places(self.tokens));
        let row = e.at(places, t, g.top_k * 4);
        let to = e.at(row, j, 4);
        put(e, at, to);
    }

    fn list_active(self, e: &mut Writer, list: Value, all: Value) {
        let zero = e.int(0);
        let found = e.var(I64, zero);
        e.repeat(all, |e, i| {
            let (from, to) = self.run(e, i);
            let some = e.b.ins().icmp(IntCC::NotEqual, from, to);
            e.when(some, |e| {
                let n = e.b.use_var(found);
                let at = e.at(list, n, 4);
                put(e, i, at);
                let n = e.plus(n, 1);
                e.b.def_var(found, n);
            });
        });
        let (n, at) = (e.b.use_var(found), self.at(e, self.grouping.n_active()));
        put(e, n, at);
    }
}

/// Index of the `j`th expert of a route.
pub(super) fn expert_of(e: &mut Writer, route: Value, j: Value, top_k: usize) -> Value {
    let at = e.at(route, j, 4);
    let at = e.plus(at, top_k * 4);
    get(e, at)
}

/// An index in memory.
fn get(e: &mut Writer, at: Value) -> Value {
    e.load_index(at)
}

pub(super) fn put(e: &mut Writer, index: Value, at: Value) {
    e.store_index(index, at);
}

//! Online softmax: rows of scores against blocks of keys, with a running maximum and sum for each row.
//!
//! What a row has summed up so far is scaled where a block raises its maximum (Milakov & Gimelshein 2018). Keys and values
//! come from wherever [`CacheRows`] says: the state, or scratch where they have just been made.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::F32;
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{KEY_BLOCK, KernelTable};

use super::cache::{CacheRows, WidenedRows};
use super::kernel::Site;
use super::products::Product;
use super::relative::RelativeBias;
use super::tiles::first_key;
use super::vectors::{add_ramp, differs_from_one, fill, scale_by, scaled_copy};
use super::writer::{Count, Lanes, Writer};
use crate::graph::Attention;
use crate::schedule::scratch::AttentionScratch;

/// Rows of scores against a run of keys.
#[derive(Clone, Copy)]
pub(super) struct KeyPass<'a> {
    pub(super) a: &'a Attention,
    /// First row of queries, elements between rows, and how many.
    pub(super) queries: (Value, usize, Value),
    /// Addresses of the head's keys and values.
    pub(super) cache: (CacheRows, CacheRows),
    /// Keys to go over.
    pub(super) keys: (Value, Value),
    /// Position of row 0's query, and how many positions each further row's comes later.
    pub(super) position: (Value, usize),
    /// Where row 0 finds what its scores fall by with the distance, and bytes to where each further row does.
    pub(super) slopes: Option<(Value, usize)>,
    /// What is added to scores by distance.
    pub(super) relative: Option<RelativeBias>,
    /// What the rows' sums start with.
    pub(super) sinks: Option<Sinks>,
}

/// Where a head finds its slope, where there are slopes.
pub(super) fn slope_of(
    e: &mut Writer,
    s: &Site,
    a: &Attention,
    head: Value,
    step: usize,
) -> Option<(Value, usize)> {
    let slopes = s.read(|take| a.operands(take)).slopes;
    slopes.map(|slopes| {
        let all = s.pointer(e, slopes);
        (e.at(all, head, 4), step)
    })
}

/// Logits that sums start with, where this pass is the one over a query's first keys.
#[derive(Clone, Copy)]
pub(super) struct Sinks {
    /// The first row's, and bytes to each further one's.
    pub(super) logits: (Value, usize),
    pub(super) first: Value,
}

impl Sinks {
    pub(super) fn of(
        e: &mut Writer,
        s: &Site,
        a: &Attention,
        head: Value,
        step: usize,
        first: Value,
    ) -> Option<Self> {
        let sinks = s.read(|take| a.operands(take)).sinks;
        sinks.map(|sinks| {
            let all = s.pointer(e, sinks);
            let logits = (e.at(all, head, 4), step);
            Sinks { logits, first }
        })
    }
}

/// Scratch of a pass.
#[derive(Clone, Copy)]
pub(super) struct RunningSums {
    pub(super) scores: Value,
    /// `[rows, value_dim]`.
    pub(super) values: Value,
    /// `[rows, 2]`: maximum and sum.
    pub(super) state: Value,
    /// For cached rows that are not floats.
    pub(super) widened: WidenedRows,
}

impl RunningSums {
    pub(super) fn of(e: &mut Writer, s: &Site, a: &Attention) -> RunningSums {
        let scratch = AttentionScratch::of(s.graph, a, s.kind);
        RunningSums {
            scores: e.scratch(scratch.scores),
            values: e.scratch(scratch.values),
            state: e.scratch(scratch.state),
            widened: WidenedRows::of(e, scratch.widened),
        }
    }

    /// Those of the rows from row `first` on.
    pub(super) fn below(self, e: &mut Writer, a: &Attention, first: Value) -> RunningSums {
        RunningSums {
            scores: e.at(self.scores, first, KEY_BLOCK * 4),
            values: e.at(self.values, first, a.value_dim * 4),
            state: e.at(self.state, first, 8),
            ..self
        }
    }
}

impl KeyPass<'_> {
    pub(super) fn run(&self, e: &mut Writer, s: &Site, sums: RunningSums) {
        self.clear(e, sums);
        let side = s.keys(self.a.state);
        side.runs(e, self.keys, Some(KEY_BLOCK), |e, [k, row, n]| {
            self.block(e, sums, [k, row, n]);
        });
    }

    /// `n` keys from position `k` on, which lie in rows from `row` on.
    pub(super) fn block(&self, e: &mut Writer, sums: RunningSums, [k, row, n]: [Value; 3]) {
        self.scores(e, sums, row, n);
        self.weights(e, sums, k, n);
        self.mix(e, sums, row, n);
    }

    /// What softmax makes of the scores of `n` keys from position `k` on.
    pub(super) fn weights(&self, e: &mut Writer, sums: RunningSums, k: Value, n: Value) {
        e.repeat(self.queries.2, |e, r| self.row(e, sums, r, k, n));
    }

    pub(super) fn clear(&self, e: &mut Writer, sums: RunningSums) {
        let zero = e.float(0.0);
        e.repeat(self.queries.2, |e, r| {
            let values = e.at(sums.values, r, self.a.value_dim * 4);
            fill(e, values, Count::Known(self.a.value_dim), zero);
            let (most, sum) = self.start(e, r);
            let state = e.at(sums.state, r, 8);
            e.store(most, state, 0);
            e.store(sum, state, 4);
        });
    }

    /// Maximum and sum of row `r` before any key.
    fn start(&self, e: &mut Writer, r: Value) -> (Value, Value) {
        let (zero, lowest) = (e.float(0.0), e.float(f32::NEG_INFINITY));
        let Some(sinks) = &self.sinks else {
            return (lowest, zero);
        };
        let (first, step) = sinks.logits;
        let at = e.at(first, r, step);
        let (logit, one) = (e.load(Lanes::One, at, 0), e.float(1.0));
        (
            e.b.ins().select(sinks.first, logit, lowest),
            e.b.ins().select(sinks.first, one, zero),
        )
    }

    pub(super) fn scores(&self, e: &mut Writer, sums: RunningSums, first: Value, n: Value) {
        let (queries, stride, m) = self.queries;
        self.cache
            .0
            .parts(e, (first, n), sums.widened, |e, keys, [start, n]| {
                let product = Product {
                    x: (queries, e.int(stride), m),
                    w: keys,
                    sizes: (n, e.int(self.a.head_dim)),
                    out: (e.at(sums.scores, start, 4), e.int(KEY_BLOCK)),
                    accumulate: e.int(0),
                };
                product.emit(e, false);
            });
    }

    /// Softmax of one row's scores in a block; scales what the row has summed up so far.
    fn row(&self, e: &mut Writer, sums: RunningSums, r: Value, k: Value, n: Value) {
        let (first, step) = self.position;
        let position = e.at(first, r, step);
        let (start, end) = (first_key(e, position, self.a.reach), e.plus(position, 1));
        let (end, start) = (e.sub(end, k), e.sub(start, k));
        let (end, start) = (e.clamp(end, n), e.clamp(start, n));
        let scores = e.at(sums.scores, r, KEY_BLOCK * 4);
        let seen = e.sub(end, start);
        let first = e.at(scores, start, 4);
        let some = e.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, seen, 0);
        e.when(some, |e| {
            let scale = self.cap(e, first, seen);
            let key = e.add(k, start);
            let before = e.sub(key, position);
            let mut scale = self.slope(e, (first, seen), scale, r, before);
            if let Some(relative) = self.relative {
                scale_by(e, first, Count::Dynamic(seen), scale);
                let behind = e.add(key, seen);
                let last = e.plus(position, 1);
                let nearest = e.sub(last, behind);
                relative.add(e, r, (first, seen), nearest);
                scale = e.float(1.0);
            }
            let state = e.at(sums.state, r, 8);
            let factor = e.micro(
                offset_of!(KernelTable, softmax_block),
                &[first, seen, scale, state],
                Some(F32),
            );
            let factor = factor.expect("it returns one");
            let differs = differs_from_one(e, factor);
            e.when(differs, |e| {
                let values = e.at(sums.values, r, self.a.value_dim * 4);
                scale_by(e, values, Count::Known(self.a.value_dim), factor);
            });
        });
        let zero = e.float(0.0);
        fill(e, scores, Count::Dynamic(start), zero);
        let (after, rest) = (e.at(scores, end, 4), e.sub(n, end));
        fill(e, after, Count::Dynamic(rest), zero);
    }

    /// Applies a soft-cap; returns the scale that is left for the softmax.
    fn cap(&self, e: &mut Writer, scores: Value, n: Value) -> Value {
        let Some(c) = self.a.softcap else {
            return e.float(self.a.scale);
        };
        let inner = e.float(self.a.scale / c);
        scale_by(e, scores, Count::Dynamic(n), inner);
        e.map(offset_of!(KernelTable, tanh), scores, n);
        e.float(c)
    }

    /// Adds what scores fall by with the distance, the first key being so many positions from row `r`'s query; returns the scale
    /// that is left for the softmax.
    fn slope(
        &self,
        e: &mut Writer,
        (scores, n): (Value, Value),
        scale: Value,
        r: Value,
        first: Value,
    ) -> Value {
        let Some((slopes, step)) = self.slopes else {
            return scale;
        };
        let at = e.at(slopes, r, step);
        let slope = e.load(Lanes::One, at, 0);
        scale_by(e, scores, Count::Dynamic(n), scale);
        add_ramp(e, scores, n, slope, first);
        e.float(1.0)
    }

    pub(super) fn mix(&self, e: &mut Writer, sums: RunningSums, first: Value, n: Value) {
        let m = self.queries.2;
        self.cache
            .1
            .parts(e, (first, n), sums.widened, |e, values, [start, n]| {
                let dim = e.int(self.a.value_dim);
                let product = Product {
                    x: (e.at(sums.scores, start, 4), e.int(KEY_BLOCK), m),
                    w: values,
                    sizes: (dim, n),
                    out: (sums.values, dim),
                    accumulate: e.int(1),
                };
                product.emit(e, true);
            });
    }
}

/// `out[r] = values[r] / sum[r]`.
pub(super) fn divide_rows(
    e: &mut Writer,
    a: &Attention,
    sums: RunningSums,
    n: Value,
    to: Value,
    stride: usize,
) {
    e.repeat(n, |e, r| {
        let (from, state, to) = (
            e.at(sums.values, r, a.value_dim * 4),
            e.at(sums.state, r, 8),
            e.at(to, r, stride),
        );
        let sum = e.load(Lanes::One, state, 4);
        let one = e.float(1.0);
        let inverse = e.b.ins().fdiv(one, sum);
        scaled_copy(e, from, to, Count::Known(a.value_dim), inverse);
    });
}

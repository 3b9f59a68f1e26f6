//! Routing in generated code: from a token's scores to its experts.
//!
//! Experts are picked by repeated search for the largest key. A key is the score's bits made so that whole numbers compare as
//! the floats do; a search that takes only what is larger finds the lowest index of several equals, and the least key of
//! all marks what has been taken.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, I32, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use graver_runtime::abi::KernelTable;

use super::groups::{Table, expert_of, put};
use super::kernel::{Rows, Site};
use super::vectors::copy;
use super::writer::{Count, Lanes, Writer};
use crate::graph::{Grouping, Groups, NodeId, Route, RouteOperands, Score};
use crate::schedule::scratch::{RouteScratch, RoutingScratch};

/// The groups of a kernel whose threads each route for themselves.
pub(super) fn own_groups(
    e: &mut Writer,
    s: &Site,
    (r, o): (&Route, RouteOperands<NodeId>),
    grouping: Grouping,
    scratch: &RoutingScratch,
) -> Table {
    let routes = Rows {
        base: e.scratch(scratch.routes),
        stride: 2 * r.top_k * 4,
    };
    let table = e.scratch(scratch.table);
    let scores = s.rows(e, o.scores);
    let listed = o.listed.map(|id| s.rows(e, id));
    let each = Each::of(e, s, &o);
    let tokens = e.tokens();
    e.repeat(tokens, |e, t| {
        let (from, to) = (scores.row(e, t), routes.row(e, t));
        let listed = listed.map(|rows| rows.row(e, t));
        route(e, r, (from, listed), each, to, &scratch.route);
    });
    let table = Table::new(s, table, grouping);
    table.fill(e, routes, tokens);
    table
}

/// Places in the scratch of one routing.
#[derive(Clone, Copy)]
struct RoutePlaces {
    /// `[experts]`: what weights are made from.
    scores: Value,
    /// `[experts]`: what decides.
    choice: Value,
    /// `[experts]`, whole numbers.
    keys: Value,
    /// `[groups]`.
    worth: Value,
    /// `[groups]`, whole numbers.
    group_keys: Value,
    /// Two numbers of a softmax.
    state: Value,
}

impl RoutePlaces {
    fn at(e: &mut Writer, scratch: &RouteScratch) -> RoutePlaces {
        RoutePlaces {
            scores: e.scratch(scratch.scores),
            choice: e.scratch(scratch.choice),
            keys: e.scratch(scratch.keys),
            worth: e.scratch(scratch.worth),
            group_keys: e.scratch(scratch.group_keys),
            state: e.scratch(scratch.state),
        }
    }
}

/// Addresses of numbers that there are for each expert.
#[derive(Clone, Copy)]
pub(super) struct Each {
    correction: Option<Value>,
    expert_scale: Option<Value>,
}

impl Each {
    pub(super) fn of(e: &mut Writer, s: &Site, o: &RouteOperands<NodeId>) -> Each {
        Each {
            correction: o.correction.map(|id| s.pointer(e, id)),
            expert_scale: o.expert_scale.map(|id| s.pointer(e, id)),
        }
    }
}

/// Routes one token: from scores `[experts]`, and the experts that are listed for it, `[top_k]`, if any are, to weights `[top_k]` and
/// experts `[top_k]`.
pub(super) fn route(
    e: &mut Writer,
    r: &Route,
    (from, listed): (Value, Option<Value>),
    each: Each,
    to: Value,
    scratch: &RouteScratch,
) {
    let w = RoutePlaces::at(e, scratch);
    copy(e, from, w.scores, r.experts, 1.0);
    if !r.after && r.near.is_none() {
        score(e, r.score, w.scores, r.experts, w.state);
    }
    match listed {
        Some(listed) => emit_listed(e, r, w, listed, to),
        None => choose(e, r, w, each, to),
    }
    weights(e, r, w, to);
    if let Some(factors) = each.expert_scale {
        scale_each(e, r, factors, to);
    }
}

/// Chooses experts by their scores.
fn choose(e: &mut Writer, r: &Route, w: RoutePlaces, each: Each, to: Value) {
    let (all, n) = (e.int(r.experts), e.int(r.experts - r.always));
    e.repeat(n, |e, i| {
        let (from, to) = (e.at(w.scores, i, 4), e.at(w.choice, i, 4));
        let mut v = e.load(Lanes::One, from, 0);
        if let Some(c) = each.correction {
            let at = e.at(c, i, 4);
            let c = e.load(Lanes::One, at, 0);
            v = e.b.ins().fadd(v, c);
        }
        let (same, lowest) = (
            e.b.ins().fcmp(FloatCC::Equal, v, v),
            e.float(f32::NEG_INFINITY),
        );
        let v = e.b.ins().select(same, v, lowest);
        e.store(v, to, 0);
    });
    make_keys(e, w.choice, w.keys, n);
    if let Some(g) = r.groups {
        limit_groups(e, r, g, w);
        make_keys(e, w.choice, w.keys, n);
    }
    let (k, zero) = (e.int(r.top_k - r.always), e.int(0));
    e.repeat(k, |e, _| {
        let best = pick(e, w.keys, zero, n);
        take(e, w.keys, best);
        if let Some(near) = r.near {
            weigh_near(e, w, best, n, near);
        }
    });
    e.range(n, all, 1, |e, i| take(e, w.keys, i));
    emit_chosen(e, r, w, to, all);
}

/// Writes the scores and indices of what is listed; a number that no expert has counts as the last.
fn emit_listed(e: &mut Writer, r: &Route, w: RoutePlaces, listed: Value, to: Value) {
    let (k, last) = (e.int(r.top_k), e.int(r.experts - 1));
    e.repeat(k, |e, j| {
        let (from, at) = (e.at(listed, j, 4), e.at(to, j, 4));
        let expert = e.load(Lanes::One, from, 0);
        let expert = e.b.ins().fcvt_to_sint_sat(I64, expert);
        let expert = e.clamp(expert, last);
        let score = e.at(w.scores, expert, 4);
        let score = e.load(Lanes::One, score, 0);
        e.store(score, at, 0);
        let index = e.plus(at, r.top_k * 4);
        put(e, expert, index);
    });
}

/// Multiplies each weight by its expert's number.
fn scale_each(e: &mut Writer, r: &Route, factors: Value, to: Value) {
    let k = e.int(r.top_k);
    e.repeat(k, |e, j| {
        let expert = expert_of(e, to, j, r.top_k);
        let (at, factor) = (e.at(to, j, 4), e.at(factors, expert, 4));
        let (weight, factor) = (e.load(Lanes::One, at, 0), e.load(Lanes::One, factor, 0));
        let weight = e.b.ins().fmul(weight, factor);
        e.store(weight, at, 0);
    });
}

/// Makes a weight of the score of the expert that has just been taken: its part in a softmax over it and those that are left and near.
fn weigh_near(e: &mut Writer, w: RoutePlaces, best: Value, n: Value, near: f32) {
    let (own, one) = (e.at(w.scores, best, 4), e.float(1.0));
    let most = e.load(Lanes::One, own, 0);
    let sum = e.var(F32, one);
    e.repeat(n, |e, i| {
        let (at, near) = (e.at(w.scores, i, 4), e.float(near));
        let score = e.load(Lanes::One, at, 0);
        let (less, size) = (e.b.ins().fsub(score, most), e.b.ins().fabs(score));
        let size = e.b.ins().fmax(size, most);
        let (more, taken) = (e.b.ins().fneg(less), is_taken(e, w.keys, i));
        let part = e.b.ins().fdiv(more, size);
        // Of two zeros the part is no number, and they are not apart.
        let apart = e.b.ins().fcmp(FloatCC::GreaterThan, part, near);
        let out = e.b.ins().bor(apart, taken);
        let counts = e.b.ins().bxor_imm_u(out, 1);
        e.when(counts, |e| {
            let one = e.int(1);
            e.store(less, w.state, 0);
            e.map(offset_of!(KernelTable, exp), w.state, one);
            let (term, old) = (e.load(Lanes::One, w.state, 0), e.b.use_var(sum));
            let new = e.b.ins().fadd(old, term);
            e.b.def_var(sum, new);
        });
    });
    let sum = e.b.use_var(sum);
    let weight = e.b.ins().fdiv(one, sum);
    e.store(weight, own, 0);
}

/// Turns scores into what weights are made from, in place.
fn score(e: &mut Writer, kind: Score, at: Value, n: usize, state: Value) {
    let count = e.int(n);
    match kind {
        Score::Sigmoid => e.map(offset_of!(KernelTable, sigmoid), at, count),
        Score::SqrtSoftplus => {
            e.map(offset_of!(KernelTable, softplus), at, count);
            e.each(Count::Known(n), |e, i, lanes| {
                let at = e.add(at, i);
                let x = e.load(lanes, at, 0);
                let root = e.b.ins().sqrt(x);
                e.store(root, at, 0);
            });
        }
        Score::Softmax => {
            let (lowest, zero, one) = (e.float(f32::NEG_INFINITY), e.float(0.0), e.float(1.0));
            e.store(lowest, state, 0);
            e.store(zero, state, 4);
            e.micro(
                offset_of!(KernelTable, softmax_block),
                &[at, count, one, state],
                Some(F32),
            );
            let sum = e.load(Lanes::One, state, 4);
            divide(e, at, n, sum);
        }
    }
}

fn divide(e: &mut Writer, at: Value, n: usize, by: Value) {
    e.each(Count::Known(n), |e, i, lanes| {
        let at = e.add(at, i);
        let (x, by) = (e.load(lanes, at, 0), e.splat(lanes, by));
        let y = e.b.ins().fdiv(x, by);
        e.store(y, at, 0);
    });
}

/// Whole numbers that compare as the floats do, none of them the least of all.
fn make_keys(e: &mut Writer, from: Value, to: Value, n: Value) {
    e.repeat(n, |e, i| {
        let (from, to) = (e.at(from, i, 4), e.at(to, i, 4));
        let (v, zero) = (e.load(Lanes::One, from, 0), e.float(0.0));
        // −0 and 0 are equal, so they must have one key.
        let v = e.b.ins().fadd(v, zero);
        let bits = e.b.ins().bitcast(I32, MemFlagsData::new(), v);
        let sign = e.b.ins().sshr_imm_u(bits, 31);
        let magnitude = e.b.ins().band_imm_u(sign, 0x7fff_ffff);
        let key = e.b.ins().bxor(bits, magnitude);
        e.store(key, to, 0);
    });
}

/// Index of the largest key in `from..to`, the lowest of several.
fn pick(e: &mut Writer, keys: Value, from: Value, to: Value) -> Value {
    let least = e.b.ins().iconst(I32, i64::from(i32::MIN));
    let (best, index) = (e.var(I32, least), e.var(I64, from));
    e.range(from, to, 1, |e, i| {
        let at = e.at(keys, i, 4);
        let key = e.load_as(I32, at, 0);
        let (old, old_index) = (e.b.use_var(best), e.b.use_var(index));
        let larger = e.b.ins().icmp(IntCC::SignedGreaterThan, key, old);
        let (new, new_index) = (
            e.b.ins().select(larger, key, old),
            e.b.ins().select(larger, i, old_index),
        );
        e.b.def_var(best, new);
        e.b.def_var(index, new_index);
    });
    e.b.use_var(index)
}

/// Marks a key as taken.
fn take(e: &mut Writer, keys: Value, index: Value) {
    let least = e.b.ins().iconst(I32, i64::from(i32::MIN));
    let at = e.at(keys, index, 4);
    e.store(least, at, 0);
}

fn is_taken(e: &mut Writer, keys: Value, index: Value) -> Value {
    let at = e.at(keys, index, 4);
    let key = e.load_as(I32, at, 0);
    e.b.ins().icmp_imm_s(IntCC::Equal, key, i64::from(i32::MIN))
}

/// Makes −∞ of the choice in all but the best groups.
fn limit_groups(e: &mut Writer, r: &Route, g: Groups, w: RoutePlaces) {
    let each = r.experts / g.count;
    let (count, zero) = (e.int(g.count), e.int(0));
    e.repeat(count, |e, i| {
        let from = e.times(i, each);
        let to = e.plus(from, each);
        let none = e.float(0.0);
        let (sum, best) = (e.var(F32, none), e.int(g.best));
        e.repeat(best, |e, _| {
            let found = pick(e, w.keys, from, to);
            take(e, w.keys, found);
            let at = e.at(w.choice, found, 4);
            let (v, old) = (e.load(Lanes::One, at, 0), e.b.use_var(sum));
            let new = e.b.ins().fadd(old, v);
            e.b.def_var(sum, new);
        });
        let (v, at) = (e.b.use_var(sum), e.at(w.worth, i, 4));
        e.store(v, at, 0);
    });
    make_keys(e, w.worth, w.group_keys, count);
    let top = e.int(g.top);
    e.repeat(top, |e, _| {
        let found = pick(e, w.group_keys, zero, count);
        take(e, w.group_keys, found);
    });
    e.repeat(count, |e, i| {
        let kept = is_taken(e, w.group_keys, i);
        let out = e.b.ins().bxor_imm_u(kept, 1);
        e.when(out, |e| {
            let (lowest, first) = (e.float(f32::NEG_INFINITY), e.at(w.choice, i, each * 4));
            e.each(Count::Known(each), |e, at, lanes| {
                let (at, v) = (e.add(first, at), e.splat(lanes, lowest));
                e.store(v, at, 0);
            });
        });
    });
}

/// Writes the scores and indices of what has been taken, in ascending order.
fn emit_chosen(e: &mut Writer, r: &Route, w: RoutePlaces, to: Value, n: Value) {
    let next = e.var(I64, to);
    e.repeat(n, |e, i| {
        let taken = is_taken(e, w.keys, i);
        e.when(taken, |e| {
            let (at, from) = (e.b.use_var(next), e.at(w.scores, i, 4));
            let v = e.load(Lanes::One, from, 0);
            e.store(v, at, 0);
            let index = e.plus(at, r.top_k * 4);
            put(e, i, index);
            let after = e.plus(at, 4);
            e.b.def_var(next, after);
        });
    });
}

/// Makes weights of the chosen scores, in place.
fn weights(e: &mut Writer, r: &Route, w: RoutePlaces, at: Value) {
    if r.after {
        score(e, r.score, at, r.top_k, w.state);
    }
    if let Some(eps) = r.renormalise {
        let (k, zero) = (e.int(r.top_k), e.float(0.0));
        let sum = e.var(F32, zero);
        e.repeat(k, |e, j| {
            let at = e.at(at, j, 4);
            let (v, old) = (e.load(Lanes::One, at, 0), e.b.use_var(sum));
            let new = e.b.ins().fadd(old, v);
            e.b.def_var(sum, new);
        });
        let (sum, eps) = (e.b.use_var(sum), e.float(eps));
        let by = e.b.ins().fadd(sum, eps);
        divide(e, at, r.top_k, by);
    }
    if r.scale != 1.0 {
        copy(e, at, at, r.top_k, r.scale);
    }
}

//! Operations on experts that treat each row alone: routing, gathering, activation, and the way back to tokens.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::F32;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::activate::activate_row;
use crate::codegen::groups::{Table, expert_of};
use crate::codegen::kernel::Site;
use crate::codegen::route::{Each, route};
use crate::codegen::vectors::{add_weighted, copy, scaled_copy};
use crate::codegen::writer::{Count, Lanes, Writer};
use crate::graph::{
    Activate, Form, GroupedRows, Grouping, Route, RouteOperands, ScaledRows, Single,
};
use crate::schedule::scratch::{ActivateScratch, RouteScratch};

/// Routes of token `i`.
pub(in crate::codegen) fn route_row(e: &mut Writer, s: &Site, r: &Route, i: Value) {
    let o = s.read(|take| RouteOperands::of(r, take));
    let (from, out) = (s.row(e, o.scores, i), s.out_row(e, i));
    let listed = o.listed.map(|id| s.row(e, id, i));
    let each = Each::of(e, s, &o);
    route(e, r, (from, listed), each, out, &RouteScratch::of(r));
}

/// Row `i` of the tokens at each of their experts.
pub(in crate::codegen) fn gather(
    e: &mut Writer,
    s: &Site,
    grouping: &Grouping,
    weighted: bool,
    i: Value,
) {
    let GroupedRows { x, groups } = s.read(GroupedRows::of);
    let base = s.rows(e, groups).base;
    let table = Table::new(s, base, *grouping);
    let token = table.token(e, i);
    let (from, out) = (s.row(e, x, token), s.out_row(e, i));
    match weighted {
        true => {
            let w = table.weight(e, i);
            scaled_copy(e, from, out, Count::Known(s.width()), w);
        }
        false => copy(e, from, out, s.width(), 1.0),
    }
}

/// The sum of the weights of token `i`'s experts without matrices, in the order of experts.
pub(in crate::codegen) fn identity_weight(e: &mut Writer, s: &Site, g: &Grouping, i: Value) {
    let x = s.read(Single::of).x;
    let (route, out) = (s.row(e, x, i), s.out_row(e, i));
    let (k, zero) = (e.int(g.top_k), e.float(0.0));
    let sum = e.var(F32, zero);
    e.repeat(k, |e, j| {
        let (expert, first) = (expert_of(e, route, j, g.top_k), e.int(g.with_matrices()));
        let gives_back =
            e.b.ins()
                .icmp(IntCC::UnsignedGreaterThanOrEqual, expert, first);
        e.when(gives_back, |e| {
            let at = e.at(route, j, 4);
            let (w, old) = (e.load(Lanes::One, at, 0), e.b.use_var(sum));
            let new = e.b.ins().fadd(old, w);
            e.b.def_var(sum, new);
        });
    });
    let sum = e.b.use_var(sum);
    e.store(sum, out, 0);
}

/// Row `i` multiplied by its number, or each of its heads by one of their own.
pub(in crate::codegen) fn scale_row(e: &mut Writer, s: &Site, i: Value) {
    let o = s.read(ScaledRows::of);
    let (from, by, out) = (s.row(e, o.x, i), s.row(e, o.by, i), s.out_row(e, i));
    let heads = s.graph.width(o.by);
    let (each, heads) = (s.width() / heads, e.int(heads));
    e.repeat(heads, |e, h| {
        let (from, out) = (e.at(from, h, each * 4), e.at(out, h, each * 4));
        let by = e.at(by, h, 4);
        let by = e.load(Lanes::One, by, 0);
        scaled_copy(e, from, out, Count::Known(each), by);
    });
}

/// Row `i` of what lies between an expert's matrices.
pub(in crate::codegen) fn activation(e: &mut Writer, s: &Site, a: &Activate, i: Value) {
    let o = s.read(|take| a.operands(take));
    let (out, n) = (s.out_row(e, i), s.width());
    let scratch = e.scratch(ActivateScratch::of(s.graph, s.kernel.node).pairs);
    let from = s.row(e, o.x, i);
    let other = match o.up {
        Some(up) => s.row(e, up, i),
        None => scratch,
    };
    match a.form {
        Form::Plain | Form::Gated => copy(e, from, out, n, 1.0),
        Form::Paired => copy(e, from, scratch, 2 * n, 1.0),
    }
    activate_row(e, a, out, other, Count::Known(n));
}

/// Token `t`'s rows, summed in the order of its experts.
pub(in crate::codegen) fn combine(
    e: &mut Writer,
    s: &Site,
    grouping: &Grouping,
    weighted: bool,
    t: Value,
) {
    let GroupedRows { x, groups } = s.read(GroupedRows::of);
    let (base, out, n) = (s.rows(e, groups).base, s.out_row(e, t), s.width());
    let table = Table::new(s, base, *grouping);
    let zero = e.float(0.0);
    e.each(Count::Known(n), |e, i, lanes| {
        let (at, v) = (e.add(out, i), e.splat(lanes, zero));
        e.store(v, at, 0);
    });
    let k = e.int(grouping.top_k);
    e.repeat(k, |e, j| {
        let place = table.place(e, t, j);
        let add = |e: &mut Writer| {
            let from = s.row(e, x, place);
            let w = weighted.then(|| table.weight(e, place));
            add_weighted(e, from, out, Count::Known(n), w);
        };
        match table.is_here(e, place) {
            Some(is_here) => e.when(is_here, add),
            None => add(e),
        }
    });
}

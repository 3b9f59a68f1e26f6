//! Operations on experts that treat each row alone: routing, gathering, activation, and the way back to tokens.

use cranelift_codegen::ir::Value;

use super::activate::activate_row;
use crate::codegen::kernel::Site;
use crate::codegen::route::{Table, route};
use crate::codegen::vectors::{add_weighted, copy, scaled_copy};
use crate::codegen::writer::{Count, Lanes, Writer};
use crate::graph::{Activate, Form, Grouping, Op};
use crate::schedule::scratch::{ActivateScratch, RouteScratch};

/// Row `i` of what is a row for each token, or for each token at each of its experts.
pub(in crate::codegen) fn row(e: &mut Writer, s: &Site, i: Value) {
    let operand = |e: &mut Writer, role: &str, i: Value| {
        let rows = s.rows(e, s.operand(role));
        rows.row(e, i)
    };
    let out = s.out(e).row(e, i);
    let width = s.graph.width(s.kernel.node);
    match s.op() {
        Op::Route(r) => {
            let from = operand(e, "x", i);
            let correction = r.correction.then(|| s.pointer(e, s.operand("correction")));
            route(e, r, from, correction, out, &RouteScratch::of(r));
        }
        Op::GatherTokens { grouping, weighted } => {
            let base = s.rows(e, s.operand("groups")).base;
            let table = Table::new(s, base, *grouping);
            let token = table.token(e, i);
            let from = operand(e, "x", token);
            match weighted {
                true => {
                    let w = table.weight(e, i);
                    scaled_copy(e, from, out, Count::Known(width), w);
                }
                false => copy(e, from, out, width, 1.0),
            }
        }
        Op::Activate(a) => activation(e, s, a, i, out, width),
        Op::Combine { grouping, weighted } => combine(e, s, grouping, *weighted, i, out, width),
        Op::ScaleRows => {
            let (from, by) = (operand(e, "x", i), operand(e, "by", i));
            let by = e.load(Lanes::One, by, 0);
            scaled_copy(e, from, out, Count::Known(width), by);
        }
        other => unreachable!("{} is no operation on rows of experts", other.name()),
    }
}

fn activation(e: &mut Writer, s: &Site, a: &Activate, i: Value, out: Value, n: usize) {
    let of = |e: &mut Writer, role: &str| {
        let rows = s.rows(e, s.operand(role));
        rows.row(e, i)
    };
    let scratch = e.scratch(ActivateScratch::of(s.graph, s.kernel.node).pairs);
    let other = match a.form {
        Form::Plain => {
            let from = of(e, "x");
            copy(e, from, out, n, 1.0);
            scratch
        }
        Form::Gated => {
            let (from, up) = (of(e, "gate"), of(e, "up"));
            copy(e, from, out, n, 1.0);
            up
        }
        Form::Paired => {
            let from = of(e, "x");
            copy(e, from, scratch, 2 * n, 1.0);
            scratch
        }
    };
    activate_row(e, a, out, other, Count::Known(n));
}

fn combine(
    e: &mut Writer,
    s: &Site,
    grouping: &Grouping,
    weighted: bool,
    t: Value,
    out: Value,
    n: usize,
) {
    let base = s.rows(e, s.operand("groups")).base;
    let table = Table::new(s, base, *grouping);
    let zero = e.float(0.0);
    e.each(Count::Known(n), |e, i, lanes| {
        let (at, v) = (e.add(out, i), e.splat(lanes, zero));
        e.store(v, at, 0);
    });
    let k = e.int(grouping.top_k);
    e.repeat(k, |e, j| {
        let place = table.place(e, t, j);
        let rows = s.rows(e, s.operand("x"));
        let from = rows.row(e, place);
        let w = weighted.then(|| table.weight(e, place));
        add_weighted(e, from, out, Count::Known(n), w);
    });
}

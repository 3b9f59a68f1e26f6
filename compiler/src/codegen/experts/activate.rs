//! What lies between an expert's matrices, for one row.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::F32X4;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};

use crate::codegen::vectors::count;
use crate::codegen::writer::{Count, Lanes, Writer, activation_kernel};
use crate::graph::{Activate, Form, Gating};

/// One row between an expert's matrices. `out` holds the gate and gets the result; `other` holds up, or pairs of both, which
/// it loses.
pub(super) fn activate_row(e: &mut Writer, a: &Activate, out: Value, other: Value, n: Count) {
    match a.form {
        Form::Plain => {
            gate(e, &a.gating, out, n);
            settle(e, &a.gating, out, n);
        }
        Form::Gated => {
            gate(e, &a.gating, out, n);
            times_up(e, &a.gating, out, other, n);
        }
        Form::Paired => {
            split_pairs(e, out, other, n);
            gate(e, &a.gating, out, n);
            times_up(e, &a.gating, out, other, n);
        }
    }
}

/// Gates to `out`, ups to the front of `pairs`: what is overwritten has been read.
fn split_pairs(e: &mut Writer, out: Value, pairs: Value, n: Count) {
    let n = count(e, n);
    e.repeat(n, |e, i| {
        let pair = e.at(pairs, i, 8);
        let (g, u) = (e.load(Lanes::One, pair, 0), e.load(Lanes::One, pair, 4));
        let (gate, up) = (e.at(out, i, 4), e.at(pairs, i, 4));
        e.store(g, gate, 0);
        e.store(u, up, 0);
    });
}

/// `act(α min(g, limit))` in place, or `act(α g)` where the limit comes behind it.
fn gate(e: &mut Writer, g: &Gating, at: Value, n: Count) {
    let limit = g.limit.filter(|_| !g.after);
    if limit.is_some() || g.alpha != 1.0 {
        let alpha = e.float(g.alpha);
        e.each(n, |e, i, lanes| {
            let (at, alpha) = (e.add(at, i), e.splat(lanes, alpha));
            let mut x = e.load(lanes, at, 0);
            if let Some(l) = limit {
                x = bounded(e, lanes, x, l, FloatCC::LessThan);
            }
            let y = e.b.ins().fmul(x, alpha);
            e.store(y, at, 0);
        });
    }
    let n = count(e, n);
    e.map(activation_kernel(g.act), at, n);
}

/// `g / α · (u + offset)`, up clamped.
fn times_up(e: &mut Writer, g: &Gating, gate: Value, up: Value, n: Count) {
    let offset = e.float(g.offset);
    e.each(n, |e, i, lanes| {
        let (at, up) = (e.add(gate, i), e.add(up, i));
        let (x, mut u) = (e.load(lanes, at, 0), e.load(lanes, up, 0));
        let x = settled(e, g, lanes, x);
        if let Some(l) = g.limit {
            u = bounded(e, lanes, u, l, FloatCC::LessThan);
            u = bounded(e, lanes, u, -l, FloatCC::GreaterThan);
        }
        if g.offset != 0.0 {
            let offset = e.splat(lanes, offset);
            u = e.b.ins().fadd(u, offset);
        }
        let y = e.b.ins().fmul(x, u);
        e.store(y, at, 0);
    });
}

/// What is left to do behind the non-linearity of a gate that has no up.
fn settle(e: &mut Writer, g: &Gating, at: Value, n: Count) {
    if g.alpha == 1.0 && !g.after {
        return;
    }
    e.each(n, |e, i, lanes| {
        let at = e.add(at, i);
        let x = e.load(lanes, at, 0);
        let y = settled(e, g, lanes, x);
        e.store(y, at, 0);
    });
}

/// `x / α`, clamped where the limit comes behind the non-linearity.
fn settled(e: &mut Writer, g: &Gating, lanes: Lanes, mut x: Value) -> Value {
    if g.alpha != 1.0 {
        let alpha = e.float(g.alpha);
        let alpha = e.splat(lanes, alpha);
        x = e.b.ins().fdiv(x, alpha);
    }
    match g.limit.filter(|_| g.after) {
        Some(limit) => bounded(e, lanes, x, limit, FloatCC::LessThan),
        None => x,
    }
}

/// `x` where it compares with the bound as said, else the bound.
fn bounded(e: &mut Writer, lanes: Lanes, x: Value, bound: f32, cc: FloatCC) -> Value {
    let scalar = e.float(bound);
    let bound = e.splat(lanes, scalar);
    let holds = e.b.ins().fcmp(cc, x, bound);
    match lanes {
        Lanes::One => e.b.ins().select(holds, x, bound),
        Lanes::Four => {
            let mask = e.b.ins().bitcast(F32X4, MemFlagsData::new(), holds);
            e.b.ins().bitselect(mask, x, bound)
        }
    }
}

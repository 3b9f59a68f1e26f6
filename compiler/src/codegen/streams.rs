//! Kernels on values that run beside each other: weighted sums, matching of magnitudes, cut-offs, learned curvature.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Value};

use graver_runtime::abi::KernelTable;

use super::kernel::Site;
use super::writer::{Count, Lanes, Writer};
use crate::graph::{MatchedRows, NodeId, Single, WeightedSum, Xielu, XieluOperands};
use crate::schedule::scratch::XieluScratch;

/// One row of a weighted sum, its terms added in order.
pub(super) fn weighted_sum(e: &mut Writer, s: &Site, w: &WeightedSum, t: Value) {
    let o = s.read(|take| w.operands(take));
    let by = s.row(e, o.by, t);
    let mut term = |(j, id): (usize, &NodeId)| {
        let weight = e.load(Lanes::One, by, (w.start + j) * 4);
        (weight, s.row(e, *id, t))
    };
    let terms: Vec<(Value, Value)> = o.terms.iter().enumerate().map(&mut term).collect();
    let to = s.out_row(e, t);
    e.each(Count::Known(s.width()), |e, i, lanes| {
        let mut sum: Option<Value> = None;
        for (weight, x) in &terms {
            let at = e.add(*x, i);
            let (x, weight) = (e.load(lanes, at, 0), e.splat(lanes, *weight));
            let term = e.b.ins().fmul(x, weight);
            sum = Some(match sum {
                Some(sum) => e.b.ins().fadd(sum, term),
                None => term,
            });
        }
        let at = e.add(to, i);
        e.store(sum.expect("a sum has terms"), at, 0);
    });
}

/// One row, with the root mean square of another.
pub(super) fn match_rms(e: &mut Writer, s: &Site, least: f32, t: Value) {
    let n = s.width();
    let o = s.read(MatchedRows::of);
    let (x, like) = (s.row(e, o.x, t), s.row(e, o.like, t));
    let (is, wanted, least) = (
        mean_square(e, x, n),
        mean_square(e, like, n),
        e.float(least),
    );
    let small = e.b.ins().fcmp(FloatCC::LessThan, is, least);
    let is = e.b.ins().select(small, least, is);
    let (is, wanted) = (e.b.ins().sqrt(is), e.b.ins().sqrt(wanted));
    let factor = e.b.ins().fdiv(wanted, is);
    let to = s.out_row(e, t);
    e.each(Count::Known(n), |e, i, lanes| {
        let (from, to) = (e.add(x, i), e.add(to, i));
        let (x, f) = (e.load(lanes, from, 0), e.splat(lanes, factor));
        let y = e.b.ins().fmul(x, f);
        e.store(y, to, 0);
    });
}

fn mean_square(e: &mut Writer, x: Value, n: usize) -> Value {
    let sum = e.sum(n, |e, i, lanes| {
        let at = e.add(x, i);
        let x = e.load(lanes, at, 0);
        e.b.ins().fmul(x, x)
    });
    let count = e.float(n as f32);
    e.b.ins().fdiv(sum, count)
}

/// What exceeds one row's mean by more than `by` standard deviations.
pub(super) fn cutoff(e: &mut Writer, s: &Site, by: f32, t: Value) {
    let n = s.width();
    let x = s.read(Single::of).x;
    let x = s.row(e, x, t);
    let sum = e.sum(n, |e, i, lanes| {
        let at = e.add(x, i);
        e.load(lanes, at, 0)
    });
    let (count, by) = (e.float(n as f32), e.float(by));
    let mean = e.b.ins().fdiv(sum, count);
    let squares = e.sum(n, |e, i, lanes| {
        let (at, mean) = (e.add(x, i), e.splat(lanes, mean));
        let x = e.load(lanes, at, 0);
        let d = e.b.ins().fsub(x, mean);
        e.b.ins().fmul(d, d)
    });
    let variance = e.b.ins().fdiv(squares, count);
    let deviation = e.b.ins().sqrt(variance);
    let above = e.b.ins().fmul(by, deviation);
    let edge = e.b.ins().fadd(mean, above);
    let to = s.out_row(e, t);
    e.each(Count::Known(n), |e, i, lanes| {
        let (from, to) = (e.add(x, i), e.add(to, i));
        let (x, edge) = (e.load(lanes, from, 0), e.splat(lanes, edge));
        let y = e.b.ins().fsub(x, edge);
        e.store(y, to, 0);
    });
    let n = e.int(n);
    e.map(offset_of!(KernelTable, relu), to, n);
}

/// One row through a non-linearity with learned curvature.
pub(super) fn xielu(e: &mut Writer, s: &Site, op: &Xielu, t: Value) {
    let (o, n) = (s.read(XieluOperands::of), s.width());
    let (from, to) = (s.row(e, o.x, t), s.out_row(e, t));
    let curves = e.scratch(XieluScratch::of().curves);
    for (i, id) in [o.positive, o.negative].into_iter().enumerate() {
        let at = s.pointer(e, id);
        let x = e.load(Lanes::One, at, 0);
        e.store(x, curves, i * 4);
    }
    let two = e.int(2);
    e.map(offset_of!(KernelTable, softplus), curves, two);
    let (above, below) = (e.load(Lanes::One, curves, 0), e.load(Lanes::One, curves, 4));
    let (beta, eps, one) = (e.float(op.beta), e.float(op.eps), e.float(1.0));
    let below = e.b.ins().fadd(below, beta);
    e.each(Count::Known(n), |e, i, lanes| {
        let (from, to, eps) = (e.add(from, i), e.add(to, i), e.splat(lanes, eps));
        let x = e.load(lanes, from, 0);
        let x = e.b.ins().fmin(x, eps);
        e.store(x, to, 0);
    });
    let count = e.int(n);
    e.map(offset_of!(KernelTable, exp), to, count);
    e.each(Count::Known(n), |e, i, lanes| {
        let (from, to) = (e.add(from, i), e.add(to, i));
        let (x, power) = (e.load(lanes, from, 0), e.load(lanes, to, 0));
        let [above, below, beta, one] = [above, below, beta, one].map(|v| e.splat(lanes, v));
        let curve = e.b.ins().fmul(x, above);
        let curve = e.b.ins().fmul(curve, x);
        let less = e.b.ins().fsub(power, one);
        let less = e.b.ins().fsub(less, x);
        let less = e.b.ins().fmul(less, below);
        let (bent, line) = (
            e.where_positive(lanes, x, curve, less),
            e.b.ins().fmul(x, beta),
        );
        let y = e.b.ins().fadd(bent, line);
        e.store(y, to, 0);
    });
}

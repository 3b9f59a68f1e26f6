//! Kernels that treat each row alone: look-ups, norms, rotations, elementwise operations, cache writes.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::F32;
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::quant::PANEL_ROWS;
use graver_runtime::abi::{Dtype, Encoding, KernelTable, Quant, StepContext};

use super::emit::{Count, Emit, Lanes, activation_kernel};
use super::experts;
use super::heads;
use super::kernel::Site;
use super::online::scale_by;
use super::recurrent;
use super::streams;
use crate::graph::{
    Activation, Binary, Dest, Finish, Norm, NormKind, Op, PositionScale, Rope, Touch, Unary,
    touch_role,
};
use crate::schedule::Work;
use crate::schedule::scratch::{Area, FinishScratch, PRODUCTS, QuantizeScratch};

/// Emits the kernel of a row-wise operation.
pub(super) fn emit(e: &mut Emit, s: &Site) {
    let Work::Rows { grain } = s.kernel.work else {
        unreachable!("scheduled by rows")
    };
    let n = s.n_rows(e);
    let up = e.plus(n, grain - 1);
    let grain_value = e.int(grain);
    let chunks = e.b.ins().udiv(up, grain_value);
    e.chunks(chunks, s.share(), |e, c| {
        let from = e.times(c, grain);
        let to = e.plus(from, grain);
        let to = e.min(to, n);
        e.range(from, to, 1, |e, t| row(e, s, t));
    });
}

fn row(e: &mut Emit, s: &Site, t: Value) {
    let x = |e: &mut Emit, role: &str| {
        let rows = s.rows(e, s.operand(role));
        rows.row(e, t)
    };
    match s.op() {
        Op::Embed { scale, limit } => {
            let mut token = e.u32_of(offset_of!(StepContext, tokens), t);
            if let Some(limit) = limit {
                let (limit, zero) = (e.int(*limit), e.int(0));
                let inside = e.b.ins().icmp(IntCC::SignedLessThan, token, limit);
                token = e.b.ins().select(inside, token, zero);
            }
            look_up(e, s, token, t, *scale);
        }
        Op::PositionRows { offset } => {
            let position = e.u32_of(offset_of!(StepContext, positions), t);
            let at = e.plus(position, *offset);
            look_up(e, s, at, t, 1.0);
        }
        Op::RopeAngles { rope, rotary_dim } => angles(e, s, *rope, *rotary_dim, t),
        Op::Norm(n) => {
            let (from, to) = (x(e, "x"), out_row(e, s, t));
            let gain = n.gain.then(|| s.pointer(e, s.operand("gain")));
            let bias = n.bias.then(|| s.pointer(e, s.operand("bias")));
            let groups = e.int(s.graph.width(s.kernel.node) / n.group);
            e.repeat(groups, |e, g| {
                let (from, to) = (e.at(from, g, n.group * 4), e.at(to, g, n.group * 4));
                norm(e, n, from, to, gain, bias);
            });
        }
        Op::Quantize { norm } => {
            let (from, to) = (x(e, "x"), out_row(e, s, t));
            let scratch = QuantizeScratch::of(s.graph, s.kernel.node);
            let width = s.graph.width(s.kernel.node);
            quantize(e, s, (norm.as_ref(), scratch.norm), from, to, width);
        }
        Op::Binary(b) => binary(e, s, *b, t),
        Op::Unary(u) => {
            let (from, to) = (x(e, "x"), out_row(e, s, t));
            unary(e, *u, from, to, s.graph.width(s.kernel.node));
        }
        Op::Rope(r) => {
            let (from, to, turn) = (x(e, "x"), out_row(e, s, t), x(e, "angles"));
            let width = s.graph.width(s.kernel.node);
            copy(e, from, to, width, 1.0);
            let heads = e.int(width / r.head_dim);
            rotate(e, r, to, heads, turn);
        }
        Op::PositionScale(p) => {
            let (from, to) = (x(e, "x"), out_row(e, s, t));
            let width = s.graph.width(s.kernel.node);
            copy(e, from, to, width, 1.0);
            let factor = position_factor(e, p, t);
            scale_by(e, to, Count::Known(width), factor);
        }
        Op::CacheWrite { state } => {
            for (role, side) in [("k", s.keys(*state)), ("v", s.values(*state))] {
                let (from, first, heads) = (x(e, role), e.int(0), e.int(side.decl.kv_heads));
                side.store(e, from, t, first, heads);
            }
        }
        Op::Finish { parts } => finish_row(e, s, parts, t),
        Op::WeightedSum(w) => streams::weighted_sum(e, s, w, t),
        Op::MatchRms { least } => streams::match_rms(e, s, *least, t),
        Op::Cutoff { by } => streams::cutoff(e, s, *by, t),
        Op::Decay { heads } => recurrent::decay(e, s, *heads, t),
        Op::HeadSlice(c) => heads::slice(e, s, c, t),
        Op::HeadConcat(c) => heads::concat(e, s, c, t),
        Op::GatherRows => {
            let from = s.rows(e, s.operand("x"));
            let index = e.u32_of(offset_of!(StepContext, logit_rows), t);
            let (from, to) = (from.row(e, index), out_row(e, s, t));
            copy(e, from, to, s.graph.width(s.kernel.node), 1.0);
        }
        Op::Copy => {
            let (from, to) = (x(e, "x"), out_row(e, s, t));
            copy(e, from, to, s.graph.width(s.kernel.node), 1.0);
        }
        Op::Route(_)
        | Op::GatherTokens { .. }
        | Op::Activate(_)
        | Op::Combine { .. }
        | Op::ScaleRows => experts::row(e, s, t),
        Op::GroupByExpert(_) | Op::GroupedMatmul(_) | Op::ExpertsIn(_) | Op::ExpertsOut(_) => {
            unreachable!("not scheduled by rows")
        }
        Op::Input(_) | Op::Weight(_) | Op::Slice { .. } | Op::CacheRead { .. } => {
            unreachable!("views are no kernels")
        }
        Op::Matmul(_) | Op::HeadMatmul(_) | Op::LatentAttention(_) => {
            unreachable!("not scheduled by rows")
        }
        Op::ShortConv(_) | Op::DeltaRule(_) => unreachable!("not scheduled by rows"),
        Op::Scores(_) | Op::Softmax(_) | Op::Mix(_) | Op::Attention(_) => {
            unreachable!("not scheduled by rows")
        }
    }
}

pub(super) fn out_row(e: &mut Emit, s: &Site, t: Value) -> Value {
    let rows = s.out(e);
    rows.row(e, t)
}

/// Row `index` of a table into row `t` of the result.
fn look_up(e: &mut Emit, s: &Site, index: Value, t: Value, scale: f32) {
    let table = s.operand("table");
    let decl = s.weight(table).1;
    let base = s.pointer(e, table);
    let to = out_row(e, s, t);
    let n = s.graph.width(s.kernel.node);
    match decl.encoding {
        Encoding::Float(dtype) => {
            let from = e.at(base, index, decl.row_stride);
            if dtype == Dtype::F32 {
                return copy(e, from, to, n, scale);
            }
            widen(e, dtype, from, to, n);
        }
        Encoding::Quantized(quant) => panel_row(e, quant, base, index, decl.row_stride, to, n),
    }
    if scale != 1.0 {
        copy(e, to, to, n, scale);
    }
}

/// `n` f32 values at `from` to `to` in another type.
pub(super) fn narrow(e: &mut Emit, dtype: Dtype, from: Value, to: Value, n: usize) {
    let kernel = match dtype {
        Dtype::F32 => return copy(e, from, to, n, 1.0),
        Dtype::Bf16 => offset_of!(KernelTable, f32_to_bf16),
        Dtype::F16 => offset_of!(KernelTable, f32_to_f16),
    };
    let n = e.int(n);
    e.micro(kernel, &[from, n, to], None);
}

/// `n` values at `from` as f32 to `to`.
fn widen(e: &mut Emit, dtype: Dtype, from: Value, to: Value, n: usize) {
    let kernel = match dtype {
        Dtype::F32 => return copy(e, from, to, n, 1.0),
        Dtype::Bf16 => offset_of!(KernelTable, bf16_to_f32),
        Dtype::F16 => offset_of!(KernelTable, f16_to_f32),
    };
    let n = e.int(n);
    e.micro(kernel, &[from, n, to], None);
}

/// Row `index` of a quantised table as `n` f32 values to `to`.
fn panel_row(
    e: &mut Emit,
    quant: Quant,
    base: Value,
    index: Value,
    panel_bytes: usize,
    to: Value,
    n: usize,
) {
    let rows = e.int(PANEL_ROWS);
    let (panel, lane) = (e.b.ins().udiv(index, rows), e.b.ins().urem(index, rows));
    let from = e.at(base, panel, panel_bytes);
    let kernel = match quant {
        Quant::Q8 => offset_of!(KernelTable, row_q8),
        Quant::Q4 => offset_of!(KernelTable, row_q4),
    };
    let n = e.int(n);
    e.micro(kernel, &[from, lane, n, to], None);
}

/// One row of `k` values to int8; where there is a norm, normalised in scratch first, at `row`.
pub(super) fn quantize(
    e: &mut Emit,
    s: &Site,
    (norm, row): (Option<&Norm>, Area),
    from: Value,
    to: Value,
    k: usize,
) {
    let from = match norm {
        None => from,
        Some(n) => {
            let row = e.scratch(row);
            prologue_norm(e, s, n, from, row);
            row
        }
    };
    let k = e.int(k);
    e.micro(offset_of!(KernelTable, quantize), &[from, k, to], None);
}

/// The norm in front of something else, whose operands are called `norm.gain` and `norm.bias`.
pub(super) fn prologue_norm(e: &mut Emit, s: &Site, n: &Norm, from: Value, to: Value) {
    let gain = n.gain.then(|| s.pointer(e, s.operand("norm.gain")));
    let bias = n.bias.then(|| s.pointer(e, s.operand("norm.bias")));
    norm(e, n, from, to, gain, bias);
}

fn angles(e: &mut Emit, s: &Site, rope: usize, rotary_dim: usize, t: Value) {
    let position = e.u32_of(offset_of!(StepContext, positions), t);
    let position = e.narrow(position);
    let data = &s.ropes[rope];
    let long_count = data.long.as_ref().map_or(0, |l| l.freqs.len());
    let mut freqs = e.rope_freqs(rope, data.freqs.len() + long_count);
    if let Some(long) = &s.ropes[rope].long {
        let length = e.u32_of(offset_of!(StepContext, lengths), t);
        let other = e.plus(freqs, rotary_dim / 2 * 4);
        let (above, more) = (e.int(long.above), IntCC::SignedGreaterThan);
        let is_long = e.b.ins().icmp(more, length, above);
        freqs = e.b.ins().select(is_long, other, freqs);
    }
    let (n, scale, cos) = (
        e.int(rotary_dim / 2),
        e.float(s.ropes[rope].scale),
        out_row(e, s, t),
    );
    let sin = e.plus(cos, rotary_dim / 2 * 4);
    e.micro(
        offset_of!(KernelTable, rope_angles),
        &[position, freqs, n, scale, cos, sin],
        None,
    );
}

/// `to[i] = scale · from[i]`.
pub(super) fn copy(e: &mut Emit, from: Value, to: Value, n: usize, scale: f32) {
    let factor = e.float(scale);
    e.each(Count::Known(n), |e, i, lanes| {
        let (from, to) = (e.add(from, i), e.add(to, i));
        let mut x = e.load(lanes, from, 0);
        if scale != 1.0 {
            let f = e.splat(lanes, factor);
            x = e.b.ins().fmul(x, f);
        }
        e.store(x, to, 0);
    });
}

/// Normalises one group.
pub(super) fn norm(
    e: &mut Emit,
    n: &Norm,
    from: Value,
    to: Value,
    gain: Option<Value>,
    bias: Option<Value>,
) {
    let count = e.float(n.group as f32);
    let mean = match n.kind {
        NormKind::Rms | NormKind::L2 => None,
        NormKind::Layer => {
            let sum = e.sum(n.group, |e, i, lanes| {
                let at = e.add(from, i);
                e.load(lanes, at, 0)
            });
            Some(e.b.ins().fdiv(sum, count))
        }
    };
    let centred = |e: &mut Emit, i: Value, lanes: Lanes| {
        let at = e.add(from, i);
        let x = e.load(lanes, at, 0);
        mean.map_or(x, |m| {
            let m = e.splat(lanes, m);
            e.b.ins().fsub(x, m)
        })
    };
    let squares = e.sum(n.group, |e, i, lanes| {
        let x = centred(e, i, lanes);
        e.b.ins().fmul(x, x)
    });
    let square = match n.kind {
        NormKind::Rms | NormKind::Layer => e.b.ins().fdiv(squares, count),
        NormKind::L2 => squares,
    };
    let eps = e.float(n.eps);
    let shifted = e.b.ins().fadd(square, eps);
    let (root, one) = (e.b.ins().sqrt(shifted), e.float(1.0));
    let inverse = e.b.ins().fdiv(one, root);
    e.each(Count::Known(n.group), |e, i, lanes| {
        let (x, f) = (centred(e, i, lanes), e.splat(lanes, inverse));
        let mut y = e.b.ins().fmul(x, f);
        if let Some(g) = gain {
            let at = e.add(g, i);
            let mut g = e.load(lanes, at, 0);
            if n.unit_offset {
                let one = e.splat(lanes, one);
                g = e.b.ins().fadd(g, one);
            }
            y = e.b.ins().fmul(y, g);
        }
        if let Some(b) = bias {
            let at = e.add(b, i);
            let b = e.load(lanes, at, 0);
            y = e.b.ins().fadd(y, b);
        }
        let at = e.add(to, i);
        e.store(y, at, 0);
    });
}

/// Rotates `heads` heads in place.
pub(super) fn rotate(e: &mut Emit, r: &Rope, at: Value, heads: Value, angles: Value) {
    let half = r.rotary_dim / 2;
    let sines = e.plus(angles, half * 4);
    e.repeat(heads, |e, h| {
        let head = e.at(at, h, r.head_dim * 4);
        let head = e.plus(head, r.start * 4);
        if r.interleaved {
            return rotate_pairs(e, head, half, angles, sines);
        }
        let upper = e.plus(head, half * 4);
        e.each(Count::Known(half), |e, i, lanes| {
            let places = [head, upper, angles, sines].map(|p| e.add(p, i));
            let [x, y, cos, sin] = places.map(|p| e.load(lanes, p, 0));
            let (a, b) = turned(e, x, y, cos, sin);
            e.store(a, places[0], 0);
            e.store(b, places[1], 0);
        });
    });
}

fn rotate_pairs(e: &mut Emit, head: Value, half: usize, angles: Value, sines: Value) {
    let n = e.int(half);
    e.repeat(n, |e, i| {
        let (pair, c, s) = (e.at(head, i, 8), e.at(angles, i, 4), e.at(sines, i, 4));
        let (x, y) = (e.load(Lanes::One, pair, 0), e.load(Lanes::One, pair, 4));
        let (cos, sin) = (e.load(Lanes::One, c, 0), e.load(Lanes::One, s, 0));
        let (a, b) = turned(e, x, y, cos, sin);
        e.store(a, pair, 0);
        e.store(b, pair, 4);
    });
}

/// `(x cos − y sin, y cos + x sin)`.
fn turned(e: &mut Emit, x: Value, y: Value, cos: Value, sin: Value) -> (Value, Value) {
    let (xc, ys) = (e.b.ins().fmul(x, cos), e.b.ins().fmul(y, sin));
    let (yc, xs) = (e.b.ins().fmul(y, cos), e.b.ins().fmul(x, sin));
    (e.b.ins().fsub(xc, ys), e.b.ins().fadd(yc, xs))
}

fn binary(e: &mut Emit, s: &Site, op: Binary, t: Value) {
    let (a, b) = (s.operand("a"), s.operand("b"));
    let broadcast = s.graph.shape(b).len() == 1;
    let left = s.rows(e, a).row(e, t);
    let right = if broadcast {
        s.pointer(e, b)
    } else {
        s.rows(e, b).row(e, t)
    };
    let to = out_row(e, s, t);
    combine(
        e,
        op,
        left,
        right,
        to,
        Count::Known(s.graph.width(s.kernel.node)),
    );
}

/// `to[i] = a[i] ∘ b[i]`.
pub(super) fn combine(e: &mut Emit, op: Binary, a: Value, b: Value, to: Value, n: Count) {
    e.each(n, |e, i, lanes| {
        let places = [a, b, to].map(|p| e.add(p, i));
        let (x, y) = (e.load(lanes, places[0], 0), e.load(lanes, places[1], 0));
        let z = match op {
            Binary::Add => e.b.ins().fadd(x, y),
            Binary::Mul => e.b.ins().fmul(x, y),
        };
        e.store(z, places[2], 0);
    });
}

fn unary(e: &mut Emit, op: Unary, from: Value, to: Value, n: usize) {
    match op {
        Unary::Scale(c) => copy(e, from, to, n, c),
        Unary::Act(a) => {
            if from != to {
                copy(e, from, to, n, 1.0);
            }
            let count = e.int(n);
            activate(e, a, to, count);
        }
        Unary::Softcap(c) => {
            copy(e, from, to, n, 1.0 / c);
            let count = e.int(n);
            e.map(offset_of!(KernelTable, tanh), to, count);
            copy(e, to, to, n, c);
        }
    }
}

/// Applies an activation in place.
pub(super) fn activate(e: &mut Emit, a: Activation, at: Value, n: Value) {
    e.map(activation_kernel(a), at, n);
}

/// Joined projections of one row: each is normalised and rotated in scratch, then goes where it has to.
fn finish_row(e: &mut Emit, s: &Site, parts: &[Finish], t: Value) {
    let from = s.rows(e, s.operand("x")).row(e, t);
    let to = if s.graph.width(s.kernel.node) > 0 {
        Some(out_row(e, s, t))
    } else {
        None
    };
    let (mut start, mut column) = (0, 0);
    for (i, p) in parts.iter().enumerate() {
        let scratch = e.scratch(FinishScratch::of(parts).part);
        let source = e.plus(from, start * 4);
        let at = match (p.dest, to) {
            (Dest::Output, Some(to)) => e.plus(to, column * 4),
            _ => scratch,
        };
        copy(e, source, at, p.rows, 1.0);
        let (heads, first) = (p.rows / p.grain(), e.int(0));
        let heads = e.int(heads);
        finish_heads(e, s, (i, p), at, heads, t);
        deliver(e, s, p, at, t, first, p.rows);
        start += p.rows;
        column += if p.dest == Dest::Output { p.rows } else { 0 };
    }
}

/// Finishes `heads` runs of part `part`'s grain in place.
pub(super) fn finish_heads(
    e: &mut Emit,
    s: &Site,
    (part, f): (usize, &Finish),
    at: Value,
    heads: Value,
    t: Value,
) {
    for (i, touch) in f.touches.iter().enumerate() {
        let runs = e.times(heads, f.grain() / touch.grain());
        match touch {
            Touch::Norm(n) => {
                let role = touch_role(part, i);
                let [gain, bias] = [(n.gain, "gain"), (n.bias, "bias")].map(|(there, end)| {
                    there.then(|| s.pointer(e, s.operand(&format!("{role}{end}"))))
                });
                e.repeat(runs, |e, g| {
                    let at = e.at(at, g, n.group * 4);
                    norm(e, n, at, at, gain, bias);
                });
            }
            Touch::Rope(r) => {
                let angles = s.rows(e, s.operand("angles")).row(e, t);
                rotate(e, r, at, runs, angles);
            }
            Touch::PositionScale(p) => {
                let factor = position_factor(e, p, t);
                scale_by(e, at, Count::Dynamic(runs), factor);
            }
        }
    }
}

/// The factor of row `t`'s position.
fn position_factor(e: &mut Emit, p: &PositionScale, t: Value) -> Value {
    let position = e.u32_of(offset_of!(StepContext, positions), t);
    let position = e.plus(position, p.offset);
    let position = e.b.ins().fcvt_from_sint(F32, position);
    let (every, one, scale) = (e.float(p.every), e.float(1.0), e.float(p.scale));
    let steps = e.b.ins().fdiv(position, every);
    let steps = e.b.ins().floor(steps);
    let steps = e.b.ins().fadd(steps, one);
    let (at, n) = (e.scratch(PRODUCTS), e.int(1));
    e.store(steps, at, 0);
    e.map(offset_of!(KernelTable, ln), at, n);
    let log = e.load(Lanes::One, at, 0);
    let grown = e.b.ins().fmul(log, scale);
    e.b.ins().fadd(grown, one)
}

/// Writes a finished run of `rows` values to the state, where that is where it goes. `first` counts state heads.
pub(super) fn deliver(
    e: &mut Emit,
    s: &Site,
    f: &Finish,
    at: Value,
    t: Value,
    first: Value,
    rows: usize,
) {
    let Some(side) = s.side_of(f.dest, rows) else {
        return;
    };
    let heads = e.int(rows / side.dim);
    side.store(e, at, t, first, heads);
}

/// Whether a float is not 1.
pub(super) fn differs_from_one(e: &mut Emit, x: Value) -> Value {
    let one = e.float(1.0);
    e.b.ins().fcmp(FloatCC::NotEqual, x, one)
}

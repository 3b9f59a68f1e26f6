//! Kernels that treat each row alone: look-ups, norms, rotations, elementwise operations, cache writes.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::quant::PANEL_ROWS;
use graver_runtime::abi::{Dtype, Encoding, KernelTable, Quant, StepContext};

use super::epilogue::{epilogue_row, position_factor, rotate};
use super::experts;
use super::heads;
use super::kernel::Site;
use super::norms::{NormBefore, norm, quantize};
use super::recurrent;
use super::streams;
use super::vectors::{
    activate, add_ramp, clamp, combine, copy, fill, scale_by, scaled_copy, widen,
};
use super::writer::{Count, Lanes, Writer};
use crate::graph::{
    Binary, KeysValues, LookUp, Norm, NormOperands, Op, Pair, Scaled, Single, Unary,
};
use crate::schedule::Work;
use crate::schedule::scratch::QuantizeScratch;

/// Emits the kernel of a row-wise operation.
pub(super) fn emit(e: &mut Writer, s: &Site) {
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

fn row(e: &mut Writer, s: &Site, t: Value) {
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
            let at = position(e, *offset, t);
            look_up(e, s, at, t, 1.0);
        }
        Op::Sinusoids { offset, step, .. } => sinusoids(e, s, *offset, *step, t),
        Op::RopeAngles { rope, rotary_dim } => angles(e, s, *rope, *rotary_dim, t),
        Op::Norm(n) => norm_row(e, s, n, t),
        Op::Quantize { norm } => {
            let o = s.read(|take| NormOperands::of_quantize(norm.as_ref(), take));
            let (from, to) = (s.row(e, o.x, t), s.out_row(e, t));
            let scratch = QuantizeScratch::of(s.graph, s.kernel.node);
            let norm = NormBefore::of(norm.as_ref(), o.norm);
            quantize(e, s, (norm, scratch.norm), from, to, s.width());
        }
        Op::Binary(b) => binary(e, s, *b, t),
        Op::Unary(u) => {
            let (from, to) = moved(e, s, t);
            unary(e, *u, from, to, s.width());
        }
        Op::Rope(r) => {
            let o = s.read(|take| r.operands(take));
            let (from, to, turn) = (s.row(e, o.x, t), s.out_row(e, t), s.row(e, o.angles, t));
            copy(e, from, to, s.width(), 1.0);
            let heads = e.int(s.width() / r.head_dim);
            rotate(e, r, to, heads, turn);
        }
        Op::PositionScale(p) => {
            let (from, to) = moved(e, s, t);
            copy(e, from, to, s.width(), 1.0);
            let factor = position_factor(e, p, t);
            scale_by(e, to, Count::Known(s.width()), factor);
        }
        Op::CacheWrite { state } => {
            let KeysValues { k, v } = s.read(KeysValues::of);
            for (id, side) in [(k, s.keys(*state)), (v, s.values(*state))] {
                let (from, first, heads) = (s.row(e, id, t), e.int(0), e.int(side.decl.kv_heads));
                side.store(e, from, t, first, heads);
            }
        }
        Op::Epilogue { parts } => epilogue_row(e, s, parts, t),
        Op::WeightedSum(w) => streams::weighted_sum(e, s, w, t),
        Op::MatchRms { least } => streams::match_rms(e, s, *least, t),
        Op::Cutoff { by } => streams::cutoff(e, s, *by, t),
        Op::Xielu(x) => streams::xielu(e, s, x, t),
        Op::Decay { heads, lower } => recurrent::decay(e, s, (*heads, *lower), t),
        Op::HeadSlice(c) => heads::slice(e, s, c, t),
        Op::HeadConcat(c) => heads::concat(e, s, c, t),
        Op::GatherRows => {
            let index = e.u32_of(offset_of!(StepContext, logit_rows), t);
            let x = s.read(Single::of).x;
            let (from, to) = (s.row(e, x, index), s.out_row(e, t));
            copy(e, from, to, s.width(), 1.0);
        }
        Op::Copy => {
            let (from, to) = moved(e, s, t);
            copy(e, from, to, s.width(), 1.0);
        }
        Op::Route(r) => experts::route_row(e, s, r, t),
        Op::GatherTokens { grouping, weighted } => experts::gather(e, s, grouping, *weighted, t),
        Op::Activate(a) => experts::activation(e, s, a, t),
        Op::Combine { grouping, weighted } => experts::combine_rows(e, s, grouping, *weighted, t),
        Op::IdentityWeight(g) => experts::identity_weight(e, s, g, t),
        Op::ScaleRows => experts::scale_row(e, s, t),
        Op::ScaleBy => {
            let o = s.read(Scaled::of);
            let (from, to, by) = (s.row(e, o.x, t), s.out_row(e, t), s.pointer(e, o.by));
            let by = e.load(Lanes::One, by, 0);
            scaled_copy(e, from, to, Count::Known(s.width()), by);
        }
        Op::Input(_) | Op::Weight(_) | Op::Slice { .. } | Op::CacheRead { .. } => {
            unreachable!("no kernel is made for a view")
        }
        Op::Matmul(_)
        | Op::HeadMatmul(_)
        | Op::Scores(_)
        | Op::Softmax(_)
        | Op::Mix(_)
        | Op::Attention(_)
        | Op::LatentAttention(_)
        | Op::IndexScores(_)
        | Op::PickKeys(_)
        | Op::ShortConv(_)
        | Op::DeltaRule(_)
        | Op::Scan(_)
        | Op::GroupByExpert(_)
        | Op::GroupedMatmul(_)
        | Op::ExpertsIn(_)
        | Op::ExpertsOut(_)
        | Op::Collective(_) => unreachable!("not cut by rows"),
    }
}

/// Row `t` of the only operand, and of the result.
fn moved(e: &mut Writer, s: &Site, t: Value) -> (Value, Value) {
    let x = s.read(Single::of).x;
    (s.row(e, x, t), s.out_row(e, t))
}

/// The position of token `t`, and `offset` more.
fn position(e: &mut Writer, offset: usize, t: Value) -> Value {
    let position = e.u32_of(offset_of!(StepContext, positions), t);
    e.plus(position, offset)
}

fn norm_row(e: &mut Writer, s: &Site, n: &Norm, t: Value) {
    let o = s.read(|take| n.operands(take));
    let (from, to) = (s.row(e, o.x, t), s.out_row(e, t));
    let vectors = s.vectors(e, o.norm);
    let groups = e.int(s.width() / n.group);
    e.repeat(groups, |e, g| {
        let (from, to) = (e.at(from, g, n.group * 4), e.at(to, g, n.group * 4));
        norm(e, n, from, to, vectors);
    });
}

/// Row `index` of a table into row `t` of the result.
fn look_up(e: &mut Writer, s: &Site, index: Value, t: Value, scale: f32) {
    let table = s.read(LookUp::of).table;
    let decl = s.weight(table).1;
    let base = s.pointer(e, table);
    let to = s.out_row(e, t);
    let n = s.width();
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

/// Row `index` of a quantised table as `n` f32 values to `to`.
fn panel_row(
    e: &mut Writer,
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
        Quant::Q4Min => offset_of!(KernelTable, row_q4m),
        Quant::Q8Min => offset_of!(KernelTable, row_q8m),
        Quant::Q8Half => offset_of!(KernelTable, row_q8h),
        Quant::Q4Super => offset_of!(KernelTable, row_q4s),
        Quant::Q4Narrow => offset_of!(KernelTable, row_q4n),
    };
    let n = e.int(n);
    e.micro(kernel, &[from, lane, n, to], None);
}

fn angles(e: &mut Writer, s: &Site, rope: usize, rotary_dim: usize, t: Value) {
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
        s.out_row(e, t),
    );
    let sin = e.plus(cos, rotary_dim / 2 * 4);
    e.micro(
        offset_of!(KernelTable, rope_angles),
        &[position, freqs, n, scale, cos, sin],
        None,
    );
}

/// Row `t`: logarithms of the frequencies, the frequencies, and their sines, each in the place of the one before.
fn sinusoids(e: &mut Writer, s: &Site, offset: usize, step: f32, t: Value) {
    let half = s.width() / 2;
    let sin = s.out_row(e, t);
    let cos = e.plus(sin, half * 4);
    let (n, first) = (e.int(half), e.int(0));
    let (zero, one, slope) = (e.float(0.0), e.float(1.0), e.float(-step));
    fill(e, sin, Count::Known(half), zero);
    add_ramp(e, sin, n, slope, first);
    e.map(offset_of!(KernelTable, exp), sin, n);
    let position = position(e, offset, t);
    let position = e.narrow(position);
    e.micro(
        offset_of!(KernelTable, rope_angles),
        &[position, sin, n, one, cos, sin],
        None,
    );
}

fn binary(e: &mut Writer, s: &Site, op: Binary, t: Value) {
    let Pair { a, b } = s.read(|take| op.operands(take));
    let broadcast = s.graph.shape(b).len() == 1;
    let left = s.rows(e, a).row(e, t);
    let right = if broadcast {
        s.pointer(e, b)
    } else {
        s.rows(e, b).row(e, t)
    };
    let to = s.out_row(e, t);
    combine(e, op, left, right, to, Count::Known(s.width()));
}

fn unary(e: &mut Writer, op: Unary, from: Value, to: Value, n: usize) {
    match op {
        Unary::Scale(c) => copy(e, from, to, n, c),
        Unary::Act(a) => {
            if from != to {
                copy(e, from, to, n, 1.0);
            }
            let count = e.int(n);
            activate(e, a, to, count);
        }
        Unary::Clamp { least, most } => clamp(e, from, to, n, [least, most]),
        Unary::Softcap(c) => {
            copy(e, from, to, n, 1.0 / c);
            let count = e.int(n);
            e.map(offset_of!(KernelTable, tanh), to, count);
            copy(e, to, to, n, c);
        }
    }
}

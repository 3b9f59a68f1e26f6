//! What is done to heads where they are made: norms, rotations, scaling by position, and the way into the state.

use std::mem::offset_of;

use cranelift_codegen::ir::types::F32;
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{KernelTable, StepContext};

use super::kernel::Site;
use super::norms::norm;
use super::vectors::{copy, scale_by};
use super::writer::{Count, Lanes, Writer};
use crate::graph::{
    Dest, Epilogue, EpilogueOperands, EpilogueStep, NodeId, NormVectors, PositionScale, Rope,
};
use crate::schedule::scratch::{EpilogueScratch, PRODUCTS};

/// Joined projections of one row: each is normalised and rotated in scratch, then goes where it has to.
pub(super) fn epilogue_row(e: &mut Writer, s: &Site, parts: &[Epilogue], t: Value) {
    let operands = s.read(|take| EpilogueOperands::of(parts, take));
    let from = s.row(e, operands.x, t);
    let to = if s.graph.width(s.kernel.node) > 0 {
        Some(s.out_row(e, t))
    } else {
        None
    };
    let (mut start, mut column) = (0, 0);
    for (p, norms) in parts.iter().zip(&operands.norms) {
        let scratch = e.scratch(EpilogueScratch::of(parts).part);
        let source = e.plus(from, start * 4);
        let at = match (p.dest, to) {
            (Dest::Output, Some(to)) => e.plus(to, column * 4),
            _ => scratch,
        };
        copy(e, source, at, p.rows, 1.0);
        let (heads, first) = (p.rows / p.grain(), e.int(0));
        let heads = e.int(heads);
        let own = PartEpilogue {
            epilogue: p,
            norms,
            angles: operands.angles,
        };
        own.emit(e, s, at, heads, t);
        deliver(e, s, p, at, t, first, p.rows);
        start += p.rows;
        column += if p.dest == Dest::Output { p.rows } else { 0 };
    }
}

/// What is done to a projection, with the operands of that.
#[derive(Clone, Copy)]
pub(super) struct PartEpilogue<'a> {
    pub(super) epilogue: &'a Epilogue,
    /// For each step, the vectors that it has if it is a norm.
    pub(super) norms: &'a [NormVectors<NodeId>],
    pub(super) angles: Option<NodeId>,
}

impl PartEpilogue<'_> {
    /// Finishes `heads` runs of the projection's grain in place.
    pub(super) fn emit(self, e: &mut Writer, s: &Site, at: Value, heads: Value, t: Value) {
        for (step, vectors) in self.epilogue.steps.iter().zip(self.norms) {
            let runs = e.times(heads, self.epilogue.grain() / step.grain());
            match step {
                EpilogueStep::Norm(n) => {
                    let vectors = s.vectors(e, *vectors);
                    e.repeat(runs, |e, g| {
                        let at = e.at(at, g, n.group * 4);
                        norm(e, n, at, at, vectors);
                    });
                }
                EpilogueStep::Rope(r) => {
                    let angles = self.angles.expect("a rotation has angles");
                    let angles = s.row(e, angles, t);
                    rotate(e, r, at, runs, angles);
                }
                EpilogueStep::PositionScale(p) => {
                    let factor = position_factor(e, p, t);
                    scale_by(e, at, Count::Dynamic(runs), factor);
                }
                EpilogueStep::Scale(by) => {
                    let by = e.float(*by);
                    scale_by(e, at, Count::Dynamic(runs), by);
                }
            }
        }
    }
}

/// The factor of row `t`'s position.
pub(super) fn position_factor(e: &mut Writer, p: &PositionScale, t: Value) -> Value {
    let position = e.u32_of(offset_of!(StepContext, positions), t);
    let position = e.plus(position, p.offset);
    let position = e.b.ins().fcvt_from_sint(F32, position);
    let (every, one, scale) = (e.float(p.every), e.float(1.0), e.float(p.scale));
    let times = e.b.ins().fdiv(position, every);
    let grown = match p.smooth {
        true => e.b.ins().fmax(times, one),
        false => {
            let steps = e.b.ins().floor(times);
            e.b.ins().fadd(steps, one)
        }
    };
    let (at, n) = (e.scratch(PRODUCTS), e.int(1));
    e.store(grown, at, 0);
    e.map(offset_of!(KernelTable, ln), at, n);
    let log = e.load(Lanes::One, at, 0);
    let grown = e.b.ins().fmul(log, scale);
    e.b.ins().fadd(grown, one)
}

/// Writes a finished run of `rows` values to the state, where that is where it goes. `first` counts state heads.
pub(super) fn deliver(
    e: &mut Writer,
    s: &Site,
    f: &Epilogue,
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

/// Rotates `heads` heads in place.
pub(super) fn rotate(e: &mut Writer, r: &Rope, at: Value, heads: Value, angles: Value) {
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

fn rotate_pairs(e: &mut Writer, head: Value, half: usize, angles: Value, sines: Value) {
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
fn turned(e: &mut Writer, x: Value, y: Value, cos: Value, sin: Value) -> (Value, Value) {
    let (xc, ys) = (e.b.ins().fmul(x, cos), e.b.ins().fmul(y, sin));
    let (yc, xs) = (e.b.ins().fmul(y, cos), e.b.ins().fmul(x, sin));
    (e.b.ins().fsub(xc, ys), e.b.ins().fadd(yc, xs))
}

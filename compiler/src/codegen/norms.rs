//! Norms of rows and of groups, and rounding of rows to int8, with or without one before.

use std::mem::offset_of;

use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::KernelTable;

use super::kernel::Site;
use super::writer::{Count, Lanes, Writer};
use crate::graph::{NodeId, Norm, NormKind, NormVectors};
use crate::schedule::scratch::Area;

/// Normalises one group.
pub(super) fn norm(e: &mut Writer, n: &Norm, from: Value, to: Value, vectors: NormVectors<Value>) {
    let NormVectors { gain, bias } = vectors;
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
    let centred = |e: &mut Writer, i: Value, lanes: Lanes| {
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

/// A norm before something else, with where its vectors are.
#[derive(Clone, Copy)]
pub(super) struct NormBefore<'a> {
    pub(super) norm: &'a Norm,
    pub(super) vectors: NormVectors<NodeId>,
}

impl<'a> NormBefore<'a> {
    pub(super) fn of(norm: Option<&'a Norm>, vectors: NormVectors<NodeId>) -> Option<Self> {
        norm.map(|norm| NormBefore { norm, vectors })
    }

    /// Normalises one row.
    pub(super) fn emit(self, e: &mut Writer, s: &Site, from: Value, to: Value) {
        let vectors = s.vectors(e, self.vectors);
        norm(e, self.norm, from, to, vectors);
    }
}

/// One row of `k` values to int8; where there is a norm, normalised in scratch first, at `row`.
pub(super) fn quantize(
    e: &mut Writer,
    s: &Site,
    (norm, row): (Option<NormBefore>, Area),
    from: Value,
    to: Value,
    k: usize,
) {
    let from = match norm {
        None => from,
        Some(n) => {
            let row = e.scratch(row);
            n.emit(e, s, from, row);
            row
        }
    };
    let k = e.int(k);
    e.micro(offset_of!(KernelTable, quantize), &[from, k, to], None);
}

//! Unfused attention: scores, softmax and mix as three kernels, each run for one tile at a time.
//!
//! Scores lie in the arena as `[heads, queries, context]`, so that a tile of queries is all that is ever materialised.

use std::mem::offset_of;

use cranelift_codegen::ir::types::F32;
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{KernelTable, StepContext};

use super::attention::{Tile, fill, scale_by, window_start};
use super::emit::{Count, Emit, Lanes};
use super::kernel::Site;
use super::matmul::matmul_kernel;
use crate::graph::{Attention, Op};
use crate::schedule::query_tile;

/// Emits one of the three kernels; its fifth argument is the tile's index.
pub(super) fn emit(e: &mut Emit, s: &Site, tile_index: Value) {
    let tile = Tile::load(e, tile_index);
    match s.op() {
        Op::Scores(a) => scores(e, s, a, tile),
        Op::Softmax(a) => softmax(e, s, a, tile),
        Op::Mix(a) => mix(e, s, a, tile),
        other => unreachable!("{} is not run per tile", other.name()),
    }
}

/// Address of head `head`'s scores, and elements between rows.
fn head_scores(e: &mut Emit, s: &Site, id: crate::graph::NodeId, head: Value) -> (Value, Value) {
    let base = s.rows(e, id).base;
    let context = e.field(offset_of!(StepContext, context));
    let plane = e.times(context, query_tile(s.kind) * 4);
    let offset = e.mul(head, plane);
    (e.add(base, offset), context)
}

fn key_head(e: &mut Emit, a: &Attention, head: Value) -> Value {
    let group = e.int(a.group());
    e.b.ins().udiv(head, group)
}

fn scores(e: &mut Emit, s: &Site, a: &Attention, tile: Tile) {
    let q = s.rows(e, s.operand("q"));
    let side = s.keys(a.state);
    let heads = e.int(a.heads);
    let (_, to) = tile.keys(e, a.window);
    e.chunks(heads, s.share(), |e, head| {
        let (row, column) = (q.row(e, tile.start_row), e.times(head, a.head_dim * 4));
        let queries = e.add(row, column);
        let (base, kv) = (side.base(e, tile.slot), key_head(e, a, head));
        let keys = side.head(e, base, kv);
        let (out, out_stride) = head_scores(e, s, s.kernel.node, head);
        let (x_stride, w_stride, dim) = (
            e.int(q.stride / 4),
            e.int(side.row_bytes()),
            e.int(a.head_dim),
        );
        let (zero, scratch) = (e.int(0), e.scratch(0));
        let args = [
            queries,
            x_stride,
            tile.queries,
            keys,
            w_stride,
            to,
            dim,
            out,
            out_stride,
            zero,
            scratch,
        ];
        e.micro(matmul_kernel(side.decl.dtype, false), &args, None);
        e.repeat(tile.queries, |e, r| {
            let offset = e.mul(r, out_stride);
            let row = e.at(out, offset, 4);
            let inner = e.float(a.softcap.map_or(a.scale, |c| a.scale / c));
            scale_by(e, row, Count::Dynamic(to), inner);
            if let Some(c) = a.softcap {
                e.map(offset_of!(KernelTable, tanh), row, to);
                let c = e.float(c);
                scale_by(e, row, Count::Dynamic(to), c);
            }
        });
    });
}

fn softmax(e: &mut Emit, s: &Site, a: &Attention, tile: Tile) {
    let heads = e.int(a.heads);
    let (_, last) = tile.keys(e, a.window);
    e.chunks(heads, s.share(), |e, head| {
        let (base, stride) = head_scores(e, s, s.kernel.node, head);
        e.repeat(tile.queries, |e, r| {
            let offset = e.mul(r, stride);
            let row = e.at(base, offset, 4);
            let end = e.add(tile.position, r);
            let end = e.plus(end, 1);
            let start = window_start(e, end, a.window);
            softmax_row(e, s, row, start, end, last);
        });
    });
}

fn softmax_row(e: &mut Emit, s: &Site, row: Value, start: Value, end: Value, last: Value) {
    let state = e.scratch(s.kernel.scratch.sums);
    let (zero, lowest, one) = (e.float(0.0), e.float(f32::NEG_INFINITY), e.float(1.0));
    e.store(lowest, state, 0);
    e.store(zero, state, 4);
    let (first, n) = (e.at(row, start, 4), e.sub(end, start));
    e.micro(
        offset_of!(KernelTable, softmax_block),
        &[first, n, one, state],
        Some(F32),
    );
    let sum = e.load(Lanes::One, state, 4);
    let inverse = e.b.ins().fdiv(one, sum);
    scale_by(e, first, Count::Dynamic(n), inverse);
    fill(e, row, Count::Dynamic(start), zero);
    let (behind, rest) = (e.at(row, end, 4), e.sub(last, end));
    fill(e, behind, Count::Dynamic(rest), zero);
}

fn mix(e: &mut Emit, s: &Site, a: &Attention, tile: Tile) {
    let out = s.out(e);
    let side = s.values(a.state);
    let heads = e.int(a.heads);
    let (_, to) = tile.keys(e, a.window);
    e.chunks(heads, s.share(), |e, head| {
        let (weights, x_stride) = head_scores(e, s, s.operand("p"), head);
        let (base, kv) = (side.base(e, tile.slot), key_head(e, a, head));
        let values = side.head(e, base, kv);
        let (row, column) = (out.row(e, tile.start_row), e.times(head, a.value_dim * 4));
        let at = e.add(row, column);
        let (w_stride, dim, out_stride) = (
            e.int(side.row_bytes()),
            e.int(a.value_dim),
            e.int(out.stride / 4),
        );
        let (zero, scratch) = (e.int(0), e.scratch(0));
        let args = [
            weights,
            x_stride,
            tile.queries,
            values,
            w_stride,
            dim,
            to,
            at,
            out_stride,
            zero,
            scratch,
        ];
        e.micro(matmul_kernel(side.decl.dtype, true), &args, None);
    });
}

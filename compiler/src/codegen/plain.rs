//! Unfused attention: scores, softmax and mix as three kernels, each run for one tile at a time.
//!
//! Scores lie in the arena as `[heads, queries, context]`, column 0 being the first key that any query of the tile sees, so that
//! a tile of queries is all that is ever materialised.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{KernelTable, StepContext};

use super::cache::WidenedRows;
use super::kernel::Site;
use super::picked::List;
use super::products::Product;
use super::relative::{Each, RelativeBias};
use super::tiles::{Tile, first_key};
use super::vectors::{add_ramp, fill, scale_by};
use super::writer::{Count, Lanes, Writer};
use crate::graph::Attention;
use crate::schedule::query_tile;
use crate::schedule::scratch::{SoftmaxScratch, UnfusedScratch};

/// Address of head `head`'s scores, and elements between rows.
fn head_scores(e: &mut Writer, s: &Site, id: crate::graph::NodeId, head: Value) -> (Value, Value) {
    let base = s.rows(e, id).base;
    let context = e.field(offset_of!(StepContext, context));
    let plane = e.times(context, query_tile(s.kind) * 4);
    let offset = e.mul(head, plane);
    (e.add(base, offset), context)
}

fn key_head(e: &mut Writer, a: &Attention, head: Value) -> Value {
    let group = e.int(a.group());
    e.b.ins().udiv(head, group)
}

/// Scores of the tile whose index is `tile`.
pub(super) fn scores(e: &mut Writer, s: &Site, a: &Attention, tile: Value) {
    let tile = Tile::load(e, tile);
    let o = s.read(|take| a.scores_operands(take));
    let q = s.rows(e, o.q);
    let scratch = UnfusedScratch::of(s.graph, a, s.kind);
    let (side, widened) = (s.keys(a.state), WidenedRows::of(e, scratch.widened));
    let heads = e.int(a.heads);
    let keys = tile.keys(e, a.reach);
    let seen = e.sub(keys.1, keys.0);
    e.chunks(heads, s.share(), |e, head| {
        let (row, column) = (q.row(e, tile.start_row), e.times(head, a.head_dim * 4));
        let queries = e.add(row, column);
        let kv = key_head(e, a, head);
        let rows = side.head_rows(e, tile.slot, kv);
        let (out, out_stride) = head_scores(e, s, s.kernel.node, head);
        side.runs(e, keys, None, |e, [position, row, n]| {
            let before = e.sub(position, keys.0);
            rows.parts(e, (row, n), widened, |e, w, [first, n]| {
                let column = e.add(before, first);
                let product = Product {
                    x: (queries, e.int(q.stride / 4), tile.queries),
                    w,
                    sizes: (n, e.int(a.head_dim)),
                    out: (e.at(out, column, 4), out_stride),
                    accumulate: e.int(0),
                };
                product.emit(e, false);
            });
        });
        let slope = o.slopes.map(|slopes| {
            let all = s.pointer(e, slopes);
            let own = e.at(all, head, 4);
            e.load(Lanes::One, own, 0)
        });
        let first = [tile.start_row, head];
        let place = (Each::Token, scratch.relative);
        let relative = RelativeBias::of(e, s, a, o.relative, first, place);
        e.repeat(tile.queries, |e, r| {
            let offset = e.mul(r, out_stride);
            let row = e.at(out, offset, 4);
            scale_and_cap(e, a, row, seen);
            if let Some(slope) = slope {
                let position = e.add(tile.position, r);
                let first = e.sub(keys.0, position);
                add_ramp(e, row, seen, slope, first);
            }
            if let Some(relative) = relative {
                let position = e.add(tile.position, r);
                let end = e.plus(position, 1);
                let (seen, nearest) = (e.sub(end, keys.0), e.int(0));
                relative.add(e, r, (row, seen), nearest);
            }
        });
    });
}

fn scale_and_cap(e: &mut Writer, a: &Attention, row: Value, n: Value) {
    let inner = e.float(a.softcap.map_or(a.scale, |c| a.scale / c));
    scale_by(e, row, Count::Dynamic(n), inner);
    if let Some(c) = a.softcap {
        e.map(offset_of!(KernelTable, tanh), row, n);
        let c = e.float(c);
        scale_by(e, row, Count::Dynamic(n), c);
    }
}

/// Softmax of the tile's scores.
pub(super) fn softmax(e: &mut Writer, s: &Site, a: &Attention, tile: Value) {
    let tile = Tile::load(e, tile);
    let heads = e.int(a.heads);
    let keys = tile.keys(e, a.reach);
    e.chunks(heads, s.share(), |e, head| {
        let (base, stride) = head_scores(e, s, s.kernel.node, head);
        let o = s.read(|take| a.softmax_operands(take));
        let sink = o.sinks.map(|sinks| {
            let all = s.pointer(e, sinks);
            let own = e.at(all, head, 4);
            e.load(Lanes::One, own, 0)
        });
        e.repeat(tile.queries, |e, r| {
            let offset = e.mul(r, stride);
            let row = e.at(base, offset, 4);
            let position = e.add(tile.position, r);
            let (start, end) = (first_key(e, position, a.reach), e.plus(position, 1));
            let columns = [start, end, keys.1].map(|k| e.sub(k, keys.0));
            match o.picked.zip(a.picked) {
                Some((picked, listing)) => {
                    let token = e.add(tile.start_row, r);
                    let lists = s.row(e, picked, token);
                    let list = List::of(e, a, listing, lists, (head, position));
                    softmax_of_picked(e, row, list, keys.1, sink);
                }
                None => softmax_row(e, row, columns, sink),
            }
        });
    });
}

/// Softmax of the columns of a row, `width` wide and from the first position on, that are listed; the others become 0. They are
/// brought to the front of the row, where nothing is overwritten that is still to come, and back.
fn softmax_of_picked(e: &mut Writer, row: Value, list: List, width: Value, sink: Option<Value>) {
    e.repeat(list.n, |e, i| {
        let from = list.position(e, i);
        let (from, to) = (e.at(row, from, 4), e.at(row, i, 4));
        let x = e.load(Lanes::One, from, 0);
        e.store(x, to, 0);
    });
    softmax_run(e, row, list.n, sink);
    let zero = e.float(0.0);
    let (after, rest) = (e.at(row, list.n, 4), e.sub(width, list.n));
    fill(e, after, Count::Dynamic(rest), zero);
    e.repeat(list.n, |e, i| {
        let last = e.sub(list.n, i);
        let place = e.b.ins().iadd_imm_s(last, -1);
        let to = list.position(e, place);
        let (from, to) = (e.at(row, place, 4), e.at(row, to, 4));
        let x = e.load(Lanes::One, from, 0);
        e.store(zero, from, 0);
        e.store(x, to, 0);
    });
}

/// Softmax of the columns `start..end` of a row that has `width`; the others become 0.
fn softmax_row(e: &mut Writer, row: Value, [start, end, width]: [Value; 3], sink: Option<Value>) {
    let (first, n, zero) = (e.at(row, start, 4), e.sub(end, start), e.float(0.0));
    softmax_run(e, first, n, sink);
    fill(e, row, Count::Dynamic(start), zero);
    let (after, rest) = (e.at(row, end, 4), e.sub(width, end));
    fill(e, after, Count::Dynamic(rest), zero);
}

/// Softmax of `n` numbers.
fn softmax_run(e: &mut Writer, first: Value, n: Value, sink: Option<Value>) {
    let state = e.scratch(SoftmaxScratch::of().state);
    let (zero, one) = (e.float(0.0), e.float(1.0));
    let (most, sum) = match sink {
        Some(logit) => (logit, one),
        None => (e.float(f32::NEG_INFINITY), zero),
    };
    e.store(most, state, 0);
    e.store(sum, state, 4);
    e.micro(
        offset_of!(KernelTable, softmax_block),
        &[first, n, one, state],
        Some(F32),
    );
    let sum = e.load(Lanes::One, state, 4);
    let inverse = e.b.ins().fdiv(one, sum);
    scale_by(e, first, Count::Dynamic(n), inverse);
}

/// The tile's weighted sums of values.
pub(super) fn mix(e: &mut Writer, s: &Site, a: &Attention, tile: Value) {
    let tile = Tile::load(e, tile);
    let (p, out) = (s.read(|take| a.mix_operands(take)).p, s.out(e));
    let (side, widened) = (
        s.values(a.state),
        WidenedRows::of(e, UnfusedScratch::of(s.graph, a, s.kind).widened),
    );
    let heads = e.int(a.heads);
    let keys = tile.keys(e, a.reach);
    e.chunks(heads, s.share(), |e, head| {
        let (weights, x_stride) = head_scores(e, s, p, head);
        let kv = key_head(e, a, head);
        let rows = side.head_rows(e, tile.slot, kv);
        let (row, column) = (out.row(e, tile.start_row), e.times(head, a.value_dim * 4));
        let at = e.add(row, column);
        side.runs(e, keys, None, |e, [position, row, n]| {
            let before = e.sub(position, keys.0);
            rows.parts(e, (row, n), widened, |e, w, [first, n]| {
                let column = e.add(before, first);
                let later = e.b.ins().icmp_imm_s(IntCC::NotEqual, column, 0);
                let product = Product {
                    x: (e.at(weights, column, 4), x_stride, tile.queries),
                    w,
                    sizes: (e.int(a.value_dim), n),
                    out: (at, e.int(out.stride / 4)),
                    accumulate: e.b.ins().uextend(I64, later),
                };
                product.emit(e, true);
            });
        });
    });
}

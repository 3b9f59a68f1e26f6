//! Fused attention: one pass over the keys in blocks, by [`KeyPass`].
//!
//! Scores, weights and sums of a block stay in this thread's scratch. Decode takes a group of heads that share a key head
//! as the rows, so that each block of keys and values is read once for all of them, and splits long contexts into runs of
//! keys, whose partial results are combined in order after a barrier. Prefill takes the queries of a tile for some heads of a key
//! head as the rows.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, I8, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{KEY_BLOCK, KernelTable, StepContext};

use super::cache::cache_heads;
use super::head_cut::{HeadCut, Heads};
use super::kernel::Site;
use super::online::{KeyPass, RunningSums, Sinks, divide_rows, slope_of};
use super::picked;
use super::relative::{Each, RelativeBias};
use super::share::Share;
use super::tiles::Tile;
use super::vectors::{combine, copy, fill, scale_by, scaled_copy};
use super::writer::{Count, Lanes, Writer};
use crate::graph::{Attention, Binary};
use crate::schedule::Work;
use crate::schedule::scratch::AttentionScratch;

/// Emits the kernel.
pub(super) fn emit(e: &mut Writer, s: &Site, a: &Attention) {
    match s.kernel.work {
        Work::TilesByKeys => decode(e, s, a),
        Work::TilesByHeads { heads, count } => prefill(e, s, a, (heads, count)),
        Work::TokensByHeads { heads, count } => picked::emit(e, s, a, (heads, count)),
        Work::Rows { .. }
        | Work::Columns(_)
        | Work::Heads
        | Work::QueriesByKeys
        | Work::Queries
        | Work::SegmentsByHeads
        | Work::SegmentsByColumns { .. }
        | Work::HeadColumns { .. }
        | Work::Experts { .. }
        | Work::Once => unreachable!("scheduled by tiles"),
    }
}

/// What is added to scores by distance, in rows that begin with a head of a token.
fn bias_of(
    e: &mut Writer,
    s: &Site,
    a: &Attention,
    first: [Value; 2],
    each: Each,
) -> Option<RelativeBias> {
    let operands = s.read(|take| a.operands(take)).relative;
    let scratch = AttentionScratch::of(s.graph, a, s.kind).relative;
    RelativeBias::of(e, s, a, operands, first, (each, scratch))
}

fn prefill(e: &mut Writer, s: &Site, a: &Attention, (heads, count): (usize, usize)) {
    let cut = HeadCut::into(e, heads, count);
    let tiles = e.field(offset_of!(StepContext, n_tiles));
    let per_tile = a.kv_heads * count;
    let chunks = e.times(tiles, per_tile);
    e.chunks(chunks, s.share(), |e, c| {
        let each = e.int(per_tile);
        let (before, part) = (e.b.ins().udiv(c, each), e.b.ins().urem(c, each));
        // The queries of the last tiles see most keys, and go first.
        let after = e.sub(tiles, before);
        let index = e.b.ins().iadd_imm_s(after, -1);
        let tile = Tile::load(e, index);
        let heads = cut.heads(e, a, part);
        HeadsOfTile::of(e, s, a, tile, heads).run(e, s);
    });
}

/// The queries of a tile for some heads of a key head: the rows of one head after those of another.
struct HeadsOfTile<'a> {
    tile: Tile,
    heads: Heads,
    /// With what is common to all heads.
    pass: KeyPass<'a>,
    sums: RunningSums,
}

impl<'a> HeadsOfTile<'a> {
    fn of(e: &mut Writer, s: &Site, a: &'a Attention, tile: Tile, heads: Heads) -> Self {
        let (first, stride) = queries_of(e, s, a, tile, heads);
        HeadsOfTile {
            tile,
            heads,
            pass: KeyPass {
                a,
                queries: (first, stride, e.mul(heads.count, tile.queries)),
                cache: cache_heads(e, s, a, tile.slot, heads.key),
                keys: tile.keys(e, a.reach),
                position: (tile.position, 1),
                slopes: None,
                relative: None,
                sinks: None,
            },
            sums: RunningSums::of(e, s, a),
        }
    }

    fn run(&self, e: &mut Writer, s: &Site) {
        let (a, pass) = (self.pass.a, self.pass);
        self.each(e, |e, head, sums| self.of_head(e, s, head).clear(e, sums));
        let side = s.keys(a.state);
        side.runs(e, pass.keys, Some(KEY_BLOCK), |e, [k, row, n]| {
            pass.scores(e, self.sums, row, n);
            self.each(e, |e, head, sums| {
                self.of_head(e, s, head).weights(e, sums, k, n);
            });
            pass.mix(e, self.sums, row, n);
        });
        let out = s.out(e);
        self.each(e, |e, head, sums| {
            let column = e.times(head, a.value_dim * 4);
            let row = out.row(e, self.tile.start_row);
            let to = e.add(row, column);
            divide_rows(e, a, sums, self.tile.queries, to, out.stride);
        });
    }

    /// Calls `body` with each head and the sums of its rows.
    fn each(&self, e: &mut Writer, body: impl FnOnce(&mut Writer, Value, RunningSums)) {
        e.repeat(self.heads.count, |e, i| {
            let head = e.add(self.heads.first, i);
            let before = e.mul(i, self.tile.queries);
            let sums = self.sums.below(e, self.pass.a, before);
            body(e, head, sums);
        });
    }

    /// The pass over the rows of one head, which alone have slopes, biases and sinks.
    fn of_head(&self, e: &mut Writer, s: &Site, head: Value) -> KeyPass<'a> {
        let (a, tile) = (self.pass.a, self.tile);
        let (first, stride, _) = self.pass.queries;
        let always = e.b.ins().iconst(I8, 1);
        KeyPass {
            queries: (first, stride, tile.queries),
            slopes: slope_of(e, s, a, head, 0),
            relative: bias_of(e, s, a, [tile.start_row, head], Each::Token),
            sinks: Sinks::of(e, s, a, head, 0, always),
            ..self.pass
        }
    }
}

/// First row of the queries of a tile for some heads, and elements between rows: where they lie, or copied, so that they follow each other.
fn queries_of(e: &mut Writer, s: &Site, a: &Attention, tile: Tile, heads: Heads) -> (Value, usize) {
    let q = s.read(|take| a.operands(take)).q;
    let q = s.rows(e, q);
    let (row, column) = (
        q.row(e, tile.start_row),
        e.times(heads.first, a.head_dim * 4),
    );
    let first = e.add(row, column);
    let copies = AttentionScratch::of(s.graph, a, s.kind).queries;
    if copies.bytes == 0 {
        return (first, q.stride / 4);
    }
    let copies = e.scratch(copies);
    e.repeat(heads.count, |e, i| {
        let (from, before) = (e.at(first, i, a.head_dim * 4), e.mul(i, tile.queries));
        let to = e.at(copies, before, a.head_dim * 4);
        e.repeat(tile.queries, |e, r| {
            let (from, to) = (e.at(from, r, q.stride), e.at(to, r, a.head_dim * 4));
            copy(e, from, to, a.head_dim, 1.0);
        });
    });
    (copies, a.head_dim)
}

fn decode(e: &mut Writer, s: &Site, a: &Attention) {
    let runs = most_runs(e, a);
    let tiles = e.field(offset_of!(StepContext, n_tiles));
    let cut = HeadCut::of(e, a, runs);
    let parts = e.times(cut.parts, a.kv_heads);
    let per_tile = e.mul(runs, parts);
    let chunks = e.mul(tiles, per_tile);
    e.chunks(chunks, Share::Static, |e, c| {
        let (index, rest) = (e.b.ins().udiv(c, per_tile), e.b.ins().urem(c, per_tile));
        let (part, run) = (e.b.ins().udiv(rest, runs), e.b.ins().urem(rest, runs));
        let heads = cut.heads(e, a, part);
        let tile = Tile::load(e, index);
        run_of_keys(e, s, a, tile, heads, [index, run, runs]);
    });
    let several = e.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, runs, 1);
    e.when(several, |e| {
        e.barrier();
        let chunks = e.times(tiles, a.heads);
        e.chunks(chunks, Share::Static, |e, c| combine_runs(e, s, a, c, runs));
    });
}

/// Runs of keys of the tile that has most of them.
fn most_runs(e: &mut Writer, a: &Attention) -> Value {
    let one = e.int(1);
    let most = e.var(I64, one);
    let tiles = e.field(offset_of!(StepContext, n_tiles));
    e.repeat(tiles, |e, i| {
        let tile = Tile::load(e, i);
        let (from, to) = tile.keys(e, a.reach);
        let n = runs_between(e, from, to);
        let so_far = e.b.use_var(most);
        let more = e.max(so_far, n);
        e.b.def_var(most, more);
    });
    e.b.use_var(most)
}

fn runs_between(e: &mut Writer, from: Value, to: Value) -> Value {
    let n = e.sub(to, from);
    let up = e.plus(n, KEY_BLOCK - 1);
    e.b.ins()
        .ushr_imm_u(up, i64::from(KEY_BLOCK.trailing_zeros()))
}

/// One token, some heads of one key head, one run of keys.
fn run_of_keys(
    e: &mut Writer,
    s: &Site,
    a: &Attention,
    tile: Tile,
    heads: Heads,
    [index, run, runs]: [Value; 3],
) {
    let (from, to) = tile.keys(e, a.reach);
    let skip = e.times(run, KEY_BLOCK);
    let from = e.add(from, skip);
    let end = e.plus(from, KEY_BLOCK);
    let end = e.min(end, to);
    let some = e.b.ins().icmp(IntCC::SignedLessThan, from, end);
    e.when(some, |e| {
        let q = s.read(|take| a.operands(take)).q;
        let q = s.rows(e, q);
        let (row, column) = (
            q.row(e, tile.start_row),
            e.times(heads.first, a.head_dim * 4),
        );
        let first = e.b.ins().icmp_imm_s(IntCC::Equal, run, 0);
        let pass = KeyPass {
            a,
            queries: (e.add(row, column), a.head_dim, heads.count),
            cache: cache_heads(e, s, a, tile.slot, heads.key),
            keys: (from, end),
            position: (tile.position, 0),
            slopes: slope_of(e, s, a, heads.first, 4),
            relative: bias_of(e, s, a, [tile.start_row, heads.first], Each::Head),
            sinks: Sinks::of(e, s, a, heads.first, 4, first),
        };
        let sums = RunningSums::of(e, s, a);
        pass.run(e, s, sums);
        let alone = e.b.ins().icmp_imm_s(IntCC::Equal, runs, 1);
        e.when(alone, |e| {
            let out = s.out(e);
            let (row, column) = (
                out.row(e, tile.start_row),
                e.times(heads.first, a.value_dim * 4),
            );
            let to = e.add(row, column);
            divide_rows(e, a, sums, heads.count, to, a.value_dim * 4);
        });
        let several = e.b.ins().icmp_imm_s(IntCC::NotEqual, runs, 1);
        e.when(several, |e| {
            e.repeat(heads.count, |e, r| {
                let h = e.add(heads.first, r);
                let to = partial(e, s, a, [index, h, run, runs]);
                let (values, state) = (
                    e.at(sums.values, r, a.value_dim * 4),
                    e.at(sums.state, r, 8),
                );
                copy(e, state, to, 2, 1.0);
                let after = e.plus(to, 8);
                copy(e, values, after, a.value_dim, 1.0);
            });
        });
    });
}

/// Address of a partial result: maximum, sum, values.
fn partial(e: &mut Writer, s: &Site, a: &Attention, [tile, head, run, runs]: [Value; 4]) -> Value {
    let base = s.workspace(e);
    let heads = e.times(tile, a.heads);
    let head = e.add(heads, head);
    let first = e.mul(head, runs);
    let index = e.add(first, run);
    e.at(base, index, (a.value_dim + 2) * 4)
}

/// Combines one head's partial results in the order of the keys.
fn combine_runs(e: &mut Writer, s: &Site, a: &Attention, c: Value, runs: Value) {
    let heads = e.int(a.heads);
    let (index, head) = (e.b.ins().udiv(c, heads), e.b.ins().urem(c, heads));
    let tile = Tile::load(e, index);
    let (from, to) = tile.keys(e, a.reach);
    let own = runs_between(e, from, to);
    let sums = RunningSums::of(e, s, a);
    let (zero, lowest) = (e.float(0.0), e.float(f32::NEG_INFINITY));
    fill(e, sums.values, Count::Known(a.value_dim), zero);
    e.store(lowest, sums.state, 0);
    e.store(zero, sums.state, 4);
    let total = e.var(F32, zero);
    let one = e.float(1.0);
    e.repeat(own, |e, run| {
        let from = partial(e, s, a, [index, head, run, runs]);
        copy(e, from, sums.scores, 1, 1.0);
        let n = e.int(1);
        let args = [sums.scores, n, one, sums.state];
        let factor = e
            .micro(offset_of!(KernelTable, softmax_block), &args, Some(F32))
            .expect("it returns one");
        scale_by(e, sums.values, Count::Known(a.value_dim), factor);
        let weight = e.load(Lanes::One, sums.scores, 0);
        let values = e.plus(from, 8);
        scaled_copy(e, values, values, Count::Known(a.value_dim), weight);
        combine(
            e,
            Binary::Add,
            sums.values,
            values,
            sums.values,
            Count::Known(a.value_dim),
        );
        let part = e.load(Lanes::One, from, 4);
        let (old, part) = (e.b.use_var(total), e.b.ins().fmul(part, weight));
        let old = e.b.ins().fmul(old, factor);
        let new = e.b.ins().fadd(old, part);
        e.b.def_var(total, new);
    });
    let total = e.b.use_var(total);
    e.store(total, sums.state, 4);
    let out = s.out(e);
    let (row, column) = (out.row(e, tile.start_row), e.times(head, a.value_dim * 4));
    let (to, n) = (e.add(row, column), e.int(1));
    divide_rows(e, a, sums, n, to, out.stride);
}

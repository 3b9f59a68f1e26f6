//! An index's kernels: scores of a query against all keys, and its choice of positions by them.
//!
//! Scores lie in the arena as `[sets, queries, context]`, those of one tile at a time. The largest are found by their bits, a byte at a
//! time from the highest: counting how many scores have each value of the byte says which value the last of those that are picked
//! has, so that four looks at all scores give that one's bits, whatever the scores are.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, I32, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use cranelift_frontend::Variable;
use graver_runtime::abi::{CacheType, KEY_BLOCK, KernelTable, StepContext};

use super::cache::{CacheRows, ProductRows, WidenedRows};
use super::kernel::Site;
use super::products::Product;
use super::tiles::Tile;
use super::vectors::fill;
use super::writer::{Count, Lanes, Writer};
use crate::graph::{IndexScores, Listing, NodeId, PickKeys, Single};
use crate::schedule::query_tile;
use crate::schedule::scratch::{IndexScratch, PICK_BINS, PickScratch};

/// Scores of the tile whose index is `tile`.
pub(super) fn scores(e: &mut Writer, s: &Site, i: &IndexScores, tile: Value) {
    let tile = Tile::load(e, tile);
    let scratch = IndexScratch::of(s.graph, i, s.kind);
    let widened = WidenedRows::of(e, scratch.widened);
    let end = e.add(tile.position, tile.queries);
    let up = e.plus(end, KEY_BLOCK - 1);
    let block = i64::from(KEY_BLOCK.trailing_zeros());
    let runs = e.b.ins().ushr_imm_u(up, block);
    let chunks = e.mul(runs, tile.queries);
    e.chunks(chunks, s.share(), |e, c| {
        let (run, query) = (
            e.b.ins().udiv(c, tile.queries),
            e.b.ins().urem(c, tile.queries),
        );
        let from = e.times(run, KEY_BLOCK);
        let seen = e.add(tile.position, query);
        let seen = e.plus(seen, 1);
        let (left, most) = (e.sub(seen, from), e.int(KEY_BLOCK));
        let n = e.min(left, most);
        let some = e.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, n, 0);
        e.when(some, |e| {
            run_of_keys(e, s, i, (tile, query), (from, n), widened)
        });
    });
}

/// One query against `n` keys from position `from` on.
fn run_of_keys(
    e: &mut Writer,
    s: &Site,
    i: &IndexScores,
    (tile, query): (Tile, Value),
    (from, n): (Value, Value),
    widened: WidenedRows,
) {
    let o = s.read(|take| i.operands(take));
    let token = e.add(tile.start_row, query);
    let q = s.row(e, o.q, token);
    let only = e.int(0);
    let keys = s.keys(i.state).head_rows(e, tile.slot, only);
    let (first, plane) = (e.int(0), scores_of_set(e, s));
    let row = row_of(e, s, s.kernel.node, (first, query));
    let Some(by) = o.by else {
        let out = (e.at(row, from, 4), plane);
        return products(e, i, (q, keys), (from, n), widened, out);
    };
    let by = s.row(e, by, token);
    let by_head = e.scratch(IndexScratch::of(s.graph, i, s.kind).heads);
    let out = (by_head, e.int(KEY_BLOCK));
    products(e, i, (q, keys), (from, n), widened, out);
    let heads = e.int(i.heads);
    e.repeat(heads, |e, h| {
        let row = e.at(by_head, h, KEY_BLOCK * 4);
        e.map(offset_of!(KernelTable, relu), row, n);
    });
    let sum = Product {
        x: (by, heads, e.int(1)),
        w: ProductRows {
            base: by_head,
            row_bytes: KEY_BLOCK * 4,
            dtype: CacheType::F32,
        },
        sizes: (n, heads),
        out: (e.at(row, from, 4), n),
        accumulate: e.int(0),
    };
    sum.emit(e, true);
}

/// Products of all heads with `n` keys, those of a head side by side: where the first lie, and elements to the next head's.
fn products(
    e: &mut Writer,
    i: &IndexScores,
    (q, keys): (Value, CacheRows),
    run: (Value, Value),
    widened: WidenedRows,
    (to, stride): (Value, Value),
) {
    keys.parts(e, run, widened, |e, w, [first, n]| {
        let product = Product {
            x: (q, e.int(i.dim), e.int(i.heads)),
            w,
            sizes: (n, e.int(i.dim)),
            out: (e.at(to, first, 4), stride),
            accumulate: e.int(0),
        };
        product.emit(e, false);
    });
}

/// Elements from one set's scores of a tile to the next one's.
fn scores_of_set(e: &mut Writer, s: &Site) -> Value {
    let context = e.field(offset_of!(StepContext, context));
    e.times(context, query_tile(s.kind))
}

/// Address of a query's scores in one set.
fn row_of(e: &mut Writer, s: &Site, scores: NodeId, (set, query): (Value, Value)) -> Value {
    let base = s.rows(e, scores).base;
    let context = e.field(offset_of!(StepContext, context));
    let plane = scores_of_set(e, s);
    let (sets, before) = (e.mul(set, plane), e.mul(query, context));
    let before = e.add(sets, before);
    e.at(base, before, 4)
}

/// Blocks of positions that the queries of the tile pick.
pub(super) fn pick(e: &mut Writer, s: &Site, p: &PickKeys, tile: Value) {
    let tile = Tile::load(e, tile);
    let (x, l) = (s.read(Single::of).x, p.listing);
    let chunks = e.times(tile.queries, l.sets);
    e.chunks(chunks, s.share(), |e, c| {
        let sets = e.int(l.sets);
        let (query, set) = (e.b.ins().udiv(c, sets), e.b.ins().urem(c, sets));
        let row = row_of(e, s, x, (set, query));
        let token = e.add(tile.start_row, query);
        let to = s.out_row(e, token);
        let to = e.at(to, set, l.count * 4);
        let seen = e.add(tile.position, query);
        let seen = e.plus(seen, 1);
        let blocks = blocks_of(e, &l, seen);
        let count = l.count as i64;
        let all =
            e.b.ins()
                .icmp_imm_s(IntCC::SignedLessThanOrEqual, blocks, count);
        e.when(all, |e| {
            e.repeat(blocks, |e, i| {
                let to = e.at(to, i, 4);
                e.store_index(i, to);
            });
        });
        let some =
            e.b.ins()
                .icmp_imm_s(IntCC::SignedGreaterThan, blocks, count);
        e.when(some, |e| {
            if l.block > 1 {
                best_of_blocks(e, (row, seen), l.block);
            }
            let always = e.b.ins().iadd_imm_s(blocks, -(p.near as i64));
            let (from, most) = (e.at(row, always, 4), e.float(f32::INFINITY));
            fill(e, from, Count::Known(p.near), most);
            largest(e, (row, blocks), l.count, to);
        });
    });
}

/// Blocks that hold `n` positions.
pub(super) fn blocks_of(e: &mut Writer, l: &Listing, n: Value) -> Value {
    if l.block == 1 {
        return n;
    }
    let (up, block) = (e.plus(n, l.block - 1), e.int(l.block));
    e.b.ins().udiv(up, block)
}

/// The best score of each block, one after the other at the front of the row, where none is overwritten that is still to be read.
fn best_of_blocks(e: &mut Writer, (row, n): (Value, Value), block: usize) {
    let start = e.int(0);
    let lowest = e.float(f32::NEG_INFINITY);
    let (best, place) = (e.var(F32, lowest), e.var(I64, start));
    e.range(start, n, block, |e, from| {
        let end = e.plus(from, block);
        let end = e.min(end, n);
        let lowest = e.float(f32::NEG_INFINITY);
        e.b.def_var(best, lowest);
        e.range(from, end, 1, |e, i| {
            let at = e.at(row, i, 4);
            let (score, so_far) = (e.load(Lanes::One, at, 0), e.b.use_var(best));
            let more = e.b.ins().fcmp(FloatCC::GreaterThan, score, so_far);
            let most = e.b.ins().select(more, score, so_far);
            e.b.def_var(best, most);
        });
        let (most, at) = (e.b.use_var(best), e.b.use_var(place));
        let to = e.at(row, at, 4);
        e.store(most, to, 0);
        let at = e.plus(at, 1);
        e.b.def_var(place, at);
    });
}

/// Lists the places of the `count` largest of `n` scores, ascending.
fn largest(e: &mut Writer, (row, n): (Value, Value), count: usize, to: Value) {
    let (zero, count) = (e.int(0), e.int(count));
    let (high, left) = (e.var(I64, zero), e.var(I64, count));
    for shift in [24, 16, 8, 0] {
        count_bytes(e, (row, n), shift, high);
        let byte = byte_of_last(e, left);
        let so_far = e.b.use_var(high);
        let so_far = e.times(so_far, PICK_BINS);
        let so_far = e.add(so_far, byte);
        e.b.def_var(high, so_far);
    }
    // Now `high` is the least score that is picked, and `left` how many that are equal to it are.
    let least = e.b.use_var(high);
    let listed = e.var(I64, zero);
    e.repeat(n, |e, i| {
        let key = key_of(e, row, i);
        let equal = e.b.ins().icmp(IntCC::Equal, key, least);
        let room = e.b.use_var(left);
        let room = e.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, room, 0);
        let equal = e.b.ins().band(equal, room);
        let above = e.b.ins().icmp(IntCC::UnsignedGreaterThan, key, least);
        let takes = e.b.ins().bor(equal, above);
        e.when(takes, |e| {
            let place = e.b.use_var(listed);
            let at = e.at(to, place, 4);
            e.store_index(i, at);
            let place = e.plus(place, 1);
            e.b.def_var(listed, place);
            let (one, room) = (e.b.ins().uextend(I64, equal), e.b.use_var(left));
            let room = e.sub(room, one);
            e.b.def_var(left, room);
        });
    });
}

/// Counts the values that the byte at `shift` has in those scores whose higher bytes are `high`.
fn count_bytes(e: &mut Writer, (row, n): (Value, Value), shift: i64, high: Variable) {
    let (bins, none) = (e.scratch(PickScratch::of().bins), e.float(0.0));
    fill(e, bins, Count::Known(PICK_BINS), none);
    let high = e.b.use_var(high);
    e.repeat(n, |e, i| {
        let key = key_of(e, row, i);
        let upper = e.b.ins().ushr_imm_u(key, shift + 8);
        let mine = e.b.ins().icmp(IntCC::Equal, upper, high);
        e.when(mine, |e| {
            let byte = e.b.ins().ushr_imm_u(key, shift);
            let byte = e.b.ins().band_imm_s(byte, PICK_BINS as i64 - 1);
            let at = e.at(bins, byte, 4);
            let found = e.load_index(at);
            let found = e.plus(found, 1);
            e.store_index(found, at);
        });
    });
}

/// The value of the byte that the last of `left` scores has, counted from the largest; takes off `left` how many have larger ones.
fn byte_of_last(e: &mut Writer, left: Variable) -> Value {
    let bins = e.scratch(PickScratch::of().bins);
    let open = e.int(-1);
    let (byte, all) = (e.var(I64, open), e.int(PICK_BINS));
    e.repeat(all, |e, i| {
        let last = e.int(PICK_BINS - 1);
        let value = e.sub(last, i);
        let at = e.at(bins, value, 4);
        let (here, wanted) = (e.load_index(at), e.b.use_var(left));
        let found = e.b.use_var(byte);
        let open = e.b.ins().icmp_imm_s(IntCC::Equal, found, -1);
        e.when(open, |e| {
            let enough =
                e.b.ins()
                    .icmp(IntCC::SignedGreaterThanOrEqual, here, wanted);
            let after = e.sub(wanted, here);
            let after = e.b.ins().select(enough, wanted, after);
            let value = e.b.ins().select(enough, value, found);
            e.b.def_var(left, after);
            e.b.def_var(byte, value);
        });
    });
    e.b.use_var(byte)
}

/// Score `i` as a number below 2³² that compares as scores do; both zeros are one.
fn key_of(e: &mut Writer, row: Value, i: Value) -> Value {
    let at = e.at(row, i, 4);
    let (score, zero) = (e.load(Lanes::One, at, 0), e.float(0.0));
    let score = e.b.ins().fadd(score, zero);
    let bits = e.b.ins().bitcast(I32, MemFlagsData::new(), score);
    let sign = e.b.ins().sshr_imm_u(bits, 31);
    let flipped = e.b.ins().bor_imm_s(sign, i64::from(i32::MIN));
    let key = e.b.ins().bxor(bits, flipped);
    e.b.ins().uextend(I64, key)
}

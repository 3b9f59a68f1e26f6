//! Fused attention to keys that are picked for each query: they are copied out of the state, a block at a time, and gone over by
//! [`KeyPass`] with some heads of the query as the rows.
//!
//! A query that sees no more blocks than are picked goes over all of their keys where they lie.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I8X16, I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{KEY_BLOCK, StepContext};

use super::cache::{CacheRows, cache_heads};
use super::head_cut::HeadCut;
use super::index::blocks_of;
use super::kernel::Site;
use super::online::{KeyPass, RunningSums, Sinks, divide_rows};
use super::writer::Writer;
use crate::graph::{Attention, Listing};
use crate::schedule::scratch::AttentionScratch;

/// Emits the kernel, a chunk of which is `count`th of a key head's query heads, `heads` of them, for one token.
pub(super) fn emit(e: &mut Writer, s: &Site, a: &Attention, (heads, count): (usize, usize)) {
    let o = s.read(|take| a.operands(take));
    let (q, out) = (s.rows(e, o.q), s.out(e));
    let (Some(picked), Some(listing)) = (o.picked, a.picked) else {
        unreachable!("scheduled for picked keys")
    };
    let tokens = e.tokens();
    let chunks = e.times(tokens, a.kv_heads * count);
    e.chunks(chunks, s.share(), |e, c| {
        let each = e.int(a.kv_heads * count);
        let (token, rest) = (e.b.ins().udiv(c, each), e.b.ins().urem(c, each));
        let heads = HeadCut::into(e, heads, count).heads(e, a, rest);
        let slot = e.u32_of(offset_of!(StepContext, slots), token);
        let position = e.u32_of(offset_of!(StepContext, positions), token);
        let (row, column) = (q.row(e, token), e.times(heads.first, a.head_dim * 4));
        let (none, seen) = (e.int(0), e.plus(position, 1));
        let always = e.b.ins().iconst(I8, 1);
        let pass = KeyPass {
            a,
            queries: (e.add(row, column), a.head_dim, heads.count),
            cache: cache_heads(e, s, a, slot, heads.key),
            keys: (none, seen),
            position: (position, 0),
            slopes: None,
            relative: None,
            sinks: Sinks::of(e, s, a, heads.first, 4, always),
        };
        let sums = RunningSums::of(e, s, a);
        let (blocks, most) = (blocks_of(e, &listing, seen), listing.count as i64);
        let few =
            e.b.ins()
                .icmp_imm_s(IntCC::SignedLessThanOrEqual, blocks, most);
        e.when(few, |e| pass.run(e, s, sums));
        let many = e.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, blocks, most);
        e.when(many, |e| {
            let row = s.row(e, picked, token);
            let list = List::of(e, a, listing, row, (heads.first, position));
            picked_keys(e, s, &pass, sums, list);
        });
        let (row, column) = (out.row(e, token), e.times(heads.first, a.value_dim * 4));
        let to = e.add(row, column);
        divide_rows(e, a, sums, heads.count, to, a.value_dim * 4);
    });
}

/// The keys of one query head that are listed.
#[derive(Clone, Copy)]
pub(super) struct List {
    /// Address of the first block's number.
    base: Value,
    listing: Listing,
    /// Of the query.
    position: Value,
    /// Positions up to the query's own in all blocks together.
    pub(super) n: Value,
}

impl List {
    /// That of head `head` in a row of lists.
    pub(super) fn of(
        e: &mut Writer,
        a: &Attention,
        listing: Listing,
        row: Value,
        (head, position): (Value, Value),
    ) -> List {
        let heads = e.int(a.heads / listing.sets);
        let set = e.b.ins().udiv(head, heads);
        let base = e.at(row, set, listing.count * 4);
        let seen = e.plus(position, 1);
        let (blocks, most) = (blocks_of(e, &listing, seen), e.int(listing.count));
        let listed = e.min(blocks, most);
        let list = List {
            base,
            listing,
            position,
            n: listed,
        };
        if listing.block == 1 {
            return list;
        }
        // All blocks are whole but for the query's own, which is last if it is listed.
        let whole = e.b.ins().iadd_imm_s(listed, -1);
        let last = list.block(e, whole);
        let (last, whole) = (e.times(last, listing.block), e.times(whole, listing.block));
        let (left, block) = (e.sub(seen, last), e.int(listing.block));
        let left = e.min(left, block);
        let n = e.add(whole, left);
        List { n, ..list }
    }

    /// Number of the `i`th block.
    fn block(self, e: &mut Writer, i: Value) -> Value {
        let at = e.at(self.base, i, 4);
        e.load_index(at)
    }

    /// The `i`th position, which is never later than the query's own: whatever the list holds, no row beyond that is read.
    pub(super) fn position(self, e: &mut Writer, i: Value) -> Value {
        let size = self.listing.block;
        let position = match size {
            1 => self.block(e, i),
            _ => {
                let block = e.int(size);
                let (index, inside) = (e.b.ins().udiv(i, block), e.b.ins().urem(i, block));
                let first = self.block(e, index);
                let first = e.times(first, size);
                e.add(first, inside)
            }
        };
        e.min(position, self.position)
    }
}

/// Goes over the keys that are listed.
fn picked_keys(e: &mut Writer, s: &Site, pass: &KeyPass, sums: RunningSums, list: List) {
    let scratch = AttentionScratch::of(s.graph, pass.a, s.kind);
    let shared = s.graph.states[pass.a.state.0 as usize].shared;
    pass.clear(e, sums);
    let start = e.int(0);
    e.pieces(start, list.n, KEY_BLOCK, |e, first, n| {
        let keys = e.scratch(scratch.keys);
        let values = match shared {
            true => keys,
            false => e.scratch(scratch.picked_values),
        };
        e.repeat(n, |e, i| {
            let index = e.add(first, i);
            let position = list.position(e, index);
            copy_row(e, pass.cache.0, position, (keys, i));
            if !shared {
                copy_row(e, pass.cache.1, position, (values, i));
            }
        });
        let copied = |rows: CacheRows, base| CacheRows { base, ..rows };
        let block = KeyPass {
            cache: (copied(pass.cache.0, keys), copied(pass.cache.1, values)),
            sinks: None,
            ..*pass
        };
        let none = e.int(0);
        block.block(e, sums, [none, none, n]);
    });
}

/// Copies the row of a position to place `i` of those at `to`.
fn copy_row(e: &mut Writer, rows: CacheRows, position: Value, (to, i): (Value, Value)) {
    let from = e.at(rows.base, position, rows.row_bytes);
    let to = e.at(to, i, rows.row_bytes);
    let (start, whole) = (e.int(0), rows.row_bytes / 64 * 64);
    let end = e.int(whole);
    e.range(start, end, 64, |e, at| {
        let (from, to) = (e.add(from, at), e.add(to, at));
        let parts = [0, 16, 32, 48].map(|offset| (offset, e.load_as(I8X16, from, offset)));
        for (offset, part) in parts {
            e.store(part, to, offset);
        }
    });
    let mut done = whole;
    for ty in [I8X16, I64, I32, I16, I8] {
        while rows.row_bytes - done >= ty.bytes() as usize {
            let part = e.load_as(ty, from, done);
            e.store(part, to, done);
            done += ty.bytes() as usize;
        }
    }
}

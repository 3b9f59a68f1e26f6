//! Latent attention of long steps: for each segment and head, whichever of two orders takes fewer multiplications.
//!
//! *Expanded*: a block of latents becomes keys and values of the head in scratch, once for all queries of the segment, which
//! attend to them in tiles. *Absorbed*: a tile of queries is brought to the latents, attends to them as they lie in the state,
//! and its sums are brought back. Expanding costs for every key, absorbing for every query and every pair, so that few queries
//! after a long past absorb.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{CacheType, KernelTable, QUERY_TILE};

use super::cache::{CacheRows, WidenedRows, cache_heads};
use super::heads::{HeadWeight, Panel};
use super::kernel::Site;
use super::online::{KeyPass, RunningSums, divide_rows};
use super::tiles::{Tile, by_segment};
use super::vectors::copy;
use super::writer::Writer;
use crate::graph::{Attention, LatentAttention, LatentOperands, NodeId};
use crate::schedule::scratch::{Area, EXPANDED_KEYS, LatentScratch};

/// Emits the kernel.
pub(super) fn emit(e: &mut Writer, s: &Site, l: &LatentAttention) {
    let operands = s.read(|take| l.operands(take));
    by_segment(e, s, l.attention.heads, |e, span, head| {
        let own = SegmentHead {
            l,
            operands,
            span,
            head,
            scratch: LatentScratch::of(s.graph, l, s.kind),
        };
        let expands = own.expands(e);
        let (long, short, done) = (e.b.create_block(), e.b.create_block(), e.b.create_block());
        e.b.ins().brif(expands, long, &[], short, &[]);
        e.b.switch_to_block(long);
        own.expanded(e, s);
        e.jump(done);
        e.b.switch_to_block(short);
        own.absorbed(e, s);
        e.jump(done);
        e.b.switch_to_block(done);
    });
}

/// One head of one segment.
struct SegmentHead<'a> {
    l: &'a LatentAttention,
    operands: LatentOperands<NodeId>,
    span: Tile,
    head: Value,
    scratch: LatentScratch,
}

impl SegmentHead<'_> {
    /// Whether expanding takes fewer multiplications than absorbing: both make one up-projection for each new token, and
    /// expanding one for each earlier key, but saves for each pair of a query and a key it sees.
    fn expands(&self, e: &mut Writer) -> Value {
        let l = self.l;
        let saved = (l.attention.head_dim + l.rank()) as i64 - (l.key_dim() + l.value_dim()) as i64;
        let past = self.span.position;
        let cost = e.times(past, l.rank() * (l.queries.rows.len + l.value_dim()));
        let half = e.b.ins().ushr_imm_u(self.span.queries, 1);
        let seen = e.add(past, half);
        let pairs = e.mul(seen, self.span.queries);
        let gain = e.b.ins().imul_imm_s(pairs, saved);
        e.b.ins().icmp(IntCC::SignedLessThanOrEqual, cost, gain)
    }

    /// Address of query `first`'s head, and elements between queries.
    fn queries(&self, e: &mut Writer, s: &Site, first: Value) -> (Value, usize) {
        let q = s.rows(e, self.operands.q);
        let row = e.add(self.span.start_row, first);
        let (row, column) = (q.row(e, row), e.times(self.head, self.l.key_dim() * 4));
        (e.add(row, column), q.stride / 4)
    }

    /// Address of query `first`'s result, and bytes between results.
    fn results(&self, e: &mut Writer, s: &Site, first: Value) -> (Value, usize) {
        let out = s.out(e);
        let row = e.add(self.span.start_row, first);
        let (row, column) = (out.row(e, row), e.times(self.head, self.l.value_dim() * 4));
        (e.add(row, column), out.stride)
    }

    /// Calls `body` with each tile of queries from `from` on: its first one, and how many.
    fn tiles(&self, e: &mut Writer, from: Value, body: impl FnOnce(&mut Writer, [Value; 2])) {
        let n = self.span.queries;
        e.pieces(from, n, QUERY_TILE, |e, first, rows| body(e, [first, rows]));
    }

    fn expanded(&self, e: &mut Writer, s: &Site) {
        let (l, zero) = (self.l, e.int(0));
        let options = Attention {
            head_dim: l.key_dim(),
            value_dim: l.value_dim(),
            ..l.attention
        };
        let made = self.made(e);
        let pass = |e: &mut Writer, first: Value, rows: Value| {
            let (queries, stride) = self.queries(e, s, first);
            let pass = KeyPass {
                a: &options,
                queries: (queries, stride, rows),
                cache: made,
                keys: (zero, zero),
                position: (e.add(self.span.position, first), 1),
                slopes: None,
                relative: None,
                sinks: None,
            };
            (pass, self.sums(e, &options, first))
        };
        let (all, sums) = pass(e, zero, self.span.queries);
        all.clear(e, sums);
        let end = e.add(self.span.position, self.span.queries);
        e.pieces(zero, end, EXPANDED_KEYS, |e, k, n| {
            self.expand(e, s, made, k, n);
            let first = self.first_tile(e, k);
            self.tiles(e, first, |e, [first, rows]| {
                let (pass, sums) = pass(e, first, rows);
                pass.block(e, sums, [k, zero, n]);
            });
        });
        let (to, stride) = self.results(e, s, zero);
        divide_rows(e, &options, sums, self.span.queries, to, stride);
    }

    /// The tile of the first query that sees key `k`.
    fn first_tile(&self, e: &mut Writer, k: Value) -> Value {
        let (before, zero) = (e.sub(k, self.span.position), e.int(0));
        let before = e.max(before, zero);
        e.b.ins().band_imm_s(before, -(QUERY_TILE as i64))
    }

    /// Keys and values of a block in scratch.
    fn made(&self, e: &mut Writer) -> (CacheRows, CacheRows) {
        let mut side = |area: Area, width: usize| CacheRows::of_f32(e.scratch(area), width);
        (
            side(self.scratch.keys, self.l.key_dim()),
            side(self.scratch.values, self.l.value_dim()),
        )
    }

    /// RunningSums of the queries from `first` on; scores are one tile's.
    fn sums(&self, e: &mut Writer, a: &Attention, first: Value) -> RunningSums {
        let (base, state) = (e.scratch(self.scratch.sums), e.scratch(self.scratch.state));
        RunningSums {
            scores: e.scratch(self.scratch.scores),
            values: e.at(base, first, a.value_dim * 4),
            state: e.at(state, first, 8),
            widened: WidenedRows::of(e, self.scratch.widened),
        }
    }

    /// Makes keys and values of `n` latents from position `k` on.
    fn expand(
        &self,
        e: &mut Writer,
        s: &Site,
        (keys, values): (CacheRows, CacheRows),
        k: Value,
        n: Value,
    ) {
        let l = self.l;
        let latents = self.latents(e, s, k, n);
        for (rows, to) in [(l.queries.rows, keys), (l.results.rows, values)] {
            let w = HeadWeight::of(e, s, self.operands.weight, rows, self.head);
            let to = Panel {
                base: to.base,
                stride: to.row_bytes / 4,
            };
            w.multiply(e, true, (latents, n), l.rank(), to);
        }
        e.repeat(n, |e, i| {
            let from = e.at(latents.base, i, latents.stride * 4);
            let from = e.plus(from, l.rank() * 4);
            let to = e.at(keys.base, i, keys.row_bytes);
            let to = e.plus(to, l.queries.rows.len * 4);
            copy(e, from, to, l.kept(), 1.0);
        });
    }

    /// `n` rows of the state from position `k` on, as f32.
    fn latents(&self, e: &mut Writer, s: &Site, k: Value, n: Value) -> Panel {
        let zero = e.int(0);
        let side = s.keys(self.l.attention.state);
        let rows = side.head_rows(e, self.span.slot, zero);
        let from = e.at(rows.base, k, rows.row_bytes);
        let stride = self.l.attention.head_dim;
        let base = e.scratch(self.scratch.latents);
        let widen = match rows.dtype {
            CacheType::F32 => return Panel { base: from, stride },
            CacheType::Bf16 => offset_of!(KernelTable, bf16_to_f32),
            CacheType::F16 => offset_of!(KernelTable, f16_to_f32),
            CacheType::Q8 => {
                rows.widen(e, from, n, base);
                return Panel { base, stride };
            }
        };
        // Rows follow each other, here as there.
        let all = e.times(n, stride);
        e.micro(widen, &[from, all, base], None);
        Panel { base, stride }
    }

    fn absorbed(&self, e: &mut Writer, s: &Site) {
        let (l, zero) = (self.l, e.int(0));
        let stride = l.attention.head_dim;
        let own = e.scratch(self.scratch.latents);
        self.tiles(e, zero, |e, [first, rows]| {
            self.bring_queries(e, s, first, rows, Panel { base: own, stride });
            let end = e.add(self.span.position, first);
            let pass = KeyPass {
                a: &l.attention,
                queries: (own, stride, rows),
                cache: cache_heads(e, s, &l.attention, self.span.slot, zero),
                keys: (zero, e.add(end, rows)),
                position: (end, 1),
                slopes: None,
                relative: None,
                sinks: None,
            };
            let sums = self.sums(e, &l.attention, zero);
            pass.run(e, s, sums);
            divide_rows(e, &l.attention, sums, rows, sums.values, l.rank() * 4);
            let (to, to_stride) = self.results(e, s, first);
            let w = HeadWeight::of(e, s, self.operands.weight, l.results.rows, self.head);
            let sums = Panel {
                base: sums.values,
                stride: l.rank(),
            };
            let to = Panel {
                base: to,
                stride: to_stride / 4,
            };
            w.multiply(e, true, (sums, rows), l.rank(), to);
        });
    }

    /// Queries of latents: products, and the columns that are kept.
    fn bring_queries(&self, e: &mut Writer, s: &Site, first: Value, rows: Value, to: Panel) {
        let l = self.l;
        let (from, stride) = self.queries(e, s, first);
        let w = HeadWeight::of(e, s, self.operands.weight, l.queries.rows, self.head);
        let from = Panel { base: from, stride };
        w.multiply(e, false, (from, rows), l.rank(), to);
        e.repeat(rows, |e, r| {
            let (from, to) = (
                e.at(from.base, r, stride * 4),
                e.at(to.base, r, to.stride * 4),
            );
            let from = e.plus(from, l.queries.columns.len * 4);
            let to = e.plus(to, l.rank() * 4);
            copy(e, from, to, l.kept(), 1.0);
        });
    }
}

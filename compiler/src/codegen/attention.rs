//! Fused attention: one pass over the keys in blocks, with a running maximum and sum for each row of scores.
//!
//! Scores, weights and sums of a block stay in this thread's scratch. Decode takes a group of heads that share a key head
//! as the rows, so that each block of keys and values is read once for all of them, and splits long contexts into runs of
//! keys, whose partial results are combined in order behind a barrier. Prefill takes the queries of a tile as the rows.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, I8, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{KEY_BLOCK, KernelTable, Span, StepContext};

use super::emit::{Count, Emit, Lanes, Share};
use super::kernel::Site;
use super::matmul::matmul_kernel;
use super::rows;
use crate::graph::{Attention, Binary, Op, Reach};
use crate::schedule::{Work, attention_rows};

/// Emits the kernel.
pub(super) fn emit(e: &mut Emit, s: &Site) {
    let Op::Attention(a) = s.op() else {
        unreachable!("attention")
    };
    match s.kernel.work {
        Work::TilesByKeys => decode(e, s, a),
        Work::TilesByHeads => prefill(e, s, a),
        Work::Rows { .. } | Work::Columns(_) | Work::Heads | Work::Experts { .. } => {
            unreachable!("scheduled by tiles")
        }
        Work::HeadColumns { .. } | Work::Once => {
            unreachable!("scheduled by tiles")
        }
    }
}

/// An attention tile's numbers.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) slot: Value,
    pub(super) start_row: Value,
    pub(super) queries: Value,
    pub(super) position: Value,
}

impl Tile {
    pub(super) fn load(e: &mut Emit, index: Value) -> Tile {
        let tiles = e.field(offset_of!(StepContext, tiles));
        let at = e.at(tiles, index, size_of::<Span>());
        Tile {
            slot: e.u32_at(at, offset_of!(Span, slot)),
            start_row: e.u32_at(at, offset_of!(Span, start_row)),
            queries: e.u32_at(at, offset_of!(Span, n)),
            position: e.u32_at(at, offset_of!(Span, position)),
        }
    }

    /// Keys that some query of the tile sees: from the first one's first to the last one's own position.
    pub(super) fn keys(&self, e: &mut Emit, reach: Reach) -> (Value, Value) {
        (
            first_key(e, self.position, reach),
            e.add(self.position, self.queries),
        )
    }
}

/// First key that the query at `position` sees.
pub(super) fn first_key(e: &mut Emit, position: Value, reach: Reach) -> Value {
    match reach {
        Reach::Full => e.int(0),
        Reach::Window(w) => {
            let (start, zero) = (e.b.ins().iadd_imm_s(position, 1 - w as i64), e.int(0));
            e.max(start, zero)
        }
        Reach::Chunk(c) => {
            let chunk = e.int(c);
            let (index, chunk) = (e.b.ins().udiv(position, chunk), e.int(c));
            e.mul(index, chunk)
        }
    }
}

/// Rows of scores against a run of keys.
struct Pass<'a> {
    a: &'a Attention,
    /// First row of queries, elements between rows, and how many.
    queries: (Value, usize, Value),
    /// Addresses of the head's keys and values.
    cache: (Value, Value),
    /// Keys to go over.
    keys: (Value, Value),
    /// Position of row 0's query, and by how much later that of each further row is.
    position: (Value, usize),
    /// What the rows' sums start with.
    sinks: Option<Sinks>,
}

/// Logits that sums start with, where this pass is the one over a query's first keys.
#[derive(Clone, Copy)]
struct Sinks {
    /// The first row's, and bytes to each further one's.
    logits: (Value, usize),
    first: Value,
}

impl Sinks {
    fn of(
        e: &mut Emit,
        s: &Site,
        a: &Attention,
        head: Value,
        step: usize,
        first: Value,
    ) -> Option<Self> {
        a.sinks.then(|| {
            let all = s.pointer(e, s.operand("sinks"));
            let logits = (e.at(all, head, 4), step);
            Sinks { logits, first }
        })
    }
}

/// Scratch of a pass.
#[derive(Clone, Copy)]
struct Sums {
    scores: Value,
    /// `[rows, value_dim]`.
    values: Value,
    /// `[rows, 2]`: maximum and sum.
    state: Value,
}

impl Sums {
    fn of(e: &mut Emit, s: &Site, a: &Attention) -> Sums {
        let values = e.scratch(s.kernel.scratch.sums);
        let state = e.plus(values, attention_rows(a, s.kind) * a.value_dim * 4);
        Sums {
            scores: e.scratch(s.kernel.scratch.tile),
            values,
            state,
        }
    }
}

impl Pass<'_> {
    fn run(&self, e: &mut Emit, s: &Site, sums: Sums) {
        self.clear(e, sums);
        let side = s.keys(self.a.state);
        side.runs(e, self.keys, Some(KEY_BLOCK), |e, [k, row, n]| {
            self.scores(e, s, sums, row, n);
            e.repeat(self.queries.2, |e, r| self.row(e, sums, r, k, n));
            self.mix(e, s, sums, row, n);
        });
    }

    fn clear(&self, e: &mut Emit, sums: Sums) {
        let zero = e.float(0.0);
        e.repeat(self.queries.2, |e, r| {
            let values = e.at(sums.values, r, self.a.value_dim * 4);
            fill(e, values, Count::Known(self.a.value_dim), zero);
            let (most, sum) = self.start(e, r);
            let state = e.at(sums.state, r, 8);
            e.store(most, state, 0);
            e.store(sum, state, 4);
        });
    }

    /// Maximum and sum of row `r` before any key.
    fn start(&self, e: &mut Emit, r: Value) -> (Value, Value) {
        let (zero, lowest) = (e.float(0.0), e.float(f32::NEG_INFINITY));
        let Some(sinks) = &self.sinks else {
            return (lowest, zero);
        };
        let (first, step) = sinks.logits;
        let at = e.at(first, r, step);
        let (logit, one) = (e.load(Lanes::One, at, 0), e.float(1.0));
        (
            e.b.ins().select(sinks.first, logit, lowest),
            e.b.ins().select(sinks.first, one, zero),
        )
    }

    fn scores(&self, e: &mut Emit, s: &Site, sums: Sums, first: Value, n: Value) {
        let side = s.keys(self.a.state);
        let keys = e.at(self.cache.0, first, side.row_bytes());
        let (x_stride, w_stride) = (e.int(self.queries.1), e.int(side.row_bytes()));
        let (dim, out_stride, zero, scratch) = (
            e.int(self.a.head_dim),
            e.int(KEY_BLOCK),
            e.int(0),
            e.scratch(0),
        );
        let rows = self.queries.2;
        let args = [
            self.queries.0,
            x_stride,
            rows,
            keys,
            w_stride,
            n,
            dim,
            sums.scores,
            out_stride,
            zero,
            scratch,
        ];
        e.micro(matmul_kernel(side.decl.dtype, false), &args, None);
    }

    /// Softmax of one row's scores in a block; scales what the row has summed up so far.
    fn row(&self, e: &mut Emit, sums: Sums, r: Value, k: Value, n: Value) {
        let (first, step) = self.position;
        let position = e.at(first, r, step);
        let (start, end) = (first_key(e, position, self.a.reach), e.plus(position, 1));
        let (end, start) = (e.sub(end, k), e.sub(start, k));
        let (end, start) = (e.clamp(end, n), e.clamp(start, n));
        let scores = e.at(sums.scores, r, KEY_BLOCK * 4);
        let seen = e.sub(end, start);
        let first = e.at(scores, start, 4);
        let some = e.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, seen, 0);
        e.when(some, |e| {
            let scale = self.cap(e, first, seen);
            let state = e.at(sums.state, r, 8);
            let factor = e.micro(
                offset_of!(KernelTable, softmax_block),
                &[first, seen, scale, state],
                Some(F32),
            );
            let factor = factor.expect("it returns one");
            let differs = rows::differs_from_one(e, factor);
            e.when(differs, |e| {
                let values = e.at(sums.values, r, self.a.value_dim * 4);
                scale_by(e, values, Count::Known(self.a.value_dim), factor);
            });
        });
        let zero = e.float(0.0);
        fill(e, scores, Count::Dynamic(start), zero);
        let (behind, rest) = (e.at(scores, end, 4), e.sub(n, end));
        fill(e, behind, Count::Dynamic(rest), zero);
    }

    /// Applies a soft-cap; returns the scale that is left for the softmax.
    fn cap(&self, e: &mut Emit, scores: Value, n: Value) -> Value {
        let Some(c) = self.a.softcap else {
            return e.float(self.a.scale);
        };
        let inner = e.float(self.a.scale / c);
        scale_by(e, scores, Count::Dynamic(n), inner);
        e.map(offset_of!(KernelTable, tanh), scores, n);
        e.float(c)
    }

    fn mix(&self, e: &mut Emit, s: &Site, sums: Sums, first: Value, n: Value) {
        let side = s.values(self.a.state);
        let values = e.at(self.cache.1, first, side.row_bytes());
        let (x_stride, w_stride, dim) = (
            e.int(KEY_BLOCK),
            e.int(side.row_bytes()),
            e.int(self.a.value_dim),
        );
        let (one, scratch) = (e.int(1), e.scratch(0));
        let rows = self.queries.2;
        let args = [
            sums.scores,
            x_stride,
            rows,
            values,
            w_stride,
            dim,
            n,
            sums.values,
            dim,
            one,
            scratch,
        ];
        e.micro(matmul_kernel(side.decl.dtype, true), &args, None);
    }
}

fn cache_heads(e: &mut Emit, s: &Site, a: &Attention, slot: Value, head: Value) -> (Value, Value) {
    let (keys, values) = (s.keys(a.state), s.values(a.state));
    let (k, v) = (keys.base(e, slot), values.base(e, slot));
    (keys.head(e, k, head), values.head(e, v, head))
}

fn prefill(e: &mut Emit, s: &Site, a: &Attention) {
    let (q, out) = (s.rows(e, s.operand("q")), s.out(e));
    let tiles = e.field(offset_of!(StepContext, n_tiles));
    let chunks = e.times(tiles, a.heads);
    e.chunks(chunks, s.share(), |e, c| {
        let heads = e.int(a.heads);
        let (index, head) = (e.b.ins().udiv(c, heads), e.b.ins().urem(c, heads));
        let tile = Tile::load(e, index);
        let group = e.int(a.group());
        let key_head = e.b.ins().udiv(head, group);
        let (row, column) = (q.row(e, tile.start_row), e.times(head, a.head_dim * 4));
        let first = e.add(row, column);
        let always = e.b.ins().iconst(I8, 1);
        let pass = Pass {
            a,
            queries: (first, q.stride / 4, tile.queries),
            cache: cache_heads(e, s, a, tile.slot, key_head),
            keys: tile.keys(e, a.reach),
            position: (tile.position, 1),
            sinks: Sinks::of(e, s, a, head, 0, always),
        };
        let sums = Sums::of(e, s, a);
        pass.run(e, s, sums);
        let (row, column) = (out.row(e, tile.start_row), e.times(head, a.value_dim * 4));
        let to = e.add(row, column);
        divide_rows(e, a, sums, tile.queries, to, out.stride);
    });
}

/// `out[r] = values[r] / sum[r]`.
fn divide_rows(e: &mut Emit, a: &Attention, sums: Sums, n: Value, to: Value, stride: usize) {
    e.repeat(n, |e, r| {
        let (from, state, to) = (
            e.at(sums.values, r, a.value_dim * 4),
            e.at(sums.state, r, 8),
            e.at(to, r, stride),
        );
        let sum = e.load(Lanes::One, state, 4);
        let one = e.float(1.0);
        let inverse = e.b.ins().fdiv(one, sum);
        scaled_copy(e, from, to, a.value_dim, inverse);
    });
}

fn decode(e: &mut Emit, s: &Site, a: &Attention) {
    let runs = most_runs(e, a);
    let tiles = e.field(offset_of!(StepContext, n_tiles));
    let per_tile = e.times(runs, a.kv_heads);
    let chunks = e.mul(tiles, per_tile);
    e.chunks(chunks, Share::Static, |e, c| {
        let (index, rest) = (e.b.ins().udiv(c, per_tile), e.b.ins().urem(c, per_tile));
        let (head, run) = (e.b.ins().udiv(rest, runs), e.b.ins().urem(rest, runs));
        let tile = Tile::load(e, index);
        run_of_keys(e, s, a, tile, [index, head, run, runs]);
    });
    let several = e.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, runs, 1);
    e.when(several, |e| {
        e.barrier();
        let chunks = e.times(tiles, a.heads);
        e.chunks(chunks, Share::Static, |e, c| combine(e, s, a, c, runs));
    });
}

/// Runs of keys of the tile that has most of them.
fn most_runs(e: &mut Emit, a: &Attention) -> Value {
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

fn runs_between(e: &mut Emit, from: Value, to: Value) -> Value {
    let n = e.sub(to, from);
    let up = e.plus(n, KEY_BLOCK - 1);
    e.b.ins()
        .ushr_imm_u(up, i64::from(KEY_BLOCK.trailing_zeros()))
}

/// One token, one key head, one run of keys.
fn run_of_keys(
    e: &mut Emit,
    s: &Site,
    a: &Attention,
    tile: Tile,
    [index, head, run, runs]: [Value; 4],
) {
    let (from, to) = tile.keys(e, a.reach);
    let skip = e.times(run, KEY_BLOCK);
    let from = e.add(from, skip);
    let end = e.plus(from, KEY_BLOCK);
    let end = e.min(end, to);
    let some = e.b.ins().icmp(IntCC::SignedLessThan, from, end);
    e.when(some, |e| {
        let q = s.rows(e, s.operand("q"));
        let (row, column) = (
            q.row(e, tile.start_row),
            e.times(head, a.group() * a.head_dim * 4),
        );
        let group = e.int(a.group());
        let head_of_query = e.times(head, a.group());
        let first = e.b.ins().icmp_imm_s(IntCC::Equal, run, 0);
        let pass = Pass {
            a,
            queries: (e.add(row, column), a.head_dim, group),
            cache: cache_heads(e, s, a, tile.slot, head),
            keys: (from, end),
            position: (tile.position, 0),
            sinks: Sinks::of(e, s, a, head_of_query, 4, first),
        };
        let sums = Sums::of(e, s, a);
        pass.run(e, s, sums);
        let alone = e.b.ins().icmp_imm_s(IntCC::Equal, runs, 1);
        e.when(alone, |e| {
            let out = s.out(e);
            let (row, column) = (
                out.row(e, tile.start_row),
                e.times(head, a.group() * a.value_dim * 4),
            );
            let to = e.add(row, column);
            divide_rows(e, a, sums, group, to, a.value_dim * 4);
        });
        let several = e.b.ins().icmp_imm_s(IntCC::NotEqual, runs, 1);
        e.when(several, |e| {
            e.repeat(group, |e, r| {
                let h = e.add(head_of_query, r);
                let to = partial(e, s, a, [index, h, run, runs]);
                let (values, state) = (
                    e.at(sums.values, r, a.value_dim * 4),
                    e.at(sums.state, r, 8),
                );
                rows::copy(e, state, to, 2, 1.0);
                let behind = e.plus(to, 8);
                rows::copy(e, values, behind, a.value_dim, 1.0);
            });
        });
    });
}

/// Address of a partial result: maximum, sum, values.
fn partial(e: &mut Emit, s: &Site, a: &Attention, [tile, head, run, runs]: [Value; 4]) -> Value {
    let base = s.workspace(e);
    let heads = e.times(tile, a.heads);
    let head = e.add(heads, head);
    let first = e.mul(head, runs);
    let index = e.add(first, run);
    e.at(base, index, (a.value_dim + 2) * 4)
}

/// Combines one head's partial results in the order of the keys.
fn combine(e: &mut Emit, s: &Site, a: &Attention, c: Value, runs: Value) {
    let heads = e.int(a.heads);
    let (index, head) = (e.b.ins().udiv(c, heads), e.b.ins().urem(c, heads));
    let tile = Tile::load(e, index);
    let (from, to) = tile.keys(e, a.reach);
    let own = runs_between(e, from, to);
    let sums = Sums::of(e, s, a);
    let (zero, lowest) = (e.float(0.0), e.float(f32::NEG_INFINITY));
    fill(e, sums.values, Count::Known(a.value_dim), zero);
    e.store(lowest, sums.state, 0);
    e.store(zero, sums.state, 4);
    let total = e.var(F32, zero);
    let one = e.float(1.0);
    e.repeat(own, |e, run| {
        let from = partial(e, s, a, [index, head, run, runs]);
        rows::copy(e, from, sums.scores, 1, 1.0);
        let n = e.int(1);
        let args = [sums.scores, n, one, sums.state];
        let factor = e
            .micro(offset_of!(KernelTable, softmax_block), &args, Some(F32))
            .expect("it returns one");
        scale_by(e, sums.values, Count::Known(a.value_dim), factor);
        let weight = e.load(Lanes::One, sums.scores, 0);
        let values = e.plus(from, 8);
        scaled_copy(e, values, values, a.value_dim, weight);
        rows::combine(
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

/// `x[i] = value`.
pub(super) fn fill(e: &mut Emit, at: Value, n: Count, value: Value) {
    e.each(n, |e, i, lanes| {
        let (to, v) = (e.add(at, i), e.splat(lanes, value));
        e.store(v, to, 0);
    });
}

/// `x[i] *= factor`.
pub(super) fn scale_by(e: &mut Emit, at: Value, n: Count, factor: Value) {
    e.each(n, |e, i, lanes| {
        let to = e.add(at, i);
        let (x, f) = (e.load(lanes, to, 0), e.splat(lanes, factor));
        let y = e.b.ins().fmul(x, f);
        e.store(y, to, 0);
    });
}

fn scaled_copy(e: &mut Emit, from: Value, to: Value, n: usize, factor: Value) {
    e.each(Count::Known(n), |e, i, lanes| {
        let (from, to) = (e.add(from, i), e.add(to, i));
        let (x, f) = (e.load(lanes, from, 0), e.splat(lanes, factor));
        let y = e.b.ins().fmul(x, f);
        e.store(y, to, 0);
    });
}

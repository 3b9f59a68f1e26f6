//! The matmul kernel: a norm as prologue, chunks of weight rows through a micro-kernel, an epilogue on each chunk.
//!
//! A chunk computes `[rows of the step, n]` values with one call and finishes them while they are in cache. What goes into
//! the state or is rounded to int8, the second factor of a gate, and what is added to a residual is computed into scratch;
//! everything else straight into its place.

use std::mem::offset_of;

use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::quant::{Block, GROUP};
use graver_runtime::abi::{Arranged, KernelTable, StepContext};

use super::collective::finished;
use super::epilogue::PartEpilogue;
use super::kernel::{Rows, Site};
use super::norms::{NormBefore, quantize};
use super::products::{arrange, product};
use super::share::Share;
use super::vectors::{activate, combine, count, divide, scale_by};
use super::writer::{Count, Writer};
use crate::graph::{Binary, Dest, Join, Matmul, MatmulOperands, NodeId};
use crate::schedule::scratch::MatmulScratch;
use crate::schedule::{Work, rows_at_once};

/// Claims of each thread, at least, where there are chunks enough.
const CLAIMS: usize = 2;

/// Emits the kernel.
pub(super) fn emit(e: &mut Writer, s: &Site, m: &Matmul) {
    let Work::Columns(plan) = &s.kernel.work else {
        unreachable!("scheduled by columns")
    };
    let n_rows = s.n_rows(e);
    let scratch = MatmulScratch::of(s.graph, s.kernel.node, m, s.kind);
    let operands = s.read(|take| m.operands(take));
    let x = prologue(e, s, (m, &operands), &scratch, n_rows);
    let arranged = s.kernel.arranged.map(|of| {
        let (k, to) = (s.graph.width(operands.x), s.workspace(e));
        arrange(e, of, x, k, n_rows, to);
        (of, to)
    });
    let at_once = rows_at_once(s.graph, s.kernel.node, m, plan, s.kind);
    let chunk = |(part, (cut, at_once)): (usize, (&(usize, usize), usize))| Chunk {
        m,
        operands: &operands,
        scratch,
        part,
        width: cut.0,
        at_once,
        x,
        arranged,
        n_rows,
    };
    let chunks: Vec<Chunk> = plan.iter().zip(at_once).enumerate().map(chunk).collect();
    match s.share() {
        Share::Static => own_rows(e, s, &chunks),
        Share::Claimed(_) => claimed(e, s, plan, &chunks),
    }
}

/// The chunks that begin in this thread's share of all rows: as chunks of parts differ in size, as many of them for each
/// thread would not be as much work.
fn own_rows(e: &mut Writer, s: &Site, chunks: &[Chunk]) {
    let rows = |c: &Chunk| c.m.parts[c.part].rows;
    let total = e.int(chunks.iter().map(rows).sum::<usize>());
    let own = e.own_run(total);
    let mut before = 0;
    for c in chunks {
        let (skipped, n) = (e.int(before), e.int(rows(c)));
        let [first, end] = e.inside(own, skipped, n).map(|row| {
            let up = e.plus(row, c.width - 1);
            divide(e, up, c.width)
        });
        own_runs(e, s, c, first, end);
        before += rows(c);
    }
}

/// Chunks `first..end` of a part, many of them at once.
fn own_runs(e: &mut Writer, s: &Site, c: &Chunk, first: Value, end: Value) {
    let [from, to] = [first, end].map(|chunk| {
        let (row, most) = (e.times(chunk, c.width), e.int(c.m.parts[c.part].rows));
        e.min(row, most)
    });
    let (n, zero) = (e.sub(to, from), e.int(0));
    let up = e.plus(n, c.at_once - 1);
    let runs = divide(e, up, c.at_once);
    e.own_chunks(zero, runs, |e, i| {
        let skipped = e.times(i, c.at_once);
        let first = e.add(from, skipped);
        let (left, most) = (e.sub(to, first), e.int(c.at_once));
        let n = Count::Dynamic(e.min(left, most));
        c.emit(e, s, first, n);
    });
}

/// Chunks as they are claimed, of whichever part they are. A claim has as many as any other, or nearly, and no more than are computed at once; there are
/// [`CLAIMS`] for each thread, or more, so that one that is late takes fewer.
fn claimed(e: &mut Writer, s: &Site, plan: &[(usize, usize)], chunks: &[Chunk]) {
    let total: usize = plan.iter().map(|cut| cut.1).sum();
    let together = |c: &Chunk| c.at_once / c.width.max(1);
    let most = chunks.iter().map(together).max().unwrap_or(1).max(1);
    let threads = e.field(offset_of!(StepContext, n_threads));
    let total = e.int(total);
    let claims = {
        let most = e.times(threads, most);
        let up = e.add(total, most);
        let up = e.b.ins().iadd_imm_s(up, -1);
        let (each, least) = (e.b.ins().udiv(up, most), e.int(CLAIMS));
        let each = e.b.ins().umax(each, least);
        let claims = e.mul(threads, each);
        e.min(claims, total)
    };
    e.chunks(claims, s.share(), |e, claim| {
        let claimed = e.part(total, claim, claims);
        let mut before = 0;
        for (c, (_, count)) in chunks.iter().zip(plan) {
            let (skipped, n) = (e.int(before), e.int(*count));
            let [first, end] = e.inside(claimed, skipped, n);
            own_runs(e, s, c, first, end);
            before += count;
        }
    });
}

/// The input rows, normalised and rounded into this thread's scratch where the matmul does that.
fn prologue(
    e: &mut Writer,
    s: &Site,
    (m, operands): (&Matmul, &MatmulOperands<NodeId>),
    scratch: &MatmulScratch,
    n_rows: Value,
) -> Rows {
    let x = s.rows(e, operands.x);
    if m.norm.is_none() && !m.quantize_x {
        return x;
    }
    debug_assert_eq!(s.share(), Share::Static, "only decode has prologues");
    let k = s.graph.width(operands.x);
    let norm = NormBefore::of(m.norm.as_ref(), operands.norm);
    let own = Rows {
        base: e.scratch(scratch.rows),
        stride: MatmulScratch::row_bytes(m, k),
    };
    e.repeat(n_rows, |e, t| {
        let (from, to) = (x.row(e, t), own.row(e, t));
        match m.quantize_x {
            true => quantize(e, s, (norm, scratch.norm), from, to, k),
            false => norm.expect("checked").emit(e, s, from, to),
        }
    });
    own
}

/// A run of weight rows of one part.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    m: &'a Matmul,
    operands: &'a MatmulOperands<NodeId>,
    scratch: MatmulScratch,
    part: usize,
    /// Rows of every chunk but a part's last.
    width: usize,
    /// Rows that are computed with one product, at most.
    at_once: usize,
    x: Rows,
    arranged: Option<(Arranged, Value)>,
    n_rows: Value,
}

impl Chunk<'_> {
    fn emit(self, e: &mut Writer, s: &Site, first: Value, n: Count) {
        let part = &self.m.parts[self.part];
        let tile = Rows {
            base: e.scratch(self.scratch.tile),
            stride: self.at_once * 4,
        };
        let out = (part.epilogue.dest == Dest::Output).then(|| self.place(e, s, first));
        // The residual may lie where the result goes, so that the product must not be written there before it is read.
        let product = out.filter(|_| !self.sums_in_place()).unwrap_or(tile);
        self.product(e, s, self.part, first, n, product);
        if let Join::Gated(_) = self.m.join {
            self.product(e, s, 1, first, n, tile);
        }
        if self.has_epilogue() {
            e.repeat(self.n_rows, |e, t| {
                self.epilogue(e, s, first, n, t, [product, tile], out)
            });
        }
        if let Some(out) = out.filter(|_| self.m.quantize_y) {
            self.round(e, s, first, n, out);
        }
        finished(e, s, first, n);
    }

    /// Where the chunk's f32 result goes.
    fn place(&self, e: &mut Writer, s: &Site, first: Value) -> Rows {
        if self.m.quantize_y {
            return Rows {
                base: e.scratch(self.scratch.staged),
                stride: self.at_once * 4,
            };
        }
        let whole = s.out(e).columns(e, self.m.column(self.part));
        let base = e.at(whole.base, first, 4);
        Rows { base, ..whole }
    }

    /// The finished chunk to int8: whole groups of the result, but for its last.
    fn round(&self, e: &mut Writer, s: &Site, first: Value, n: Count, from: Rows) {
        let to = s.out(e);
        let group = divide(e, first, GROUP);
        e.repeat(self.n_rows, |e, t| {
            let (from, to) = (from.row(e, t), to.row(e, t));
            let (to, n) = (e.at(to, group, size_of::<Block>()), count(e, n));
            e.micro(offset_of!(KernelTable, quantize), &[from, n, to], None);
        });
    }

    fn sums_in_place(&self) -> bool {
        self.m.residual && self.m.join == Join::Concat
    }

    fn has_epilogue(&self) -> bool {
        let part = &self.m.parts[self.part];
        let finished = part.epilogue != crate::graph::Epilogue::plain(part.rows);
        let joined = self.m.join != Join::Concat
            || self.m.act.is_some()
            || self.m.scale.is_some()
            || self.m.residual;
        part.bias || finished || joined
    }

    /// `out = x · w[first .. first + n]ᵀ`.
    fn product(&self, e: &mut Writer, s: &Site, part: usize, first: Value, n: Count, out: Rows) {
        let id = self.operands.parts[part].weight;
        let base = s.pointer(e, id);
        let decl = s.weight(id).1;
        let arranged = self
            .arranged
            .filter(|(of, _)| decl.reads_arranged() == Some(*of));
        let x = (self.x, arranged.map(|(_, at)| at));
        product(e, decl, base, first, x, self.n_rows, n, out);
    }

    fn epilogue(
        &self,
        e: &mut Writer,
        s: &Site,
        first: Value,
        n: Count,
        t: Value,
        [product, tile]: [Rows; 2],
        out: Option<Rows>,
    ) {
        let row = product.row(e, t);
        self.add_bias(e, s, self.part, first, n, row);
        if let Join::Gated(act) = self.m.join {
            let up = tile.row(e, t);
            self.add_bias(e, s, 1, first, n, up);
            let n_value = count(e, n);
            activate(e, act, row, n_value);
            combine(e, Binary::Mul, row, up, row, n);
        }
        self.finish(e, s, first, n, t, row);
        let Some(out) = out else { return };
        if let Some(a) = self.m.act {
            let n = count(e, n);
            activate(e, a, row, n);
        }
        if let Some(c) = self.m.scale {
            let factor = e.float(c);
            scale_by(e, row, n, factor);
        }
        if let Some(id) = self.operands.residual {
            let other = s.rows(e, id).columns(e, self.m.column(self.part));
            let at = other.row(e, t);
            let at = e.at(at, first, 4);
            let to = out.row(e, t);
            combine(e, Binary::Add, row, at, to, n);
        }
    }

    fn add_bias(&self, e: &mut Writer, s: &Site, part: usize, first: Value, n: Count, row: Value) {
        if let Some(id) = self.operands.parts[part].bias {
            let bias = s.pointer(e, id);
            let bias = e.at(bias, first, 4);
            combine(e, Binary::Add, row, bias, row, n);
        }
    }

    /// Epilogue and cache write of the chunk's heads.
    fn finish(&self, e: &mut Writer, s: &Site, first: Value, n: Count, t: Value, row: Value) {
        let f = &self.m.parts[self.part].epilogue;
        let n = count(e, n);
        if !f.steps.is_empty() {
            let heads = divide(e, n, f.grain());
            let own = PartEpilogue {
                epilogue: f,
                norms: &self.operands.parts[self.part].norms,
                angles: self.operands.angles,
            };
            own.emit(e, s, row, heads, t);
        }
        let Some(side) = s.side_of(f.dest, f.rows) else {
            return;
        };
        let (first_head, heads) = (divide(e, first, side.dim), divide(e, n, side.dim));
        side.store(e, row, t, first_head, heads);
    }
}

//! The matmul kernel: a norm as prologue, chunks of weight rows through a micro-kernel, an epilogue on each chunk.
//!
//! A chunk computes `[rows of the step, n]` values with one call and finishes them while they are in cache. What goes into
//! the state or is rounded to int8, the second factor of a gate, and what is added to a residual is computed into scratch;
//! everything else straight into its place.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::quant::{Block, GROUP, PANEL_ROWS};
use graver_runtime::abi::{Dtype, Encoding, KernelTable, Quant};

use super::emit::{Count, Emit, Share};
use super::kernel::{Rows, Site};
use super::rows;
use crate::graph::{Binary, Dest, Join, Matmul, Op, WeightDecl};
use crate::schedule::Work;
use crate::schedule::scratch::{MatmulScratch, PRODUCTS};

/// Emits the kernel.
pub(super) fn emit(e: &mut Emit, s: &Site) {
    let Op::Matmul(m) = s.op() else {
        unreachable!("a matmul")
    };
    let Work::Columns(plan) = &s.kernel.work else {
        unreachable!("scheduled by columns")
    };
    let n_rows = s.n_rows(e);
    let x = prologue(e, s, m, n_rows);
    let scratch = MatmulScratch::of(s.graph, s.kernel.node, m, s.kind);
    let chunk = |(part, (width, _)): (usize, &(usize, usize))| Chunk {
        m,
        scratch,
        part,
        width: *width,
        x,
        n_rows,
    };
    let chunks: Vec<Chunk> = plan.iter().enumerate().map(chunk).collect();
    match s.share() {
        Share::Static => own_rows(e, s, &chunks),
        Share::Claimed(_) => claimed(e, s, plan, &chunks),
    }
}

/// The chunks that begin in this thread's share of all rows: as chunks of parts differ in size, as many of them for each
/// thread would not be as much work.
fn own_rows(e: &mut Emit, s: &Site, chunks: &[Chunk]) {
    let rows = |c: &Chunk| c.m.parts[c.part].rows;
    let total = e.int(chunks.iter().map(rows).sum::<usize>());
    let (from, to) = e.own_run(total);
    let mut before = 0;
    for c in chunks {
        let [first, end] = [from, to].map(|row| {
            let row = e.b.ins().iadd_imm_s(row, -(before as i64));
            let most = e.int(rows(c));
            let row = e.clamp(row, most);
            let up = e.plus(row, c.width - 1);
            divide(e, up, c.width)
        });
        e.own_chunks(first, end, |e, i| c.emit(e, s, i));
        before += rows(c);
    }
}

/// Chunks as they are claimed, of whichever part they are.
fn claimed(e: &mut Emit, s: &Site, plan: &[(usize, usize)], chunks: &[Chunk]) {
    let total = e.int(plan.iter().map(|p| p.1).sum::<usize>());
    e.chunks(total, s.share(), |e, c| {
        let done = e.b.create_block();
        let mut first = 0;
        for (part, (chunk, (_, count))) in chunks.iter().zip(plan).enumerate() {
            let index = if first == 0 {
                c
            } else {
                e.b.ins().iadd_imm_s(c, -(first as i64))
            };
            first += count;
            if part + 1 == plan.len() {
                chunk.emit(e, s, index);
                continue;
            }
            let (here, next) = (e.b.create_block(), e.b.create_block());
            let mine = e.b.ins().icmp_imm_s(IntCC::SignedLessThan, c, first as i64);
            e.b.ins().brif(mine, here, &[], next, &[]);
            e.b.switch_to_block(here);
            chunk.emit(e, s, index);
            e.jump(done);
            e.b.switch_to_block(next);
        }
        e.jump(done);
        e.b.switch_to_block(done);
    });
}

/// The input rows, normalised and rounded into this thread's scratch where the matmul does that.
fn prologue(e: &mut Emit, s: &Site, m: &Matmul, n_rows: Value) -> Rows {
    let x = s.rows(e, s.operand("x"));
    if m.norm.is_none() && !m.quantize_x {
        return x;
    }
    debug_assert_eq!(s.share(), Share::Static, "a prologue is a thing of decode");
    let k = s.graph.width(s.operand("x"));
    let scratch = MatmulScratch::of(s.graph, s.kernel.node, m, s.kind);
    let own = Rows {
        base: e.scratch(scratch.rows),
        stride: MatmulScratch::row_bytes(m, k),
    };
    e.repeat(n_rows, |e, t| {
        let (from, to) = (x.row(e, t), own.row(e, t));
        match m.quantize_x {
            true => rows::quantize(e, s, (m.norm.as_ref(), scratch.norm), from, to, k),
            false => rows::prologue_norm(e, s, m.norm.as_ref().expect("checked"), from, to),
        }
    });
    own
}

/// A run of weight rows of one part.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    m: &'a Matmul,
    scratch: MatmulScratch,
    part: usize,
    /// Rows of every chunk but a part's last.
    width: usize,
    x: Rows,
    n_rows: Value,
}

impl Chunk<'_> {
    fn emit(self, e: &mut Emit, s: &Site, index: Value) {
        let part = &self.m.parts[self.part];
        let first = e.times(index, self.width);
        let n = if part.rows.is_multiple_of(self.width) {
            Count::Known(self.width)
        } else {
            let end = e.int(part.rows);
            let left = e.sub(end, first);
            let most = e.int(self.width);
            Count::Dynamic(e.min(left, most))
        };
        let tile = Rows {
            base: e.scratch(self.scratch.tile),
            stride: self.width * 4,
        };
        let out = (part.finish.dest == Dest::Output).then(|| self.place(e, s, first));
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
    }

    /// Where the chunk's f32 result goes.
    fn place(&self, e: &mut Emit, s: &Site, first: Value) -> Rows {
        if self.m.quantize_y {
            return Rows {
                base: e.scratch(self.scratch.staged),
                stride: self.width * 4,
            };
        }
        let whole = s.out(e).columns(e, self.m.column(self.part));
        let base = e.at(whole.base, first, 4);
        Rows { base, ..whole }
    }

    /// The finished chunk to int8: whole groups of the result, but for its last.
    fn round(&self, e: &mut Emit, s: &Site, first: Value, n: Count, from: Rows) {
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
        let finished = part.finish != crate::graph::Finish::plain(part.rows);
        let joined = self.m.join != Join::Concat
            || self.m.act.is_some()
            || self.m.scale.is_some()
            || self.m.residual;
        part.bias || finished || joined
    }

    /// `out = x · w[first .. first + n]ᵀ`.
    fn product(&self, e: &mut Emit, s: &Site, part: usize, first: Value, n: Count, out: Rows) {
        let id = s.operand(&format!("w{part}"));
        let base = s.pointer(e, id);
        product(e, s.weight(id).1, base, first, self.x, self.n_rows, n, out);
    }

    fn epilogue(
        &self,
        e: &mut Emit,
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
            rows::activate(e, act, row, n_value);
            rows::combine(e, Binary::Mul, row, up, row, n);
        }
        self.finish(e, s, first, n, t, row);
        let Some(out) = out else { return };
        if let Some(a) = self.m.act {
            let n = count(e, n);
            rows::activate(e, a, row, n);
        }
        if let Some(c) = self.m.scale {
            scale(e, row, n, c);
        }
        if self.m.residual {
            let id = s.operand("residual");
            let other = s.rows(e, id).columns(e, self.m.column(self.part));
            let at = other.row(e, t);
            let at = e.at(at, first, 4);
            let to = out.row(e, t);
            rows::combine(e, Binary::Add, row, at, to, n);
        }
    }

    fn add_bias(&self, e: &mut Emit, s: &Site, part: usize, first: Value, n: Count, row: Value) {
        if self.m.parts[part].bias {
            let bias = s.pointer(e, s.operand(&format!("bias{part}")));
            let bias = e.at(bias, first, 4);
            rows::combine(e, Binary::Add, row, bias, row, n);
        }
    }

    /// Touches and cache write of the chunk's heads.
    fn finish(&self, e: &mut Emit, s: &Site, first: Value, n: Count, t: Value, row: Value) {
        let f = &self.m.parts[self.part].finish;
        let n = count(e, n);
        if !f.touches.is_empty() {
            let heads = divide(e, n, f.grain());
            rows::finish_heads(e, s, (self.part, f), row, heads, t);
        }
        let Some(side) = s.side_of(f.dest, f.rows) else {
            return;
        };
        let (first_head, heads) = (divide(e, first, side.dim), divide(e, n, side.dim));
        side.store(e, row, t, first_head, heads);
    }
}

/// `out = x · w[first .. first + n]ᵀ` for `m` rows, the weight's first element being at `base`.
pub(super) fn product(
    e: &mut Emit,
    decl: &WeightDecl,
    base: Value,
    first: Value,
    x: Rows,
    m: Value,
    n: Count,
    out: Rows,
) {
    let dtype = match decl.encoding {
        Encoding::Float(dtype) => dtype,
        Encoding::Quantized(quant) => return panels(e, quant, decl, base, first, x, m, n, out),
    };
    let step = if decl.transposed {
        dtype.size()
    } else {
        decl.row_stride
    };
    let Some(blocks) = decl.blocks else {
        let w = e.at(base, first, step);
        return floats(e, decl, dtype, w, x, m, n, out);
    };
    let n = count(e, n);
    let end = e.add(first, n);
    e.advance(first, end, |e, row| {
        let rows = e.int(blocks.rows);
        let (block, inside) = (e.b.ins().udiv(row, rows), e.b.ins().urem(row, rows));
        let w = e.at(base, block, blocks.every * step);
        let w = e.at(w, inside, step);
        let (left, most) = (e.sub(end, row), e.sub(rows, inside));
        let n = e.min(left, most);
        let done = e.sub(row, first);
        let base = e.at(out.base, done, 4);
        let out = Rows { base, ..out };
        floats(e, decl, dtype, w, x, m, Count::Dynamic(n), out);
        n
    });
}

/// The product with `n` rows of floats that follow each other.
fn floats(
    e: &mut Emit,
    decl: &WeightDecl,
    dtype: Dtype,
    w: Value,
    x: Rows,
    m: Value,
    n: Count,
    out: Rows,
) {
    let x_stride = e.int(x.stride / 4);
    let out_stride = e.int(out.stride / 4);
    let (w_stride, n, k) = (e.int(decl.row_stride), count(e, n), e.int(decl.shape[1]));
    let (zero, scratch) = (e.int(0), e.scratch(PRODUCTS));
    let args = [
        x.base, x_stride, m, w, w_stride, n, k, out.base, out_stride, zero, scratch,
    ];
    e.micro(matmul_kernel(dtype, decl.transposed), &args, None);
}

/// The product with panels of quantised weights; chunks begin where panels do.
fn panels(
    e: &mut Emit,
    quant: Quant,
    decl: &WeightDecl,
    base: Value,
    first: Value,
    x: Rows,
    m: Value,
    n: Count,
    out: Rows,
) {
    let panel = divide(e, first, PANEL_ROWS);
    let w = e.at(base, panel, decl.row_stride);
    let (x_stride, out_stride) = (e.int(x.stride), e.int(out.stride / 4));
    let (n, groups) = (count(e, n), e.int(decl.shape[1].div_ceil(GROUP)));
    let args = [x.base, x_stride, m, w, n, groups, out.base, out_stride];
    let kernel = match quant {
        Quant::Q8 => offset_of!(KernelTable, matmul_q8),
        Quant::Q4 => offset_of!(KernelTable, matmul_q4),
    };
    e.micro(kernel, &args, None);
}

fn divide(e: &mut Emit, x: Value, by: usize) -> Value {
    let by = e.int(by);
    e.b.ins().udiv(x, by)
}

pub(super) fn count(e: &mut Emit, n: Count) -> Value {
    match n {
        Count::Known(n) => e.int(n),
        Count::Dynamic(n) => n,
    }
}

fn scale(e: &mut Emit, row: Value, n: Count, c: f32) {
    let factor = e.float(c);
    e.each(n, |e, i, lanes| {
        let at = e.add(row, i);
        let (x, f) = (e.load(lanes, at, 0), e.splat(lanes, factor));
        let y = e.b.ins().fmul(x, f);
        e.store(y, at, 0);
    });
}

/// The micro-kernel for weights `[n, k]`, or `[k, n]` where transposed.
pub(super) fn matmul_kernel(dtype: Dtype, transposed: bool) -> usize {
    match (dtype, transposed) {
        (Dtype::F32, false) => offset_of!(KernelTable, matmul_f32),
        (Dtype::Bf16, false) => offset_of!(KernelTable, matmul_bf16),
        (Dtype::F16, false) => offset_of!(KernelTable, matmul_f16),
        (Dtype::F32, true) => offset_of!(KernelTable, matmul_kn_f32),
        (Dtype::Bf16, true) => offset_of!(KernelTable, matmul_kn_bf16),
        (Dtype::F16, true) => offset_of!(KernelTable, matmul_kn_f16),
    }
}

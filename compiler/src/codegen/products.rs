//! Calls of the micro-kernels for products, of rows with weights and with cached rows.

use std::mem::offset_of;

use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use graver_runtime::abi::{
    ARRANGED_ROWS, Arranged, CacheType, Dtype, Encoding, KernelTable, Quant,
};

use super::cache::ProductRows;
use super::kernel::Rows;
use super::share::Share;
use super::vectors::{count, divide};
use super::writer::{Count, Writer};
use crate::graph::WeightDecl;
use crate::schedule::scratch::PRODUCTS;

/// `out = x · w[first .. first + n]ᵀ` for `m` rows, the weight's first element being at `base`; with `x` comes where it is arranged, if it is.
pub(super) fn product(
    e: &mut Writer,
    decl: &WeightDecl,
    base: Value,
    first: Value,
    x: (Rows, Option<Value>),
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
    e: &mut Writer,
    decl: &WeightDecl,
    dtype: Dtype,
    w: Value,
    (x, arranged): (Rows, Option<Value>),
    m: Value,
    n: Count,
    out: Rows,
) {
    let x_stride = e.int(x.stride / 4);
    let out_stride = e.int(out.stride / 4);
    let sizes = (count(e, n), e.int(decl.shape[1]));
    let kernel = match decl.rounded {
        true => offset_of!(KernelTable, matmul_bf16_rounded),
        false => matmul_kernel(dtype, decl.transposed),
    };
    let args = MatmulArgs {
        x: (x.base, x_stride, m),
        w: (w, decl.row_stride),
        sizes,
        out: (out.base, out_stride),
        accumulate: None,
        arranged,
    };
    args.call(e, kernel);
}

/// The arguments of a [`MatmulFn`](graver_runtime::abi::MatmulFn).
pub(super) struct MatmulArgs {
    /// First row, elements between rows, rows.
    pub(super) x: (Value, Value, Value),
    /// First row, bytes between rows.
    pub(super) w: (Value, usize),
    /// Columns of the result, and what is summed over.
    pub(super) sizes: (Value, Value),
    /// First row, elements between rows.
    pub(super) out: (Value, Value),
    /// Whether to add to what is there; else it is not.
    pub(super) accumulate: Option<Value>,
    /// Where `x` is arranged, if it is.
    pub(super) arranged: Option<Value>,
}

impl MatmulArgs {
    pub(super) fn call(&self, e: &mut Writer, kernel: usize) {
        let ((x, x_stride, m), (w, w_stride)) = (self.x, self.w);
        let ((n, k), (out, out_stride)) = (self.sizes, self.out);
        let (w_stride, scratch, zero) = (e.int(w_stride), e.scratch(PRODUCTS), e.int(0));
        let [accumulate, arranged] = [self.accumulate, self.arranged].map(|v| v.unwrap_or(zero));
        let args = [
            x, x_stride, m, w, w_stride, n, k, out, out_stride, accumulate, arranged, scratch,
        ];
        e.micro(kernel, &args, None);
    }
}

/// The product with panels of quantised weights; chunks begin where panels do.
fn panels(
    e: &mut Writer,
    quant: Quant,
    decl: &WeightDecl,
    base: Value,
    first: Value,
    (x, arranged): (Rows, Option<Value>),
    m: Value,
    n: Count,
    out: Rows,
) {
    let panel = divide(e, first, PANEL_ROWS);
    let w = e.at(base, panel, decl.row_stride);
    let (x_stride, out_stride) = (e.int(x.stride), e.int(out.stride / 4));
    let (n, groups) = (count(e, n), e.int(decl.shape[1].div_ceil(GROUP)));
    let arranged = arranged.unwrap_or_else(|| e.int(0));
    let args = [
        x.base, x_stride, m, w, n, groups, out.base, out_stride, arranged,
    ];
    let kernel = match quant {
        Quant::Q8 => offset_of!(KernelTable, matmul_q8),
        Quant::Q4 => offset_of!(KernelTable, matmul_q4),
        Quant::Q4Min => offset_of!(KernelTable, matmul_q4m),
        Quant::Q8Min => offset_of!(KernelTable, matmul_q8m),
        Quant::Q8Half => offset_of!(KernelTable, matmul_q8h),
        Quant::Q4Super => offset_of!(KernelTable, matmul_q4s),
        Quant::Q4Narrow => offset_of!(KernelTable, matmul_q4n),
    };
    e.micro(kernel, &args, None);
}

/// Arranges `n_rows` rows of `k` activations, a few at a time, at `out`; then waits for all threads.
pub(super) fn arrange(e: &mut Writer, of: Arranged, x: Rows, k: usize, n_rows: Value, out: Value) {
    let kernel = match of {
        Arranged::Rounded => offset_of!(KernelTable, arrange_rounded),
        Arranged::Blocks => offset_of!(KernelTable, arrange_blocks),
    };
    let up = e.plus(n_rows, ARRANGED_ROWS - 1);
    let chunks = divide(e, up, ARRANGED_ROWS);
    e.chunks(chunks, Share::Static, |e, i| {
        let first = e.times(i, ARRANGED_ROWS);
        let (left, most) = (e.sub(n_rows, first), e.int(ARRANGED_ROWS));
        let rows = e.min(left, most);
        let (from, to) = (x.row(e, first), e.at(out, i, of.bytes(k)));
        let (stride, k) = (e.int(x.stride), e.int(k));
        e.micro(kernel, &[from, stride, rows, k, to], None);
    });
    e.barrier();
}

/// `out (+)= x · w` over cached rows, as a micro-kernel wants it.
pub(super) struct Product {
    /// First row, elements between rows, rows.
    pub(super) x: (Value, Value, Value),
    pub(super) w: ProductRows,
    /// Columns of the result, and what is summed over.
    pub(super) sizes: (Value, Value),
    /// First row, elements between rows.
    pub(super) out: (Value, Value),
    pub(super) accumulate: Value,
}

impl Product {
    /// `over_rows`: a sum over the rows of `w` rather than over its columns.
    pub(super) fn emit(&self, e: &mut Writer, over_rows: bool) {
        let args = MatmulArgs {
            x: self.x,
            w: (self.w.base, self.w.row_bytes),
            sizes: self.sizes,
            out: self.out,
            accumulate: Some(self.accumulate),
            arranged: None,
        };
        args.call(e, cache_kernel(self.w.dtype, over_rows));
    }
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

/// The micro-kernel for cached rows `[n, k]`, or `[k, n]` where they are summed up.
fn cache_kernel(dtype: CacheType, over_rows: bool) -> usize {
    match (dtype.float(), over_rows) {
        (Some(dtype), _) => matmul_kernel(dtype, over_rows),
        (None, false) => offset_of!(KernelTable, matmul_cache_q8),
        (None, true) => offset_of!(KernelTable, matmul_kn_cache_q8),
    }
}

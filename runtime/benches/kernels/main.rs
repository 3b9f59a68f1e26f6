//! Every micro-kernel against the limit of the machine that it meets first, on one thread:
//! `cargo bench -p graver-runtime --bench kernels [FILTER]`.
//!
//! Criterion's throughput is printed as a share. What reads weights, keys or values once is compared with how fast this
//! machine reads memory, over an array that no cache holds; what works on activations with how fast it reads its
//! second-level cache; products of many rows with the peak of multiplying and adding, in f32, with bf16, in bf16 or in integers of 8 bits. All six are
//! measured in this process before the first run.

mod share;

use std::ptr::null;
use std::sync::LazyLock;
use std::time::Duration;

use criterion::Criterion;
use graver_runtime::abi::quant::{Block, GROUP, PANEL_ROWS, block_row_bytes};
use graver_runtime::abi::{
    Arranged, CACHE_GROUP, CacheType, DeltaRun, KEY_BLOCK, KernelTable, MATMUL_SCRATCH, MapFn,
    MatmulFn, Quant,
};
use graver_runtime::kernels::{self, Record};

use share::{Limit, Share};

/// Terms of a product with weights.
const K: usize = 2048;
/// Rows of weights of one call, about as generated code multiplies them at once: of a thread's run, for few rows of activations, and of
/// a chunk, for many: of integers and of floats.
const FEW: usize = 512;
const MANY: usize = 96;
const MANY_FLOATS: usize = 288;
/// Rows of activations of a prefill step.
const PROMPT: usize = 512;
/// Rows of queries of an attention tile.
const QUERIES: usize = 64;
/// Query heads that share a key head at decode.
const GROUP_HEADS: usize = 4;
/// Columns of a head.
const HEAD: usize = 64;
/// Activations that a map goes over, and a row that is rounded.
const WIDTH: usize = 4096;

type Bench = Criterion<Share>;

/// The kernels that are measured.
fn table() -> &'static KernelTable {
    static TABLE: LazyLock<&KernelTable> =
        LazyLock::new(|| match kernels::table(&Record::default()) {
            Ok(table) => table,
            Err(error) => panic!("{error}"),
        });
    *TABLE
}

fn main() {
    let mut b = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .without_plots()
        .with_measurement(Share::measured())
        .configure_from_args();
    products(&mut b);
    attention(&mut b);
    recurrences(&mut b);
    maps(&mut b);
    conversions(&mut b);
    lookups(&mut b);
    b.final_summary();
}

/// `[m, k] · [k, n]`.
#[derive(Clone, Copy)]
struct Shape {
    m: usize,
    n: usize,
    k: usize,
}

fn shape(m: usize, n: usize, k: usize) -> Shape {
    Shape { m, n, k }
}

impl Shape {
    fn flops(self) -> usize {
        2 * self.m * self.n * self.k
    }
}

/// Weights, one call's after the other's. As numbers of any type they are of a usual size.
struct Weights {
    bytes: Vec<u8>,
    each: usize,
    at: usize,
}

impl Weights {
    fn new(limit: Limit, each: usize) -> Weights {
        let bytes = vec![0x3c; limit.array_bytes().max(each)];
        Weights { bytes, each, at: 0 }
    }

    fn next(&mut self) -> *const u8 {
        let end = self.at + self.each;
        self.at = if end + self.each <= self.bytes.len() {
            end
        } else {
            0
        };
        self.bytes[self.at..].as_ptr()
    }
}

fn scratch() -> Vec<Line> {
    vec![Line([0; 64]); MATMUL_SCRATCH / 64]
}

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(#[expect(dead_code, reason = "room for a kernel")] [u8; 64]);

/// Many rows of activations, which are arranged beforehand.
const PREFILL: &str = "prefill";

/// With activations rounded to bf16.
const ROUNDED: &str = "bf16 with bf16";

/// Keys and values in int8, as decode reads them.
const CACHED: &str = "cached q8";

/// Weights `[n, k]` and `[k, n]` of every type that products of floats read, and what rows are of.
fn matmuls() -> [(&'static str, [MatmulFn; 2], CacheType); 5] {
    let t = table();
    let cached = [t.matmul_cache_q8, t.matmul_kn_cache_q8];
    let rounded = [t.matmul_bf16_rounded, t.matmul_kn_bf16];
    [
        ("f32", [t.matmul_f32, t.matmul_kn_f32], CacheType::F32),
        ("bf16", [t.matmul_bf16, t.matmul_kn_bf16], CacheType::Bf16),
        ("f16", [t.matmul_f16, t.matmul_kn_f16], CacheType::F16),
        (ROUNDED, rounded, CacheType::Bf16),
        (CACHED, cached, CacheType::Q8),
    ]
}

fn floats(b: &mut Bench, group: &str, s: Shape, layout: usize, limit: Limit) {
    for (name, kernels, of_weights) in matmuls() {
        let is_left_out = match name {
            ROUNDED => s.m != PROMPT || layout != 0,
            CACHED => s.m != GROUP_HEADS || s.n * s.k != KEY_BLOCK * HEAD,
            _ => false,
        };
        if is_left_out {
            continue;
        }
        let (rows, columns) = [(s.n, s.k), (s.k, s.n)][layout];
        let row_bytes = of_weights.bytes(columns, CACHE_GROUP);
        let bytes = rows * row_bytes;
        let (mut w, x) = (Weights::new(limit, bytes), vec![0.5f32; s.m * s.k]);
        let (mut out, mut scratch) = (vec![0f32; s.m * s.n], scratch());
        let of = (name == ROUNDED && group == PREFILL).then_some(Arranged::Rounded);
        let arranged = of.map(|of| arranged(of, (x.as_ptr().cast(), s.k * 4), s));
        let limit = match (limit, of_weights.float()) {
            (Limit::Arithmetic, _) if name == ROUNDED => Limit::Rounded,
            (Limit::Arithmetic, Some(of)) => Limit::Products(of),
            _ => limit,
        };
        let mut group = limit.group(b, group, bytes, s.flops());
        group.bench_function(name, |b| {
            b.iter(|| {
                let (w, scratch) = (w.next(), scratch.as_mut_ptr().cast());
                let (x, out) = (x.as_ptr(), out.as_mut_ptr());
                // SAFETY: the arrays have the product's shape.
                unsafe {
                    kernels[layout](
                        x,
                        s.k,
                        s.m,
                        w,
                        row_bytes,
                        s.n,
                        s.k,
                        out,
                        s.n,
                        0,
                        at(&arranged),
                        scratch,
                    );
                }
            });
        });
    }
}

/// Activations as the table's products read them.
fn arranged(of: Arranged, x: (*const u8, usize), s: Shape) -> Vec<Line> {
    let mut out = vec![Line([0; 64]); of.room(s.m, s.k) / size_of::<Line>()];
    // SAFETY: the rows exist, and there is room for them.
    unsafe { table().arrange_all(of, x, s.m, s.k, out.as_mut_ptr().cast()) };
    out
}

fn at(arranged: &Option<Vec<Line>>) -> *const u8 {
    arranged
        .as_ref()
        .map_or(null(), |lines| lines.as_ptr().cast())
}

fn integers(b: &mut Bench, group: &str, s: Shape, limit: Limit) {
    for quant in Quant::ALL {
        let kernel = table().quant_matmul(quant);
        let bytes = quant.matrix_bytes(s.n, s.k);
        let mut w = Weights::new(limit, bytes);
        let x = vec![
            Block {
                q: [3; GROUP],
                scale: 0.01,
                offset: 0.0,
                bias: -128 * 3 * GROUP as i32,
                half_bias: -128 * 3 * (GROUP / 2) as i32,
            };
            s.m * s.k / GROUP
        ];
        let of = (group == PREFILL).then_some(Arranged::Blocks);
        let arranged = of.map(|of| arranged(of, (x.as_ptr().cast(), block_row_bytes(s.k)), s));
        let mut out = vec![0f32; s.m * s.n];
        let mut group = limit.group(b, group, bytes, s.flops());
        group.bench_function(quant.to_string(), |b| {
            b.iter(|| {
                let (x, w, out) = (x.as_ptr().cast(), w.next(), out.as_mut_ptr());
                // SAFETY: the arrays have the product's shape.
                unsafe {
                    kernel(
                        x,
                        block_row_bytes(s.k),
                        s.m,
                        w,
                        s.n,
                        s.k / GROUP,
                        out,
                        s.n,
                        at(&arranged),
                    )
                }
            });
        });
    }
}

fn products(b: &mut Bench) {
    for m in [1, 4, 8] {
        let (s, group) = (shape(m, FEW, K), format!("decode, {m} rows"));
        floats(b, &group, s, 0, Limit::Memory);
        integers(b, &group, s, Limit::Memory);
    }
    floats(b, "decode, [k, n]", shape(1, HEAD, K), 1, Limit::Memory);
    let s = shape(PROMPT, MANY_FLOATS, K);
    floats(b, PREFILL, s, 0, Limit::Arithmetic);
    floats(b, "prefill, [k, n]", s, 1, Limit::Arithmetic);
    integers(b, PREFILL, shape(PROMPT, MANY, K), Limit::Integers);
}

fn attention(b: &mut Bench) {
    for (program, m, limit) in [
        ("decode", GROUP_HEADS, Limit::Memory),
        ("prefill", QUERIES, Limit::Arithmetic),
    ] {
        let (scores, values) = (format!("{program}, scores"), format!("{program}, values"));
        floats(b, &scores, shape(m, KEY_BLOCK, HEAD), 0, limit);
        floats(b, &values, shape(m, HEAD, KEY_BLOCK), 1, limit);
    }
    let (scores, mut x) = (numbers(KEY_BLOCK), vec![0f32; KEY_BLOCK]);
    Limit::Cache
        .group(b, "softmax", KEY_BLOCK * 4, 0)
        .bench_function("block", |b| {
            b.iter(|| {
                x.copy_from_slice(&scores);
                let mut state = [f32::NEG_INFINITY, 0.0];
                // SAFETY: as many scores, and a state of two values.
                unsafe {
                    (table().softmax_block)(x.as_mut_ptr(), KEY_BLOCK, 0.125, state.as_mut_ptr())
                }
            });
        });
}

/// Values between 0.1 and 4, which every map has a result for.
fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| 0.1 + 3.9 * (i as f32 / n as f32)).collect()
}

/// The gated delta rule and the state space of Mamba-2 on a head's state, many tokens in a row.
fn recurrences(b: &mut Bench) {
    for (name, [rows, columns], corrects) in
        [("delta rule", [128, 128], 1), ("state space", [128, 64], 0)]
    {
        let (q, k, v) = (
            vec![0.01; rows * PROMPT],
            vec![0.01; rows * PROMPT],
            vec![0.5; columns * PROMPT],
        );
        let (decay, beta) = (vec![0.9; PROMPT], vec![0.5; PROMPT]);
        let (mut state, mut out) = (vec![0f32; rows * columns], vec![0f32; columns * PROMPT]);
        let run = DeltaRun {
            state: state.as_mut_ptr(),
            rows,
            columns,
            tokens: PROMPT,
            q: q.as_ptr(),
            q_stride: rows,
            k: k.as_ptr(),
            k_stride: rows,
            v: v.as_ptr(),
            v_stride: columns,
            decay: decay.as_ptr(),
            decay_stride: 1,
            decays: 1,
            beta: beta.as_ptr(),
            beta_stride: 1,
            out: out.as_mut_ptr(),
            out_stride: columns,
            scale: 1.0,
            corrects,
        };
        // A product with the key, decay and write, a product with the query; a decay alone is half of what a pipe does at once.
        let flops = PROMPT * rows * columns * if corrects == 1 { 8 } else { 6 };
        Limit::Arithmetic
            .group(b, "recurrence", 0, flops)
            .bench_function(name, |b| {
                // SAFETY: the arrays have the sizes that the run says.
                b.iter(|| unsafe { (table().delta_rule)(&run) });
            });
    }
}

/// The copy of the arguments, which a map overwrites, is part of what is measured.
fn maps(b: &mut Bench) {
    let t = table();
    let kernels: [(&str, MapFn); 10] = [
        ("exp", t.exp),
        ("ln", t.ln),
        ("silu", t.silu),
        ("gelu", t.gelu),
        ("gelu_tanh", t.gelu_tanh),
        ("sigmoid", t.sigmoid),
        ("tanh", t.tanh),
        ("relu", t.relu),
        ("relu2", t.relu2),
        ("softplus", t.softplus),
    ];
    let (values, mut x) = (numbers(WIDTH), vec![0f32; WIDTH]);
    for (name, kernel) in kernels {
        Limit::Cache
            .group(b, "map", WIDTH * 4, 0)
            .bench_function(name, |b| {
                b.iter(|| {
                    x.copy_from_slice(&values);
                    // SAFETY: there are as many values.
                    unsafe { kernel(x.as_mut_ptr(), WIDTH) }
                });
            });
    }
}

fn conversions(b: &mut Bench) {
    let t = table();
    let (x, mut narrow) = (numbers(WIDTH), vec![0x3cu8; WIDTH * 2]);
    for (name, kernel) in [("f32 to bf16", t.f32_to_bf16), ("f32 to f16", t.f32_to_f16)] {
        Limit::Cache
            .group(b, "convert", WIDTH * 4, 0)
            .bench_function(name, |b| {
                // SAFETY: there are as many values, and room for them.
                b.iter(|| unsafe { kernel(x.as_ptr(), WIDTH, narrow.as_mut_ptr()) });
            });
    }
    let mut wide = vec![0f32; WIDTH];
    for (name, kernel) in [("bf16 to f32", t.bf16_to_f32), ("f16 to f32", t.f16_to_f32)] {
        Limit::Cache
            .group(b, "convert", WIDTH * 2, 0)
            .bench_function(name, |b| {
                // SAFETY: there are as many values, and room for them.
                b.iter(|| unsafe { kernel(narrow.as_ptr(), WIDTH, wide.as_mut_ptr()) });
            });
    }
    let mut rows = vec![0u8; CacheType::Q8.bytes(WIDTH, CACHE_GROUP)];
    Limit::Cache
        .group(b, "convert", WIDTH * 4, 0)
        .bench_function("f32 to cached q8", |b| {
            // SAFETY: there are as many values, and room for their groups.
            b.iter(|| unsafe {
                (t.f32_to_cache_q8)(x.as_ptr(), WIDTH, CACHE_GROUP, rows.as_mut_ptr())
            });
        });
    let row_bytes = CacheType::Q8.bytes(HEAD, CACHE_GROUP);
    Limit::Cache
        .group(b, "convert", rows.len(), 0)
        .bench_function("cached q8 to f32", |b| {
            // SAFETY: rows of a head each, and room for their values.
            b.iter(|| unsafe {
                let (n, out) = (WIDTH / HEAD, wide.as_mut_ptr());
                (t.cache_q8_to_f32)(rows.as_ptr(), row_bytes, n, HEAD, CACHE_GROUP, out)
            });
        });
    let mut blocks = vec![Block::default(); WIDTH / GROUP];
    Limit::Cache
        .group(b, "quantize", WIDTH * 4, 0)
        .bench_function("row", |b| {
            // SAFETY: there are as many values, and blocks for them.
            b.iter(|| unsafe { (t.quantize)(x.as_ptr(), WIDTH, blocks.as_mut_ptr().cast()) });
        });
}

/// Rows of quantised tables, and angles.
fn lookups(b: &mut Bench) {
    let (t, freqs, mut wide) = (table(), numbers(HEAD), vec![0f32; WIDTH]);
    for quant in Quant::ALL {
        let kernel = t.quant_row(quant);
        let panel = vec![0x3cu8; quant.panel_bytes(WIDTH)];
        let bytes = panel.len() / PANEL_ROWS;
        Limit::Cache
            .group(b, "row of", bytes, 0)
            .bench_function(quant.to_string(), |b| {
                // SAFETY: the panel has rows of as many values, and there is room for them.
                b.iter(|| unsafe { kernel(panel.as_ptr(), 3, WIDTH, wide.as_mut_ptr()) });
            });
    }
    let (mut cos, mut sin) = (vec![0f32; HEAD], vec![0f32; HEAD]);
    Limit::Cache
        .group(b, "rope", HEAD * 4, 0)
        .bench_function("angles", |b| {
            // SAFETY: there are as many frequencies, and room for as many angles.
            b.iter(|| unsafe {
                (t.rope_angles)(
                    1000,
                    freqs.as_ptr(),
                    HEAD,
                    1.0,
                    cos.as_mut_ptr(),
                    sin.as_mut_ptr(),
                );
            });
        });
}

//! Micro-kernels that look at their arguments first: each works out which bytes it would touch, and is left out where one of
//! them is not its caller's.

use super::micro::Call;
use crate::abi::quant::{Block, GROUP, PANEL_ROWS, block_row_bytes};
use crate::abi::{
    ArrangeFn, Arranged, CACHE_GROUP, CacheType, DeltaRuleFn, DeltaRun, KernelTable,
    MATMUL_SCRATCH, MapFn, MatmulFn, NarrowFn, Quant, QuantMatmulFn, QuantRowFn, QuantizeFn,
    WidenFn,
};

/// Makes the table.
pub(super) static TABLE: KernelTable = KernelTable {
    matmul_f32: matmul::<0>,
    matmul_bf16: matmul::<1>,
    matmul_f16: matmul::<2>,
    matmul_kn_f32: matmul::<3>,
    matmul_kn_bf16: matmul::<4>,
    matmul_kn_f16: matmul::<5>,
    silu: map::<0>,
    gelu: map::<1>,
    gelu_tanh: map::<2>,
    sigmoid: map::<3>,
    tanh: map::<4>,
    relu: map::<5>,
    relu2: map::<6>,
    exp: map::<7>,
    softplus: map::<8>,
    ln: map::<9>,
    softmax_block,
    rope_angles,
    f32_to_bf16: narrow::<0>,
    f32_to_f16: narrow::<1>,
    bf16_to_f32: widen::<0>,
    f16_to_f32: widen::<1>,
    quantize,
    matmul_q8: quant_matmul::<0>,
    matmul_q4: quant_matmul::<1>,
    matmul_q4m: quant_matmul::<2>,
    matmul_q8m: quant_matmul::<3>,
    matmul_q8h: quant_matmul::<4>,
    matmul_q4s: quant_matmul::<5>,
    matmul_q4n: quant_matmul::<6>,
    row_q8: quant_row::<0>,
    row_q4: quant_row::<1>,
    row_q4m: quant_row::<2>,
    row_q8m: quant_row::<3>,
    row_q8h: quant_row::<4>,
    row_q4s: quant_row::<5>,
    row_q4n: quant_row::<6>,
    delta_rule,
    f32_to_cache_q8,
    cache_q8_to_f32,
    matmul_bf16_rounded: matmul::<6>,
    arrange_rounded: arrange::<0>,
    arrange_blocks: arrange::<1>,
    matmul_cache_q8: matmul::<7>,
    matmul_kn_cache_q8: matmul::<8>,
};

/// Which kernel of a table.
type Of<F> = fn(&KernelTable) -> F;
type Narrow = unsafe extern "C" fn(*const f32, usize, *mut u8);
type Widen = unsafe extern "C" fn(*const u8, usize, *mut f32);

/// By number: name, kernel, what rows are of, whether weights are `[k, n]`.
const MATMULS: [(&str, Of<MatmulFn>, CacheType, bool); 9] = [
    ("matmul_f32", |t| t.matmul_f32, CacheType::F32, false),
    ("matmul_bf16", |t| t.matmul_bf16, CacheType::Bf16, false),
    ("matmul_f16", |t| t.matmul_f16, CacheType::F16, false),
    ("matmul_kn_f32", |t| t.matmul_kn_f32, CacheType::F32, true),
    (
        "matmul_kn_bf16",
        |t| t.matmul_kn_bf16,
        CacheType::Bf16,
        true,
    ),
    ("matmul_kn_f16", |t| t.matmul_kn_f16, CacheType::F16, true),
    (
        "matmul_bf16_rounded",
        |t| t.matmul_bf16_rounded,
        CacheType::Bf16,
        false,
    ),
    (
        "matmul_cache_q8",
        |t| t.matmul_cache_q8,
        CacheType::Q8,
        false,
    ),
    (
        "matmul_kn_cache_q8",
        |t| t.matmul_kn_cache_q8,
        CacheType::Q8,
        true,
    ),
];

const ARRANGES: [(&str, Of<ArrangeFn>, Arranged); 2] = [
    ("arrange_rounded", |t| t.arrange_rounded, Arranged::Rounded),
    ("arrange_blocks", |t| t.arrange_blocks, Arranged::Blocks),
];

const MAPS: [(&str, Of<MapFn>); 10] = [
    ("silu", |t| t.silu),
    ("gelu", |t| t.gelu),
    ("gelu_tanh", |t| t.gelu_tanh),
    ("sigmoid", |t| t.sigmoid),
    ("tanh", |t| t.tanh),
    ("relu", |t| t.relu),
    ("relu2", |t| t.relu2),
    ("exp", |t| t.exp),
    ("softplus", |t| t.softplus),
    ("ln", |t| t.ln),
];

const NARROWS: [(&str, Of<Narrow>); 2] = [
    ("f32_to_bf16", |t| t.f32_to_bf16),
    ("f32_to_f16", |t| t.f32_to_f16),
];

const WIDENS: [(&str, Of<Widen>); 2] = [
    ("bf16_to_f32", |t| t.bf16_to_f32),
    ("f16_to_f32", |t| t.f16_to_f32),
];

const QUANT_MATMULS: [(&str, Of<QuantMatmulFn>, Quant); 7] = [
    ("matmul_q8", |t| t.matmul_q8, Quant::Q8),
    ("matmul_q4", |t| t.matmul_q4, Quant::Q4),
    ("matmul_q4m", |t| t.matmul_q4m, Quant::Q4Min),
    ("matmul_q8m", |t| t.matmul_q8m, Quant::Q8Min),
    ("matmul_q8h", |t| t.matmul_q8h, Quant::Q8Half),
    ("matmul_q4s", |t| t.matmul_q4s, Quant::Q4Super),
    ("matmul_q4n", |t| t.matmul_q4n, Quant::Q4Narrow),
];

const QUANT_ROWS: [(&str, Of<QuantRowFn>, Quant); 7] = [
    ("row_q8", |t| t.row_q8, Quant::Q8),
    ("row_q4", |t| t.row_q4, Quant::Q4),
    ("row_q4m", |t| t.row_q4m, Quant::Q4Min),
    ("row_q8m", |t| t.row_q8m, Quant::Q8Min),
    ("row_q8h", |t| t.row_q8h, Quant::Q8Half),
    ("row_q4s", |t| t.row_q4s, Quant::Q4Super),
    ("row_q4n", |t| t.row_q4n, Quant::Q4Narrow),
];

/// # Safety
/// Of all functions below: the thread runs a checked step ([`super::micro::set_current`]), and the arguments are what the inner kernel's
/// contract asks for wherever they lie inside what the caller may touch, which is looked at here.
unsafe extern "C" fn matmul<const KERNEL: usize>(
    x: *const f32,
    x_stride: usize,
    m: usize,
    w: *const u8,
    w_stride_bytes: usize,
    n: usize,
    k: usize,
    out: *mut f32,
    out_stride: usize,
    accumulate: usize,
    arranged: *const u8,
    scratch: *mut u8,
) {
    let (name, kernel, of, over_rows) = MATMULS[KERNEL];
    let mut call = Call::begin(name);
    let (w_rows, w_columns) = if over_rows { (k, n) } else { (n, k) };
    call.rows(x.cast(), m, x_stride * 4, k * 4, false);
    let w_rows = if m == 0 { 0 } else { w_rows };
    let row_bytes = of.bytes(w_columns, CACHE_GROUP);
    call.rows(w, w_rows, w_stride_bytes, row_bytes, false);
    call.rows(out.cast_const().cast(), m, out_stride * 4, n * 4, true);
    call.arranged(Arranged::Rounded, arranged, m, k);
    call.writes(scratch, MATMUL_SCRATCH);
    if call.fits {
        let f = kernel(call.inner());
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe {
            f(
                x,
                x_stride,
                m,
                w,
                w_stride_bytes,
                n,
                k,
                out,
                out_stride,
                accumulate,
                arranged,
                scratch,
            )
        };
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn arrange<const KERNEL: usize>(
    x: *const u8,
    x_stride: usize,
    rows: usize,
    k: usize,
    out: *mut u8,
) {
    let (name, kernel, of) = ARRANGES[KERNEL];
    let mut call = Call::begin(name);
    let row_bytes = match of {
        Arranged::Blocks => block_row_bytes(k),
        Arranged::Rounded => k * 4,
    };
    call.rows(x, rows, x_stride, row_bytes, false);
    call.writes(out, of.bytes(k));
    if call.fits {
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe { kernel(call.inner())(x, x_stride, rows, k, out) };
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn map<const KERNEL: usize>(x: *mut f32, n: usize) {
    let (name, kernel) = MAPS[KERNEL];
    let mut call = Call::begin(name);
    call.writes(x, n);
    if call.fits {
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe { kernel(call.inner())(x, n) };
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn softmax_block(x: *mut f32, n: usize, scale: f32, state: *mut f32) -> f32 {
    let mut call = Call::begin("softmax_block");
    call.writes(x, n);
    call.writes(state, 2);
    match call.fits {
        // SAFETY: everything it touches is the caller's, as was just looked at.
        true => unsafe { (call.inner().softmax_block)(x, n, scale, state) },
        false => 0.0,
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn rope_angles(
    position: u32,
    freqs: *const f32,
    n: usize,
    s: f32,
    cos: *mut f32,
    sin: *mut f32,
) {
    let mut call = Call::begin("rope_angles");
    call.reads(freqs, n);
    call.writes(cos, n);
    call.writes(sin, n);
    if call.fits {
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe { (call.inner().rope_angles)(position, freqs, n, s, cos, sin) };
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn narrow<const KERNEL: usize>(x: *const f32, n: usize, out: *mut u8) {
    let (name, kernel) = NARROWS[KERNEL];
    let mut call = Call::begin(name);
    call.reads(x, n);
    call.writes(out, n.saturating_mul(2));
    if call.fits {
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe { kernel(call.inner())(x, n, out) };
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn widen<const KERNEL: usize>(x: *const u8, n: usize, out: *mut f32) {
    let (name, kernel) = WIDENS[KERNEL];
    let mut call = Call::begin(name);
    call.reads(x, n.saturating_mul(2));
    call.writes(out, n);
    if call.fits {
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe { kernel(call.inner())(x, n, out) };
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn quantize(x: *const f32, k: usize, out: *mut u8) {
    let mut call = Call::begin("quantize");
    call.reads(x, k);
    call.writes(out, block_row_bytes(k));
    if call.fits {
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe { (call.inner().quantize as QuantizeFn)(x, k, out) };
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn quant_matmul<const KERNEL: usize>(
    x: *const u8,
    x_stride_bytes: usize,
    m: usize,
    w: *const u8,
    n: usize,
    groups: usize,
    out: *mut f32,
    out_stride: usize,
    arranged: *const u8,
) {
    let (name, kernel, quant) = QUANT_MATMULS[KERNEL];
    let mut call = Call::begin(name);
    call.rows(x, m, x_stride_bytes, groups * size_of::<Block>(), false);
    let panels = if m == 0 { 0 } else { n.div_ceil(PANEL_ROWS) };
    call.reads(w, panels * quant.panel_bytes(groups * GROUP));
    call.rows(out.cast_const().cast(), m, out_stride * 4, n * 4, true);
    call.arranged(Arranged::Blocks, arranged, m, groups * GROUP);
    if call.fits {
        let f = kernel(call.inner());
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe {
            f(
                x,
                x_stride_bytes,
                m,
                w,
                n,
                groups,
                out,
                out_stride,
                arranged,
            )
        };
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn quant_row<const KERNEL: usize>(
    panel: *const u8,
    lane: usize,
    k: usize,
    out: *mut f32,
) {
    let (name, kernel, quant) = QUANT_ROWS[KERNEL];
    let mut call = Call::begin(name);
    call.reads(panel, quant.panel_bytes(k));
    call.writes(out, k);
    if call.fits {
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe { kernel(call.inner())(panel, lane, k, out) };
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn delta_rule(run: *const DeltaRun) {
    let mut call = Call::begin("delta_rule");
    call.reads(run, 1);
    if !call.fits {
        return;
    }
    // SAFETY: the bytes are the caller's, as was just looked at, who filled them in.
    let r = unsafe { &*run };
    call.writes(r.state, r.rows * r.columns);
    let inputs = [
        (r.q, r.q_stride, r.rows),
        (r.k, r.k_stride, r.rows),
        (r.v, r.v_stride, r.columns),
        (r.decay, r.decay_stride, r.decays),
        (r.beta, r.beta_stride, 1),
    ];
    for (at, stride, width) in inputs {
        call.rows(at.cast(), r.tokens, stride * 4, width * 4, false);
    }
    let out = r.out.cast_const().cast();
    call.rows(out, r.tokens, r.out_stride * 4, r.columns * 4, true);
    if call.fits {
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe { (call.inner().delta_rule as DeltaRuleFn)(run) };
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn f32_to_cache_q8(x: *const f32, n: usize, group: usize, out: *mut u8) {
    let mut call = Call::begin("f32_to_cache_q8");
    call.reads(x, n);
    call.writes(out, CacheType::Q8.bytes(n, group));
    if call.fits {
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe { (call.inner().f32_to_cache_q8 as NarrowFn)(x, n, group, out) };
    }
}

/// # Safety
/// As of [`matmul`].
unsafe extern "C" fn cache_q8_to_f32(
    x: *const u8,
    row_bytes: usize,
    rows: usize,
    n: usize,
    group: usize,
    out: *mut f32,
) {
    let mut call = Call::begin("cache_q8_to_f32");
    call.rows(x, rows, row_bytes, CacheType::Q8.bytes(n, group), false);
    call.writes(out, rows.saturating_mul(n));
    if call.fits {
        // SAFETY: everything it touches is the caller's, as was just looked at.
        unsafe { (call.inner().cache_q8_to_f32 as WidenFn)(x, row_bytes, rows, n, group, out) };
    }
}

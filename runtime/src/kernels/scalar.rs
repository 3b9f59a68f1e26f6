//! The kernels in plain Rust: the definition of each entry of [`KernelTable`], and the fallback for any processor.
//!
//! Functions of one variable are computed in f64 and rounded once. Dot products keep [`LANES`] partial sums in f32, which
//! rounds less than one sum and lets additions overlap.

pub(super) mod cache;
pub(super) mod quant;
pub(super) mod recurrent;

use half::{bf16, f16};

use crate::abi::KernelTable;

/// Partial sums of a dot product; term `i` goes to sum `i % LANES`.
const LANES: usize = 8;

pub(super) const TABLE: KernelTable = KernelTable {
    matmul_f32: matmul::<F32, false>,
    matmul_bf16: matmul::<Bf16, false>,
    matmul_bf16_rounded: matmul::<Bf16, true>,
    arrange_rounded: as_it_lies,
    arrange_blocks: as_it_lies,
    matmul_f16: matmul::<F16, false>,
    matmul_kn_f32: matmul_kn::<F32>,
    matmul_kn_bf16: matmul_kn::<Bf16>,
    matmul_kn_f16: matmul_kn::<F16>,
    silu,
    gelu,
    gelu_tanh,
    sigmoid,
    tanh,
    relu,
    relu2,
    exp,
    softplus,
    softmax_block,
    rope_angles,
    f32_to_bf16,
    f32_to_f16,
    bf16_to_f32,
    f16_to_f32,
    ln,
    quantize: quant::quantize,
    matmul_q8: quant::matmul::<quant::Q8>,
    matmul_q4: quant::matmul::<quant::Q4>,
    matmul_q4m: quant::matmul::<quant::Q4Min>,
    matmul_q8m: quant::matmul::<quant::Q8Min>,
    matmul_q8h: quant::matmul::<quant::Q8Half>,
    matmul_q4s: quant::matmul::<quant::Q4Super>,
    matmul_q4n: quant::matmul::<quant::Q4Narrow>,
    row_q8: quant::row::<quant::Q8>,
    row_q4: quant::row::<quant::Q4>,
    row_q4m: quant::row::<quant::Q4Min>,
    row_q8m: quant::row::<quant::Q8Min>,
    row_q8h: quant::row::<quant::Q8Half>,
    row_q4s: quant::row::<quant::Q4Super>,
    row_q4n: quant::row::<quant::Q4Narrow>,
    delta_rule: recurrent::delta_rule,
    f32_to_cache_q8: cache::narrow,
    cache_q8_to_f32: cache::widen,
    matmul_cache_q8: cache::matmul::<false>,
    matmul_kn_cache_q8: cache::matmul::<true>,
};

/// An element type of weights, read from bytes of any alignment.
trait Weight {
    /// Bytes per element.
    const BYTES: usize;
    /// Reads one element.
    ///
    /// # Safety
    /// `p` is readable for `BYTES` bytes.
    unsafe fn read(p: *const u8) -> f32;
}

struct F32;
struct Bf16;
struct F16;

impl Weight for F32 {
    const BYTES: usize = 4;
    unsafe fn read(p: *const u8) -> f32 {
        // SAFETY: the caller gives four readable bytes.
        unsafe { p.cast::<f32>().read_unaligned() }
    }
}

impl Weight for Bf16 {
    const BYTES: usize = 2;
    unsafe fn read(p: *const u8) -> f32 {
        // SAFETY: the caller gives two readable bytes.
        bf16::from_bits(unsafe { p.cast::<u16>().read_unaligned() }).to_f32()
    }
}

impl Weight for F16 {
    const BYTES: usize = 2;
    unsafe fn read(p: *const u8) -> f32 {
        // SAFETY: the caller gives two readable bytes.
        f16::from_bits(unsafe { p.cast::<u16>().read_unaligned() }).to_f32()
    }
}

/// `out[m, n] (+)= x[m, k] · w[n, k]ᵀ`, `x` being rounded to bf16 if it is to `ROUND`.
unsafe extern "C" fn matmul<W: Weight, const ROUND: bool>(
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
    _arranged: *const u8,
    _scratch: *mut u8,
) {
    // SAFETY: for rows below `m` and columns below `n` the caller gives `k` readable elements of both and a place.
    unsafe {
        each([m, n], out, out_stride, accumulate, |row, col| {
            let (x, w) = (x.add(row * x_stride), w.add(col * w_stride_bytes));
            dot::<W, ROUND>(x, w, W::BYTES, k)
        });
    }
}

/// Products read `x` as it lies: [`crate::abi::ArrangeFn`].
pub(super) unsafe extern "C" fn as_it_lies(
    _x: *const u8,
    _x_stride: usize,
    _rows: usize,
    _k: usize,
    _out: *mut u8,
) {
}

/// `out[m, n] (+)= x[m, k] · w[k, n]`.
unsafe extern "C" fn matmul_kn<W: Weight>(
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
    _arranged: *const u8,
    _scratch: *mut u8,
) {
    // SAFETY: for rows below `m` and columns below `n` the caller gives `k` readable elements of both and a place.
    unsafe {
        each([m, n], out, out_stride, accumulate, |row, col| {
            let (x, w) = (x.add(row * x_stride), w.add(col * W::BYTES));
            dot::<W, false>(x, w, w_stride_bytes, k)
        });
    }
}

/// `Σ x[i] · w[i]`, or of `x` rounded to bf16, over `k` elements of `w` that lie `step_bytes` apart.
///
/// # Safety
/// `x` has `k` readable elements, and `w` one at each of `k` steps.
unsafe fn dot<W: Weight, const ROUND: bool>(
    x: *const f32,
    w: *const u8,
    step_bytes: usize,
    k: usize,
) -> f32 {
    sum(k, |i| {
        // SAFETY: `i < k`.
        let (x, w) = unsafe { (*x.add(i), W::read(w.add(i * step_bytes))) };
        let x = match ROUND {
            true => bf16::from_f32(x).to_f32(),
            false => x,
        };
        x * w
    })
}

/// The sum of `k` terms.
fn sum(k: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    for i in 0..k {
        sums[i % LANES] += term(i);
    }
    sums.iter().sum()
}

/// Writes, or adds to what is there, each element of a result of `m` rows and `n` columns.
///
/// # Safety
/// The elements are writable, and readable where `accumulate` is set.
unsafe fn each(
    [m, n]: [usize; 2],
    out: *mut f32,
    out_stride: usize,
    accumulate: usize,
    element: impl Fn(usize, usize) -> f32,
) {
    for (row, col) in (0..m).flat_map(|row| (0..n).map(move |col| (row, col))) {
        let value = element(row, col);
        // SAFETY: the caller gives the element.
        unsafe {
            let out = out.add(row * out_stride + col);
            *out = if accumulate != 0 { *out + value } else { value };
        }
    }
}

/// Applies `f`, computed in f64, to `n` elements in place.
///
/// # Safety
/// `x` is readable and writable for `n` elements.
unsafe fn map(x: *mut f32, n: usize, f: impl Fn(f64) -> f64) {
    for i in 0..n {
        // SAFETY: `i < n`.
        unsafe { *x.add(i) = f(f64::from(*x.add(i))) as f32 }
    }
}

unsafe extern "C" fn silu(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| v / (1.0 + (-v).exp())) }
}

unsafe extern "C" fn gelu(x: *mut f32, n: usize) {
    // `erfc` instead of `1 + erf`, which cancels for negative arguments.
    // SAFETY: the caller gives `n` elements.
    unsafe {
        map(x, n, |v| {
            0.5 * v * libm::erfc(-v * std::f64::consts::FRAC_1_SQRT_2)
        })
    }
}

unsafe extern "C" fn gelu_tanh(x: *mut f32, n: usize) {
    let two_sqrt_2_over_pi = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    // `0.5 (1 + tanh(u))` is `1 / (1 + exp(−2u))`, which does not cancel for negative arguments.
    // SAFETY: the caller gives `n` elements.
    unsafe {
        map(x, n, |v| {
            v / (1.0 + (-two_sqrt_2_over_pi * (v + 0.044715 * v * v * v)).exp())
        })
    }
}

unsafe extern "C" fn sigmoid(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| 1.0 / (1.0 + (-v).exp())) }
}

unsafe extern "C" fn tanh(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, f64::tanh) }
}

unsafe extern "C" fn relu(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| if v < 0.0 { 0.0 } else { v }) }
}

unsafe extern "C" fn relu2(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| if v < 0.0 { 0.0 } else { v * v }) }
}

unsafe extern "C" fn exp(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, f64::exp) }
}

/// Shared by all instruction sets: it runs on one number per row.
pub(super) unsafe extern "C" fn ln(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, f64::ln) }
}

unsafe extern "C" fn softplus(x: *mut f32, n: usize) {
    // SAFETY: the caller gives `n` elements.
    unsafe { map(x, n, |v| if v > 20.0 { v } else { v.exp().ln_1p() }) }
}

/// One block of an online softmax. Masked scores are −∞ and become 0. While every score so far is masked, the state
/// stays `[−∞, 0]` and the factor is 0, so that no −∞ − (−∞) arises.
unsafe extern "C" fn softmax_block(x: *mut f32, n: usize, scale: f32, state: *mut f32) -> f32 {
    // SAFETY: the caller gives `n` scores and a state of two values, which do not overlap.
    let (scores, state) = unsafe {
        (
            if n == 0 {
                &mut []
            } else {
                std::slice::from_raw_parts_mut(x, n)
            },
            &mut *state.cast::<[f32; 2]>(),
        )
    };
    let [m_old, l_old] = *state;
    let m = scores.iter().fold(m_old, |m, score| m.max(scale * score));
    if m == f32::NEG_INFINITY {
        scores.fill(0.0);
        return 0.0;
    }
    let factor = f64::from(m_old - m).exp() as f32;
    let mut l = 0.0;
    for score in scores {
        *score = f64::from(scale * *score - m).exp() as f32;
        l += *score;
    }
    *state = [m, l_old * factor + l];
    factor
}

/// Shared by all instruction sets: it runs once per token, and its arguments reach thousands of radians, where a vector
/// version would need the same long reduction.
pub(super) unsafe extern "C" fn rope_angles(
    position: u32,
    freqs: *const f32,
    n: usize,
    s: f32,
    cos: *mut f32,
    sin: *mut f32,
) {
    for i in 0..n {
        // SAFETY: `i < n`, and the caller gives `n` elements of each.
        unsafe {
            let (sin_i, cos_i) = f64::from(position as f32 * *freqs.add(i)).sin_cos();
            *cos.add(i) = s * cos_i as f32;
            *sin.add(i) = s * sin_i as f32;
        }
    }
}

unsafe extern "C" fn f32_to_bf16(x: *const f32, n: usize, out: *mut u8) {
    for i in 0..n {
        // SAFETY: `i < n`.
        unsafe {
            out.add(2 * i)
                .cast::<u16>()
                .write_unaligned(bf16::from_f32(*x.add(i)).to_bits())
        }
    }
}

unsafe extern "C" fn f32_to_f16(x: *const f32, n: usize, out: *mut u8) {
    for i in 0..n {
        // SAFETY: `i < n`.
        unsafe {
            out.add(2 * i)
                .cast::<u16>()
                .write_unaligned(f16::from_f32(*x.add(i)).to_bits())
        }
    }
}

unsafe extern "C" fn bf16_to_f32(x: *const u8, n: usize, out: *mut f32) {
    for i in 0..n {
        // SAFETY: `i < n`.
        unsafe { *out.add(i) = Bf16::read(x.add(2 * i)) }
    }
}

unsafe extern "C" fn f16_to_f32(x: *const u8, n: usize, out: *mut f32) {
    for i in 0..n {
        // SAFETY: `i < n`.
        unsafe { *out.add(i) = F16::read(x.add(2 * i)) }
    }
}

//! `out[m, n] (+)= x[m, k] · w[n, k]ᵀ` of `x` rounded to bf16 with bf16 weights, by AVX512_BF16: the instruction multiplies two pairs of terms, where
//! one for f32 multiplies a term.
//!
//! As [`super::tile`], but that panels are of pairs, and rows of `x` are rounded into scratch before they sweep them.

use std::arch::x86_64::*;
use std::ops::Range;

use super::pairs::{ROW_BYTES, TERMS, WIDTH, first_terms, pack, panel_bytes};
use super::tile::store;
use crate::abi::DECODE_TOKENS;
use crate::kernels::NEAR;
use crate::kernels::avx2::load::Bf16;
use crate::kernels::avx2::matmul::{Call, Kernel};
use crate::kernels::avx2::rounded::few;

/// Rows of a tile: with four vectors of columns, 24 sums, four weights and a broadcast.
const HEIGHT: usize = 6;
/// Panels of a tile.
const PANELS: usize = 4;
/// Terms of a run.
const DEPTH: usize = 512;
/// Rows of `x` that sweep the panels together.
const ROWS: usize = 16 * HEIGHT;
/// Bytes of a rounded row: those of a run, and a line, so that the rows of a tile do not meet in the cache.
const X_BYTES: usize = 2 * DEPTH + 64;
/// Bytes of all rounded rows, and of a panel.
const ROUNDED: usize = ROWS * X_BYTES;
const PANEL: usize = panel_bytes(DEPTH);
/// Panels made at once: whole tiles.
const MADE: usize = (NEAR - ROUNDED) / PANEL / PANELS * PANELS;
const _: () = assert!(MADE >= PANELS && ROUNDED + MADE * PANEL <= NEAR);

/// What the processor must have besides AVX-512 with VL and BW.
pub(super) fn usable() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

/// Weights `[n, k]`.
pub(super) struct Rounded;

impl Kernel for Rounded {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run(c: &Call) {
        // SAFETY: the caller keeps the contract of `MatmulFn`.
        unsafe {
            match c.m {
                0..=DECODE_TOKENS => few(c),
                _ if c.k == 0 => c.empty(),
                _ => runs(c),
            }
        }
    }
}

/// # Safety
/// AVX-512 with BF16; the contract of [`crate::abi::MatmulFn`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn runs(c: &Call) {
    for first in (0..c.n).step_by(MADE * WIDTH) {
        let cols = first..c.n.min(first + MADE * WIDTH);
        for start in (0..c.k).step_by(DEPTH) {
            let terms = start..c.k.min(start + DEPTH);
            // SAFETY: the rows, columns and terms exist, and scratch has room for `MADE` panels and `ROWS` rows.
            unsafe {
                for (i, col) in cols.clone().step_by(WIDTH).enumerate() {
                    let last = cols.end.min(col + WIDTH);
                    pack::<Bf16>(c, col..last, terms.clone(), DEPTH, panel(c, i));
                }
                for top in (0..c.m).step_by(ROWS) {
                    let rows = top..c.m.min(top + ROWS);
                    round(c, rows.clone(), terms.clone());
                    sweep(c, rows, cols.clone(), terms.clone());
                }
            }
        }
    }
}

/// Where a panel lies in scratch, behind the rounded rows.
fn panel(c: &Call, i: usize) -> *mut u8 {
    c.scratch.wrapping_add(ROUNDED + i * PANEL)
}

/// Rounds some rows of `x`, ties to even. Terms that fill up the last pair are zeros.
///
/// # Safety
/// As [`runs`]; the rows, at most `ROWS`, and the terms exist.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn round(c: &Call, rows: Range<usize>, terms: Range<usize>) {
    for (r, row) in rows.enumerate() {
        for (step, i) in terms.clone().step_by(TERMS).enumerate() {
            let mask = first_terms(terms.end - i);
            let x = c.x.wrapping_add(row * c.x_stride + i);
            // SAFETY: the elements in the mask exist; scratch has room for the row.
            unsafe {
                let low = _mm512_maskz_loadu_ps(mask as __mmask16, x);
                let high = _mm512_maskz_loadu_ps((mask >> 16) as __mmask16, x.wrapping_add(16));
                let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                let to = c.scratch.add(r * X_BYTES + step * 2 * TERMS);
                _mm512_storeu_si512(to.cast(), both);
            }
        }
    }
}

/// Adds a run of terms to the elements of some rows and columns.
///
/// # Safety
/// As [`runs`]; rows and panels are made.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn sweep(c: &Call, rows: Range<usize>, cols: Range<usize>, terms: Range<usize>) {
    let pairs = terms.len().div_ceil(2);
    for (i, col) in cols.clone().step_by(PANELS * WIDTH).enumerate() {
        let mut tile = Tile {
            x: c.scratch.cast(),
            panels: std::array::from_fn(|v| panel(c, (i * PANELS + v).min(MADE - 1)).cast_const()),
            pairs,
            out: c.out.wrapping_add(rows.start * c.out_stride + col),
            out_stride: c.out_stride,
            lanes: (cols.end - col).min(PANELS * WIDTH),
            resume: c.accumulate || terms.start > 0,
        };
        let mut left = rows.len();
        while left > 0 {
            // SAFETY: so many rows and lanes are left, and their panels are made.
            let done = unsafe {
                match tile.lanes.div_ceil(WIDTH) {
                    0 | 1 => tile.add::<1>(left),
                    2 => tile.add::<2>(left),
                    3 => tile.add::<3>(left),
                    _ => tile.add::<PANELS>(left),
                }
            };
            tile.x = tile.x.wrapping_byte_add(done * X_BYTES);
            tile.out = tile.out.wrapping_add(done * tile.out_stride);
            left -= done;
        }
    }
}

/// Elements of the result in columns of one panel or several, and what they are made of.
struct Tile {
    x: *const u32,
    panels: [*const u8; PANELS],
    pairs: usize,
    out: *mut f32,
    out_stride: usize,
    /// Columns.
    lanes: usize,
    /// The products are added to what is there.
    resume: bool,
}

impl Tile {
    /// Computes some of `rows` rows in `V` vectors of columns, and says how many.
    ///
    /// # Safety
    /// AVX-512 with BF16; `x` and the result have so many rows, and the lanes take `V` panels.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn add<const V: usize>(&self, rows: usize) -> usize {
        // SAFETY: the constant is at most `rows`.
        unsafe {
            match rows {
                1 => self.add_rows::<1, V>(),
                2..4 => self.add_rows::<2, V>(),
                4..HEIGHT => self.add_rows::<4, V>(),
                _ => self.add_rows::<HEIGHT, V>(),
            }
        }
    }

    /// # Safety
    /// As [`Tile::add`], for `R` rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn add_rows<const R: usize, const V: usize>(&self) -> usize {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        // SAFETY: the caller gives `R` rows of pairs and of the result, and `V` panels as deep; masks keep to the lanes.
        unsafe {
            for pair in 0..self.pairs {
                let mut w = [_mm512_setzero_si512(); V];
                for (w, panel) in w.iter_mut().zip(self.panels) {
                    *w = _mm512_loadu_si512(panel.add(pair * ROW_BYTES).cast());
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = self.x.wrapping_byte_add(row * X_BYTES).add(pair);
                    let x: __m512bh = std::mem::transmute(_mm512_set1_epi32((*x).cast_signed()));
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum =
                            _mm512_dpbf16_ps(*sum, x, std::mem::transmute::<__m512i, __m512bh>(w));
                    }
                }
            }
            store(self.out, self.out_stride, self.lanes, self.resume, &sums);
        }
        R
    }
}

//! `out[m, n] (+)= x[m, k] · w` for many rows of `x`: tiles of 6 × 16 over panels of weights made in cache.
//!
//! For each run of `DEPTH` terms and `PANELS` panels, the panels are made once (they stay in the second-level cache), and
//! each is then swept by `ROWS` rows of `x` while it is in the first-level cache. An element's terms are added one after
//! the other within a run, and the runs one after the other.

use std::arch::x86_64::*;
use std::ops::Range;

use super::load::Weight;
use super::matmul::Call;
use super::panel::{self, Transpose, WIDTH};
use crate::kernels::NEAR;

/// Rows of a tile: with two vectors of columns, twelve sums, two weights and one broadcast fill the registers.
const HEIGHT: usize = 6;
/// Terms of a run: a panel takes 16 KiB, half of the first-level cache.
const DEPTH: usize = 256;
/// Panels made at once.
const PANELS: usize = NEAR / (DEPTH * WIDTH * size_of::<f32>());
/// Rows of `x` that sweep the panels together, a whole number of tiles: 120 KiB of each run.
const ROWS: usize = 20 * HEIGHT;

/// Tiles over panels that are made.
pub(in crate::kernels) trait Sweep {
    /// Adds a run of terms to `rows` of the columns whose panels are made.
    ///
    /// # Safety
    /// The processor has the instructions; the contract of [`crate::abi::MatmulFn`]; the rows and columns are below `m` and `n`, and the
    /// columns' panels are made for `depth` terms from `start` on.
    unsafe fn rows(c: &Call, rows: Range<usize>, cols: Range<usize>, start: usize, depth: usize);
}

/// Tiles of 6 × 16, of `x` as it is or rounded to bf16.
pub(in crate::kernels) struct Narrow<const ROUND: bool>;

/// Weights `[n, k]`.
///
/// # Safety
/// AVX2, FMA and F16C; the contract of [`crate::abi::MatmulFn`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels) unsafe fn matmul<W: Transpose, S: Sweep>(c: &Call) {
    // SAFETY: `columns` asks for panels inside the weights.
    unsafe {
        columns::<S>(c, |col, cols, start, depth, panel| {
            let w = c.w.add(col * c.w_stride + start * W::BYTES);
            let ahead = [DEPTH * W::BYTES, WIDTH * c.w_stride];
            let ahead = &ahead[panel::to_come(start, DEPTH, c.k)];
            panel::transpose::<W>(w, c.w_stride, cols, depth, ahead, panel);
        })
    }
}

/// Weights `[k, n]`.
///
/// # Safety
/// AVX2, FMA and F16C; the contract of [`crate::abi::MatmulFn`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels) unsafe fn matmul_kn<W: Weight, S: Sweep>(c: &Call) {
    // SAFETY: `columns` asks for panels inside the weights.
    unsafe {
        columns::<S>(c, |col, cols, start, depth, panel| {
            let w = c.w.add(start * c.w_stride + col * W::BYTES);
            panel::copy::<W>(w, c.w_stride, cols, depth, panel);
        })
    }
}

/// Goes over the columns in groups of panels, and over the terms in runs; `make(col, cols, start, depth, panel)` fills a panel.
///
/// # Safety
/// As [`matmul`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn columns<S: Sweep>(c: &Call, make: impl Fn(usize, usize, usize, usize, *mut f32)) {
    if c.k == 0 {
        // SAFETY: the caller gives a result of `m` rows by `n` columns, which is all that is written.
        return unsafe { c.empty() };
    }
    for first in (0..c.n).step_by(PANELS * WIDTH) {
        let last = c.n.min(first + PANELS * WIDTH);
        for start in (0..c.k).step_by(DEPTH) {
            let depth = DEPTH.min(c.k - start);
            for col in (first..last).step_by(WIDTH) {
                // SAFETY: scratch has room for `PANELS` panels of `DEPTH` terms.
                let panel = unsafe { panel_at(c, first, col) };
                make(col, WIDTH.min(last - col), start, depth, panel);
            }
            for top in (0..c.m).step_by(ROWS) {
                let rows = top..c.m.min(top + ROWS);
                // SAFETY: the panels of these columns and terms are made.
                unsafe { S::rows(c, rows, first..last, start, depth) }
            }
        }
    }
}

/// # Safety
/// `col` is less than `PANELS` panels after `first`.
pub(in crate::kernels) unsafe fn panel_at(c: &Call, first: usize, col: usize) -> *mut f32 {
    // SAFETY: that is within scratch, which is aligned to 64 bytes.
    unsafe { c.scratch.cast::<f32>().add((col - first) * DEPTH) }
}

impl<const ROUND: bool> Sweep for Narrow<ROUND> {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn rows(c: &Call, rows: Range<usize>, cols: Range<usize>, start: usize, depth: usize) {
        for col in cols.clone().step_by(WIDTH) {
            for row in rows.clone().step_by(HEIGHT) {
                // SAFETY: the tile's rows and columns are below `m` and `n`.
                unsafe {
                    let tile = Tile::<ROUND> {
                        x: c.x.add(row * c.x_stride + start),
                        x_stride: c.x_stride,
                        panel: panel_at(c, cols.start, col),
                        depth,
                        out: c.out(row, col),
                        out_stride: c.out_stride,
                        resume: c.accumulate || start > 0,
                    };
                    tile.add(HEIGHT.min(rows.end - row), WIDTH.min(cols.end - col));
                }
            }
        }
    }
}

/// At most `HEIGHT` × `WIDTH` elements of the result, and what they are made of.
#[derive(Clone, Copy)]
struct Tile<const ROUND: bool> {
    x: *const f32,
    x_stride: usize,
    panel: *const f32,
    depth: usize,
    out: *mut f32,
    out_stride: usize,
    /// The products are added to what is there.
    resume: bool,
}

impl<const ROUND: bool> Tile<ROUND> {
    /// Computes `rows` × `cols` elements.
    ///
    /// # Safety
    /// As [`Sweep::rows`]; `x` has `rows` rows of `depth` elements, `out` as many of `cols`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(self, rows: usize, cols: usize) {
        if cols == WIDTH {
            // SAFETY: the caller gives `rows` rows of `x` and of the result, which has `WIDTH` columns here.
            return unsafe { self.add_rows(rows) };
        }
        let mut whole = [0f32; HEIGHT * WIDTH];
        let apart = Tile {
            out: whole.as_mut_ptr(),
            out_stride: WIDTH,
            ..self
        };
        // SAFETY: the tile goes into `whole`, of which only what exists is copied, there and back.
        unsafe {
            for row in 0..rows {
                let (from, to) = (
                    self.out.add(row * self.out_stride),
                    apart.out.add(row * WIDTH),
                );
                if self.resume {
                    to.copy_from_nonoverlapping(from, cols);
                }
            }
            apart.add_rows(rows);
            for row in 0..rows {
                let (from, to) = (
                    apart.out.add(row * WIDTH),
                    self.out.add(row * self.out_stride),
                );
                to.copy_from_nonoverlapping(from, cols);
            }
        }
    }

    /// # Safety
    /// As [`Tile::add`], with `WIDTH` columns.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_rows(self, rows: usize) {
        // SAFETY: the caller gives `rows` rows of `x` and of the result, `WIDTH` columns wide; the constant is `rows`.
        unsafe {
            match rows {
                1 => self.add_tile::<1>(),
                2 => self.add_tile::<2>(),
                3 => self.add_tile::<3>(),
                4 => self.add_tile::<4>(),
                5 => self.add_tile::<5>(),
                _ => self.add_tile::<HEIGHT>(),
            }
        }
    }

    /// # Safety
    /// As [`Tile::add`], with `R` rows and `WIDTH` columns.
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_tile<const R: usize>(self) {
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        // SAFETY: the caller gives `R` rows of `depth` elements, a panel as deep, and `R` rows of `WIDTH` results.
        unsafe {
            for i in 0..self.depth {
                let w = self.panel.add(i * WIDTH);
                let (left, right) = (_mm256_loadu_ps(w), _mm256_loadu_ps(w.add(8)));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let x = _mm256_broadcast_ss(&*self.x.add(row * self.x_stride + i));
                    let x = if ROUND { rounded(x) } else { x };
                    sum[0] = _mm256_fmadd_ps(x, left, sum[0]);
                    sum[1] = _mm256_fmadd_ps(x, right, sum[1]);
                }
            }
            for (row, sum) in sums.iter().enumerate() {
                let out = self.out.add(row * self.out_stride);
                for (at, sum) in [out, out.add(8)].into_iter().zip(sum) {
                    let old = if self.resume {
                        _mm256_loadu_ps(at)
                    } else {
                        _mm256_setzero_ps()
                    };
                    _mm256_storeu_ps(at, _mm256_add_ps(old, *sum));
                }
            }
        }
    }
}

/// Values rounded to bf16, ties to even.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn rounded(x: __m256) -> __m256 {
    let bits = _mm256_castps_si256(x);
    let even = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let up = _mm256_add_epi32(bits, _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff)));
    let upper = _mm256_and_si256(up, _mm256_set1_epi32(!0xffff));
    // What is no number stays so.
    let is_number = _mm256_cmp_ps::<_CMP_ORD_Q>(x, x);
    _mm256_blendv_ps(x, _mm256_castsi256_ps(upper), is_number)
}

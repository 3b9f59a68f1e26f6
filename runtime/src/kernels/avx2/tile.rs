//! `out[m, n] (+)= x[m, k] · w` for many rows of `x`: tiles of 6 × 16 over panels of weights made in cache.
//!
//! For each run of terms and `PANELS` panels, the panels are made once (they stay in the second-level cache), and each is then
//! swept by `ROWS` rows of `x` while it is in the first-level cache. Those rows are copied beside the panels, a fixed number of
//! bytes apart: in a model they lie a power of two apart as often as not, and would share a set of that cache. An element's terms
//! are added one after the other within a run, and the runs, whose length depends on `k` alone, one after the other.

use std::arch::x86_64::*;

use super::load::Weight;
use super::matmul::Call;
use super::panel::{self, Transpose, WIDTH};
use crate::abi::MATMUL_SCRATCH;
use crate::kernels::NEAR;

/// Rows of a tile: with two vectors of columns, twelve sums, two weights and one broadcast fill the registers.
const HEIGHT: usize = 6;
/// Terms of a run, at most: a panel takes 20 KiB, so that it and the rows of a tile have room in the first-level cache.
const DEPTH: usize = 320;
/// Terms whose addresses are made together.
const TERMS: usize = 4;
/// Elements of a panel.
const PANEL: usize = DEPTH * WIDTH;
/// Panels made at once.
const PANELS: usize = NEAR / (PANEL * size_of::<f32>());
/// Rows of `x` that sweep the panels together, a whole number of tiles: 126 KiB of each run.
const ROWS: usize = 16 * HEIGHT;
/// Elements from one copied row of `x` to the next: an odd number of lines, so that rows begin in different sets.
const X_STRIDE: usize = DEPTH + 16;
/// Columns up to which rows of `x` are read where they are, unless they are to be rounded: a copy would take longer than it saves.
const FEW_COLUMNS: usize = 64;
const _: () = assert!((PANELS * PANEL + ROWS * X_STRIDE) * size_of::<f32>() <= MATMUL_SCRATCH);

/// Rows of `x`, and panels that are made, for one run of terms; and the part of the result that they add to.
pub(in crate::kernels) struct Block {
    /// `[rows, depth]`.
    pub(in crate::kernels) x: *const f32,
    /// Elements.
    pub(in crate::kernels) x_stride: usize,
    pub(in crate::kernels) rows: usize,
    panels: *const f32,
    pub(in crate::kernels) cols: usize,
    pub(in crate::kernels) depth: usize,
    pub(in crate::kernels) out: *mut f32,
    /// Elements.
    pub(in crate::kernels) out_stride: usize,
    /// The products are added to what is there.
    pub(in crate::kernels) resume: bool,
}

impl Block {
    /// The panel of the columns from `col` on, a multiple of [`WIDTH`].
    pub(in crate::kernels) fn panel(&self, col: usize) -> *const f32 {
        self.panels.wrapping_add(col * DEPTH)
    }
}

/// Tiles over panels that are made.
pub(in crate::kernels) trait Sweep {
    /// `x` is rounded to bf16.
    const ROUND: bool = false;

    /// Adds a run of terms to a block of the result.
    ///
    /// # Safety
    /// The processor has the instructions; `x` has as many rows and the result as many rows and columns as the block says, and the
    /// columns' panels are made.
    unsafe fn add(block: &Block);
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
            let ahead = [depth * W::BYTES, WIDTH * c.w_stride];
            let ahead = &ahead[panel::to_come(start, depth, c.k)];
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

/// Terms of each run but the last: as few runs as there can be, and all about as long.
fn run_terms(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH)).next_multiple_of(8)
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
    let panels = c.scratch.cast::<f32>();
    let copy = panels.wrapping_add(PANELS * PANEL);
    let copies = S::ROUND || c.n > FEW_COLUMNS;
    let run = run_terms(c.k);
    for first in (0..c.n).step_by(PANELS * WIDTH) {
        let last = c.n.min(first + PANELS * WIDTH);
        for start in (0..c.k).step_by(run) {
            let depth = run.min(c.k - start);
            for col in (first..last).step_by(WIDTH) {
                let panel = panels.wrapping_add((col - first) * DEPTH);
                make(col, WIDTH.min(last - col), start, depth, panel);
            }
            for top in (0..c.m).step_by(ROWS) {
                let rows = ROWS.min(c.m - top);
                // SAFETY: scratch has room for `ROWS` rows behind `PANELS` panels; the rows of `x` and of the result exist, and the
                // panels of these columns and terms are made.
                unsafe {
                    let from = c.x.add(top * c.x_stride + start);
                    let (x, x_stride) = match copies {
                        true => (copied::<S>(from, c.x_stride, rows, depth, copy), X_STRIDE),
                        false => (from, c.x_stride),
                    };
                    S::add(&Block {
                        x,
                        x_stride,
                        rows,
                        panels,
                        cols: last - first,
                        depth,
                        out: c.out(top, first),
                        out_stride: c.out_stride,
                        resume: c.accumulate || start > 0,
                    });
                }
            }
        }
    }
}

/// Copies rows of `depth` elements of `x`, rounded where tiles want them so, and gives the copy.
///
/// # Safety
/// AVX2; the elements exist, `stride` apart, and there is room for as many rows of [`X_STRIDE`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn copied<S: Sweep>(
    x: *const f32,
    stride: usize,
    rows: usize,
    depth: usize,
    to: *mut f32,
) -> *const f32 {
    for row in 0..rows {
        // SAFETY: the caller gives the elements and the room; rounding goes over whole vectors, which end within the stride.
        unsafe {
            let to = to.add(row * X_STRIDE);
            to.copy_from_nonoverlapping(x.add(row * stride), depth);
            if S::ROUND {
                for i in (0..depth).step_by(8) {
                    let at = to.add(i);
                    _mm256_storeu_ps(at, rounded(_mm256_loadu_ps(at)));
                }
            }
        }
    }
    to
}

impl<const ROUND: bool> Sweep for Narrow<ROUND> {
    const ROUND: bool = ROUND;

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(block: &Block) {
        for col in (0..block.cols).step_by(WIDTH) {
            for row in (0..block.rows).step_by(HEIGHT) {
                // SAFETY: the tile's rows and columns are within the block.
                unsafe {
                    let tile = Tile {
                        x: block.x.add(row * block.x_stride),
                        x_stride: block.x_stride,
                        panel: block.panel(col),
                        depth: block.depth,
                        out: block.out.add(row * block.out_stride + col),
                        out_stride: block.out_stride,
                        resume: block.resume,
                    };
                    tile.add(HEIGHT.min(block.rows - row), WIDTH.min(block.cols - col));
                }
            }
        }
    }
}

/// At most `HEIGHT` × `WIDTH` elements of the result, and what they are made of.
#[derive(Clone, Copy)]
struct Tile {
    x: *const f32,
    x_stride: usize,
    panel: *const f32,
    depth: usize,
    out: *mut f32,
    out_stride: usize,
    /// The products are added to what is there.
    resume: bool,
}

impl Tile {
    /// Computes `rows` × `cols` elements.
    ///
    /// # Safety
    /// As [`Sweep::add`]; `x` has `rows` rows of `depth` elements, `out` as many of `cols`.
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
        let whole = self.depth - self.depth % TERMS;
        // SAFETY: the caller gives `R` rows of `depth` elements, a panel as deep, and `R` rows of `WIDTH` results.
        unsafe {
            for i in (0..whole).step_by(TERMS) {
                for i in i..i + TERMS {
                    self.add_term(i, &mut sums);
                }
            }
            for i in whole..self.depth {
                self.add_term(i, &mut sums);
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

    /// Adds the products of term `i`.
    ///
    /// # Safety
    /// As [`Tile::add_tile`]; `i` is below `depth`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_term<const R: usize>(&self, i: usize, sums: &mut [[__m256; 2]; R]) {
        // SAFETY: the caller gives `R` rows of `x` and a panel with term `i`.
        unsafe {
            let w = self.panel.add(i * WIDTH);
            let (left, right) = (_mm256_loadu_ps(w), _mm256_loadu_ps(w.add(8)));
            for (row, sum) in sums.iter_mut().enumerate() {
                let x = _mm256_broadcast_ss(&*self.x.add(row * self.x_stride + i));
                sum[0] = _mm256_fmadd_ps(x, left, sum[0]);
                sum[1] = _mm256_fmadd_ps(x, right, sum[1]);
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

//! `out[m, n] (+)= x[m, k] · w` for many rows of `x`, in tiles of 6 × 64: as [`crate::kernels::avx2::tile`], whose panels and whose order
//! of an element's terms these are, so that the bits are the same.

use std::arch::x86_64::*;

use super::load::first_lanes;
use crate::kernels::avx2::panel::WIDTH;
use crate::kernels::avx2::tile::{Block, Sweep};

/// Rows of a tile: with four vectors of columns, 24 sums, four weights and a broadcast.
const HEIGHT: usize = 6;
/// Terms whose addresses are made together.
const TERMS: usize = 4;
/// Panels of a tile.
const PANELS: usize = 4;

/// Tiles in vectors of 512 bits.
pub(super) struct Wide;

impl Sweep for Wide {
    #[target_feature(enable = "avx2,fma,f16c,avx512f")]
    unsafe fn add(block: &Block) {
        for col in (0..block.cols).step_by(PANELS * WIDTH) {
            let lanes = (block.cols - col).min(PANELS * WIDTH);
            let tile = Tile {
                x: block.x,
                x_stride: block.x_stride,
                panels: std::array::from_fn(|v| match v * WIDTH < lanes {
                    true => block.panel(col + v * WIDTH),
                    false => block.panel(col),
                }),
                depth: block.depth,
                out: block.out.wrapping_add(col),
                out_stride: block.out_stride,
                lanes,
                resume: block.resume,
            };
            // SAFETY: the tiles' rows and columns are within the block.
            unsafe {
                match tile.lanes.div_ceil(WIDTH) {
                    0 | 1 => tile.add_rows::<1>(block.rows),
                    2 => tile.add_rows::<2>(block.rows),
                    3 => tile.add_rows::<3>(block.rows),
                    _ => tile.add_rows::<PANELS>(block.rows),
                }
            }
        }
    }
}

/// Elements of the result in columns of one panel or several, and what they are made of.
#[derive(Clone, Copy)]
struct Tile {
    x: *const f32,
    x_stride: usize,
    panels: [*const f32; PANELS],
    depth: usize,
    out: *mut f32,
    out_stride: usize,
    /// Columns.
    lanes: usize,
    /// The products are added to what is there.
    resume: bool,
}

impl Tile {
    /// Computes `rows` rows in `V` vectors of columns.
    ///
    /// # Safety
    /// AVX-512; `x` has as many rows of `depth` elements, the result as many of `lanes`, which take `V` panels.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f")]
    unsafe fn add_rows<const V: usize>(mut self, mut rows: usize) {
        while rows > 0 {
            // SAFETY: `x` and the result have `rows` rows, as the caller sees to, and the constant is at most that.
            let done = unsafe {
                match rows {
                    1 => self.add_tile::<1, V>(),
                    2..4 => self.add_tile::<2, V>(),
                    4..HEIGHT => self.add_tile::<4, V>(),
                    _ => self.add_tile::<HEIGHT, V>(),
                }
            };
            rows -= done;
            self.x = self.x.wrapping_add(done * self.x_stride);
            self.out = self.out.wrapping_add(done * self.out_stride);
        }
    }

    /// Computes `R` rows, and says so.
    ///
    /// # Safety
    /// As [`Tile::add_rows`].
    #[target_feature(enable = "avx2,fma,f16c,avx512f")]
    unsafe fn add_tile<const R: usize, const V: usize>(&self) -> usize {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        let whole = self.depth - self.depth % TERMS;
        // SAFETY: the caller gives `R` rows of `depth` elements and of the result, and `V` panels; masks keep to the lanes.
        unsafe {
            for i in (0..whole).step_by(TERMS) {
                for i in i..i + TERMS {
                    self.add_term(i, &mut sums);
                }
            }
            for i in whole..self.depth {
                self.add_term(i, &mut sums);
            }
            store(self.out, self.out_stride, self.lanes, self.resume, &sums);
        }
        R
    }

    /// Adds the products of term `i`.
    ///
    /// # Safety
    /// As [`Tile::add_tile`]; `i` is below `depth`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f")]
    unsafe fn add_term<const R: usize, const V: usize>(
        &self,
        i: usize,
        sums: &mut [[__m512; V]; R],
    ) {
        let mut w = [_mm512_setzero_ps(); V];
        // SAFETY: the caller gives `R` rows of `x` and `V` panels with term `i`.
        unsafe {
            for (w, panel) in w.iter_mut().zip(self.panels) {
                *w = _mm512_loadu_ps(panel.add(i * WIDTH));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*self.x.add(row * self.x_stride + i));
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = _mm512_fmadd_ps(x, w, *sum);
                }
            }
        }
    }
}

/// Writes `R` rows of sums in `V` vectors of columns, `lanes` of them; what is there is added to first, where a product is to `resume`.
///
/// # Safety
/// AVX-512; the result has `R` rows of `lanes` elements, which take `V` vectors.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store<const R: usize, const V: usize>(
    out: *mut f32,
    out_stride: usize,
    lanes: usize,
    resume: bool,
    sums: &[[__m512; V]; R],
) {
    for (row, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            let mask = first_lanes(lanes - v * WIDTH);
            // SAFETY: the caller gives the row; masks keep to the lanes.
            unsafe {
                let at = out.add(row * out_stride + v * WIDTH);
                let old = match resume {
                    true => _mm512_maskz_loadu_ps(mask, at),
                    false => _mm512_setzero_ps(),
                };
                _mm512_mask_storeu_ps(at, mask, _mm512_add_ps(old, *sum));
            }
        }
    }
}

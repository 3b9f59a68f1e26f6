//! Products of int8 rows with quantised weights: [`crate::abi::QuantMatmulFn`], as [`crate::kernels::avx512`] has it, but sums of products by
//! tiles. They are sums of integers, so that the bits are the same.
//!
//! Two panels, 16 rows of weights, are made into tiles for a run of groups: a row of a tile is a chunk of both, which is how the unit wants
//! its second factor. Sixteen rows of activations are the first factor: as they lie, or arranged ([`arrange`]), which is faster to read. Integers of 4 bits are made into bytes on the way. A tile holds
//! the sums of one group, since each has scales of its own; they go through memory into vectors.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ops::Range;

use super::unit::{ROW_BYTES, ROWS, Shapes, Unit};
use crate::abi::quant::{Block, GROUP, PANEL_ROWS, SUPER_GROUPS};
use crate::abi::{ARRANGED_ROWS, Arranged, Quant};
use crate::kernels::avx512::tiles::{LANES, add, both, factors, units};
use crate::kernels::panels::{CHUNKS, Call, Product};

/// Groups of a run: their tiles take 16 KiB.
const DEPTH: usize = 32;
const _: () = assert!(DEPTH.is_multiple_of(SUPER_GROUPS));
const _: () = assert!(LANES * 4 == ROW_BYTES);

/// A group of arranged activations.
#[repr(C)]
struct Arrangement {
    /// As [`X`] is read.
    q: [[i8; GROUP]; ROWS],
    scales: [f32; ROWS],
    offsets: [f32; ROWS],
}
const _: () = assert!(ARRANGED_ROWS == ROWS);
const _: () = assert!(Arranged::Blocks.bytes(GROUP) == size_of::<Arrangement>());

/// [`crate::abi::ArrangeFn`].
pub(super) unsafe extern "C" fn arrange(
    x: *const u8,
    x_stride: usize,
    rows: usize,
    k: usize,
    out: *mut u8,
) {
    for g in 0..k.div_ceil(GROUP) {
        // SAFETY: the caller gives as many rows of blocks, and room for the groups.
        unsafe {
            let to = out.cast::<Arrangement>().add(g);
            for row in 0..rows {
                let block = x.add(row * x_stride).cast::<Block>().add(g);
                (*to).q[row] = (*block).q;
                (*to).scales[row] = (*block).scale;
                (*to).offsets[row] = (*block).offset;
            }
        }
    }
}

/// A group of at most sixteen rows of activations: where integers lie and how far apart, and likewise scales; offsets follow.
struct Rows {
    q: *const u8,
    q_stride: usize,
    factors: *const u8,
    offset: usize,
    stride: usize,
}

impl Rows {
    /// Group `g` of the rows from `row` on, which begin a tile.
    fn of<const ARRANGED: bool>(c: &Call, row: usize, g: usize) -> Rows {
        if ARRANGED {
            let groups = c.arranged.cast::<Arrangement>();
            let q = groups.wrapping_add(row / ROWS * c.groups + g).cast::<u8>();
            return Rows {
                q,
                q_stride: GROUP,
                factors: q.wrapping_add(offset_of!(Arrangement, scales)),
                offset: offset_of!(Arrangement, offsets) - offset_of!(Arrangement, scales),
                stride: size_of::<f32>(),
            };
        }
        let q = c.x.wrapping_add(row * c.x_stride + g * size_of::<Block>());
        Rows {
            q,
            q_stride: c.x_stride,
            factors: q.wrapping_add(offset_of!(Block, scale)),
            offset: offset_of!(Block, offset) - offset_of!(Block, scale),
            stride: c.x_stride,
        }
    }

    /// Scale and offset of row `r`.
    ///
    /// # Safety
    /// The row exists.
    unsafe fn factors(&self, r: usize) -> [f32; 2] {
        // SAFETY: the caller's row has both.
        unsafe {
            let scale = self.factors.add(r * self.stride);
            [*scale.cast(), *scale.add(self.offset).cast()]
        }
    }
}

/// Places of tiles: sums, and activations, of sixteen rows and of the last ones; weights.
const SUMS: [usize; 3] = [0, 1, 2];
const X: [usize; 3] = [3, 4, 5];
const W: [usize; 3] = [6, 7, 6];
/// The place in them of what the last rows need.
const LAST: usize = 2;

/// Products by tiles of `U` from sixteen rows on, and those of fewer by `F`. The type is a place in [`Quant::ALL`]; it has one scale a group.
pub(super) struct Tiled<U, F, const TYPE: usize>(PhantomData<(U, F)>);

impl<U: Unit, F: Product, const TYPE: usize> Product for Tiled<U, F, TYPE> {
    unsafe fn run(call: &Call) {
        // SAFETY: the caller has this module's instructions and those of `F`, and the call keeps the contract of `QuantMatmulFn`.
        unsafe {
            if call.m < ROWS || call.n == 0 || call.groups == 0 {
                F::run(call);
            } else if call.arranged.is_null() {
                runs::<U, TYPE, false>(call);
            } else {
                runs::<U, TYPE, true>(call);
            }
        }
    }
}

/// A run of groups of sixteen rows of weights.
#[repr(C, align(64))]
struct Run {
    /// Tiles, as [`W`] is read.
    weights: [[[u8; ROW_BYTES]; CHUNKS]; DEPTH],
    /// As [`factors`] gives them.
    factors: [[[f32; LANES]; 2]; DEPTH],
}

/// Sums of a group, as [`SUMS`] is written.
#[repr(C, align(64))]
struct Sums([[i32; LANES]; ROWS]);

/// # Safety
/// AVX-512 with VNNI, and `U`; the contract of [`crate::abi::QuantMatmulFn`], with columns and groups.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn runs<U: Unit, const TYPE: usize, const ARRANGED: bool>(c: &Call) {
    let last = match c.m % ROWS {
        0 => ROWS,
        last => last,
    };
    let (sums, x, w) = ((ROWS, ROW_BYTES), (ROWS, GROUP), (CHUNKS, ROW_BYTES));
    let shapes = Shapes::new(&[sums, sums, (last, ROW_BYTES), x, x, (last, GROUP), w, w]);
    let mut run = Run {
        weights: [[[0; ROW_BYTES]; CHUNKS]; DEPTH],
        factors: [[[0.0; LANES]; 2]; DEPTH],
    };
    // SAFETY: the unit may be used; the panels, the rows and the groups exist.
    unsafe {
        U::configure(&shapes);
        for first in (0..c.groups).step_by(DEPTH) {
            let groups = first..(first + DEPTH).min(c.groups);
            for col in (0..c.n).step_by(LANES) {
                expand::<TYPE>(c, col, groups.clone(), &mut run);
                for row in (0..c.m).step_by(ROWS) {
                    match c.m - row {
                        rows @ 0..ROWS => {
                            let rows = row..row + rows;
                            block::<U, TYPE, false, ARRANGED>(c, &run, col, rows, groups.clone());
                        }
                        _ => {
                            let rows = row..row + ROWS;
                            block::<U, TYPE, true, ARRANGED>(c, &run, col, rows, groups.clone());
                        }
                    }
                }
            }
        }
        U::release();
    }
}

/// Makes tiles of groups of the panels from column `col` on. A panel without a neighbour is its own.
///
/// # Safety
/// As [`runs`]; the column and the groups exist.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn expand<const TYPE: usize>(c: &Call, col: usize, groups: Range<usize>, run: &mut Run) {
    let quant = const { Quant::ALL[TYPE] };
    let panel_bytes = quant.panel_bytes(c.groups * GROUP);
    let first = c.w.wrapping_add(col / PANEL_ROWS * panel_bytes);
    let second = first.wrapping_add(if c.n - col > PANEL_ROWS {
        panel_bytes
    } else {
        0
    });
    let at = |offset: usize| [first, second].map(|panel| panel.wrapping_add(offset));
    let mut of_super = [_mm512_setzero_ps(); 2];
    for (i, g) in groups.enumerate() {
        // SAFETY: the groups of both panels and their heads exist, and the tile has a row for each chunk.
        unsafe {
            if g.is_multiple_of(quant.super_groups()) {
                of_super = units(quant, at(quant.head_at(g)));
            }
            let group = at(quant.group_at(g));
            for (to, from) in run.factors[i]
                .iter_mut()
                .zip(factors(quant, group, of_super))
            {
                _mm512_store_ps(to.as_mut_ptr(), from);
            }
            let rows = &mut run.weights[i];
            let chunk = |chunk: usize| both(group, quant.factor_bytes() + 32 * chunk);
            let put = |row: &mut [u8; ROW_BYTES], w| _mm512_store_si512(row.as_mut_ptr().cast(), w);
            match quant.bits() {
                4 => {
                    let low = _mm512_set1_epi8(15);
                    let (lower, upper) = rows.split_at_mut(CHUNKS / 2);
                    for (i, (lower, upper)) in lower.iter_mut().zip(upper).enumerate() {
                        let w = chunk(i);
                        put(lower, _mm512_and_si512(w, low));
                        put(upper, _mm512_and_si512(_mm512_srli_epi16::<4>(w), low));
                    }
                }
                _ => {
                    for (i, row) in rows.iter_mut().enumerate() {
                        put(row, chunk(i));
                    }
                }
            }
        }
    }
}

/// Columns `col..col + 16` of the result, as far as they exist, for sixteen rows, or for the last ones.
///
/// # Safety
/// As [`runs`], the unit being configured; columns, rows and groups exist, and `run` has those groups of these columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn block<U: Unit, const TYPE: usize, const WHOLE: bool, const ARRANGED: bool>(
    c: &Call,
    run: &Run,
    col: usize,
    rows: Range<usize>,
    groups: Range<usize>,
) {
    let mask = (u32::MAX >> (32 - (c.n - col).min(LANES))) as __mmask16;
    // Where all rows are there, their number is known, and sums stay in registers.
    let n = if WHOLE { ROWS } else { rows.len() };
    let out = c.out.wrapping_add(rows.start * c.out_stride + col);
    let mut sums = [_mm512_setzero_ps(); ROWS];
    let first = groups.start;
    let x = |i: usize| Rows::of::<ARRANGED>(c, rows.start, first + i);
    // SAFETY: the rows have blocks for all groups, and of the result's columns only those in `mask` are touched.
    unsafe {
        if first > 0 {
            for (r, sum) in sums[..n].iter_mut().enumerate() {
                *sum = _mm512_maskz_loadu_ps(mask, out.add(r * c.out_stride));
            }
        }
        if WHOLE {
            let mut products = [const { Sums([[0; LANES]; ROWS]) }; 2];
            multiply::<U, TYPE, 0>(&x(0), run, 0);
            let mut i = 0;
            while i + 2 <= groups.len() {
                multiply::<U, TYPE, 1>(&x(i + 1), run, i + 1);
                U::store::<{ SUMS[0] }>((&raw mut products[0]).cast(), ROW_BYTES);
                add_sums::<TYPE>(&products[0], &x(i), run, i, &mut sums);
                if i + 2 < groups.len() {
                    multiply::<U, TYPE, 0>(&x(i + 2), run, i + 2);
                }
                U::store::<{ SUMS[1] }>((&raw mut products[1]).cast(), ROW_BYTES);
                add_sums::<TYPE>(&products[1], &x(i + 1), run, i + 1, &mut sums);
                i += 2;
            }
            if i < groups.len() {
                U::store::<{ SUMS[0] }>((&raw mut products[0]).cast(), ROW_BYTES);
                add_sums::<TYPE>(&products[0], &x(i), run, i, &mut sums);
            }
        } else {
            let mut products = Sums([[0; LANES]; ROWS]);
            for i in 0..groups.len() {
                multiply::<U, TYPE, LAST>(&x(i), run, i);
                U::store::<{ SUMS[LAST] }>((&raw mut products).cast(), ROW_BYTES);
                add_sums::<TYPE>(&products, &x(i), run, i, &mut sums[..n]);
            }
        }
        for (r, sum) in sums[..n].iter().enumerate() {
            _mm512_mask_storeu_ps(out.add(r * c.out_stride), mask, *sum);
        }
    }
}

/// Sums of products of the run's `i`-th group, in the tile that `AT` says.
///
/// # Safety
/// As [`block`].
#[inline]
unsafe fn multiply<U: Unit, const TYPE: usize, const AT: usize>(x: &Rows, run: &Run, i: usize) {
    let w = run.weights[i].as_ptr().cast();
    // SAFETY: the tiles are configured; rows and weights are there.
    unsafe {
        match AT {
            0 => tiles::<U, TYPE, { SUMS[0] }, { X[0] }, { W[0] }>(x, w),
            1 => tiles::<U, TYPE, { SUMS[1] }, { X[1] }, { W[1] }>(x, w),
            _ => tiles::<U, TYPE, { SUMS[2] }, { X[2] }, { W[2] }>(x, w),
        }
    }
}

/// # Safety
/// As [`multiply`].
#[inline]
unsafe fn tiles<U: Unit, const TYPE: usize, const S: usize, const XS: usize, const WS: usize>(
    x: &Rows,
    w: *const u8,
) {
    // SAFETY: as the caller says.
    unsafe {
        U::zero::<S>();
        U::load::<XS>(x.q, x.q_stride);
        U::load::<WS>(w, ROW_BYTES);
        match const { Quant::ALL[TYPE] } {
            Quant::Q8 | Quant::Q8Half => U::add_i8::<S, XS, WS>(),
            Quant::Q4 | Quant::Q4Min | Quant::Q8Min | Quant::Q4Super | Quant::Q4Narrow => {
                U::add_u8::<S, XS, WS>();
            }
        }
    }
}

/// Adds what the run's `i`-th group gives.
///
/// # Safety
/// As [`block`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn add_sums<const TYPE: usize>(
    products: &Sums,
    x: &Rows,
    run: &Run,
    i: usize,
    sums: &mut [__m512],
) {
    // SAFETY: there are sixteen sums of either kind, and a row of activations for each.
    unsafe {
        let factors = [0, 1].map(|f| _mm512_load_ps(run.factors[i][f].as_ptr()));
        for (r, sum) in sums.iter_mut().enumerate() {
            let product = _mm512_load_si512(products.0[r].as_ptr().cast());
            *sum = add(
                const { Quant::ALL[TYPE] },
                product,
                x.factors(r),
                factors,
                *sum,
            );
        }
    }
}

//! Products of int8 rows with quantised weights: [`crate::abi::QuantMatmulFn`], as [`crate::kernels::avx512`] has it, but sums of products by
//! tiles. They are sums of integers, so that the bits are the same.
//!
//! Two panels, 16 rows of weights, are made into tiles for a run of groups: a row of a tile is a chunk of both, which is how the unit wants
//! its second factor. Sixteen rows of activations are the first factor as they lie. Integers of 4 bits are made into bytes on the way. A tile holds
//! the sums of one group, since each has scales of its own; they go through memory into vectors.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::ops::Range;

use super::unit::{ROW_BYTES, ROWS, Shapes, Unit};
use crate::abi::Quant;
use crate::abi::quant::{Block, GROUP, PANEL_ROWS, SUPER_GROUPS};
use crate::kernels::avx512::tiles::{LANES, add, both, factors, units};
use crate::kernels::panels::{CHUNKS, Call, Product};

/// Groups of a run: their tiles take 16 KiB.
const DEPTH: usize = 32;
const _: () = assert!(DEPTH.is_multiple_of(SUPER_GROUPS));
const _: () = assert!(LANES * 4 == ROW_BYTES);

/// Places of tiles: sums, and activations, of sixteen rows and of the last ones; weights.
const SUMS: usize = 0;
const LAST_SUMS: usize = 1;
const X: usize = 2;
const LAST_X: usize = 3;
const W: usize = 4;

/// Products by tiles of `U` from sixteen rows on, and those of fewer by `F`. The type is a place in [`Quant::ALL`]; it has one scale a group.
pub(super) struct Tiled<U, F, const TYPE: usize>(PhantomData<(U, F)>);

impl<U: Unit, F: Product, const TYPE: usize> Product for Tiled<U, F, TYPE> {
    unsafe fn run(call: &Call) {
        // SAFETY: the caller has this module's instructions and those of `F`, and the call keeps the contract of `QuantMatmulFn`.
        unsafe {
            if call.m < ROWS || call.n == 0 || call.groups == 0 {
                F::run(call);
            } else {
                runs::<U, TYPE>(call);
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
unsafe fn runs<U: Unit, const TYPE: usize>(c: &Call) {
    let last = match c.m % ROWS {
        0 => ROWS,
        last => last,
    };
    let shapes = Shapes::new(&[
        (ROWS, ROW_BYTES),
        (last, ROW_BYTES),
        (ROWS, GROUP),
        (last, GROUP),
        (CHUNKS, ROW_BYTES),
    ]);
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
                            block::<U, TYPE, LAST_SUMS, LAST_X>(
                                c,
                                &run,
                                col,
                                row..row + rows,
                                groups.clone(),
                            );
                        }
                        _ => {
                            block::<U, TYPE, SUMS, X>(c, &run, col, row..row + ROWS, groups.clone())
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

/// Columns `col..col + 16` of the result, as far as they exist, for at most sixteen rows, which the tiles `SUM` and `XS` have.
///
/// # Safety
/// As [`runs`], the unit being configured; columns, rows and groups exist, and `run` has those groups of these columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn block<U: Unit, const TYPE: usize, const SUM: usize, const XS: usize>(
    c: &Call,
    run: &Run,
    col: usize,
    rows: Range<usize>,
    groups: Range<usize>,
) {
    let quant = const { Quant::ALL[TYPE] };
    let mask = (u32::MAX >> (32 - (c.n - col).min(LANES))) as __mmask16;
    // Where all rows are there, their number is known, and sums stay in registers.
    let n = if SUM == SUMS { ROWS } else { rows.len() };
    let out = c.out.wrapping_add(rows.start * c.out_stride + col);
    let mut sums = [_mm512_setzero_ps(); ROWS];
    let mut products = Sums([[0; LANES]; ROWS]);
    // SAFETY: the rows have blocks for all groups, and of the result's columns only those in `mask` are touched.
    unsafe {
        if groups.start > 0 {
            for (r, sum) in sums[..n].iter_mut().enumerate() {
                *sum = _mm512_maskz_loadu_ps(mask, out.add(r * c.out_stride));
            }
        }
        for (i, g) in groups.enumerate() {
            let x = c.x.add(rows.start * c.x_stride + g * size_of::<Block>());
            U::zero::<SUM>();
            U::load::<XS>(x, c.x_stride);
            U::load::<W>(run.weights[i].as_ptr().cast(), ROW_BYTES);
            match quant {
                Quant::Q8 | Quant::Q8Half => U::add_i8::<SUM, XS, W>(),
                Quant::Q4 | Quant::Q4Min | Quant::Q8Min | Quant::Q4Super | Quant::Q4Narrow => {
                    U::add_u8::<SUM, XS, W>();
                }
            }
            U::store::<SUM>((&raw mut products).cast(), ROW_BYTES);
            let factors = [0, 1].map(|f| _mm512_load_ps(run.factors[i][f].as_ptr()));
            for (r, sum) in sums[..n].iter_mut().enumerate() {
                let product = _mm512_load_si512(products.0[r].as_ptr().cast());
                let x = x.add(r * c.x_stride).cast::<Block>();
                *sum = add(quant, product, x, factors, *sum);
            }
        }
        for (r, sum) in sums[..n].iter().enumerate() {
            _mm512_mask_storeu_ps(out.add(r * c.out_stride), mask, *sum);
        }
    }
}

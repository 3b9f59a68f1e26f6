//! Products of floats, `out[m, n] (+)= x[m, k] · w[n, k]ᵀ` or `· w[k, n]`, for more rows than decoding has.
//!
//! The unit multiplies bf16 with bf16, exactly, and sums in f32. An activation is the sum of three numbers in bf16, of eight binary digits each, and a
//! weight of one, two or three, as its type has digits. Of the products of a part with a part those are taken that reach the digits of f32: three, five or six
//! for one in f32, as exactly. Only what is infinite may give what is no number: further parts of a factor are nothing where it has few digits.
//!
//! For each run of terms, panels of weights are made, 16 rows interleaved as the unit wants its second factor; then 32 rows of `x` after the
//! other, in parts, sweep the panels, two at a time. Parts are made by each call, but for what is rounded and arranged beforehand ([`arrange`]). An
//! element's terms come in an order that depends on `k` alone.

use std::marker::PhantomData;
use std::ops::Range;

use super::parts::split;
use super::unit::{ROWS, Shapes, Unit};
use crate::abi::{ARRANGED_ROWS, Arranged, DECODE_TOKENS, Dtype, MATMUL_SCRATCH};
use crate::kernels::avx2::load::{Bf16, F16, F32};
use crate::kernels::avx2::matmul::{Call, Kernel};
use crate::kernels::avx2::panel::Transpose;
use crate::kernels::avx2::rounded::few;
use crate::kernels::avx512::matmul::{Columns, Rows};
use crate::kernels::avx512::pairs::{
    InParts, MOST_PARTS, ROW_BYTES, TERMS, TILE, WIDTH, pack, pack_columns, panel_bytes, tile_at,
};
use crate::kernels::stream::ask_for;

/// Terms of a run, at most, where weights are of one part: a run costs a tile of sums a way from memory and back.
const DEPTH: usize = 1024;
/// Rows of `x` that sweep the panels together: two tiles.
const HEIGHT: usize = 2 * ROWS;
const _: () = assert!(ARRANGED_ROWS == ROWS && TILE == ROWS * super::unit::ROW_BYTES);
const _: () = assert!(Arranged::Rounded.bytes(TERMS) == TILE);
const _: () = {
    let mut of_weight = 1;
    while of_weight <= MOST_PARTS {
        let parts = [MOST_PARTS, of_weight];
        assert!(Cut::new(1, parts, false).panels >= 2);
        assert!(Cut::new(DEPTH, parts, false).panels >= 14);
        of_weight += 1;
    }
};

/// How a product is cut, so that the parts of some rows of `x` and the panels stay in the second-level cache.
#[derive(Clone, Copy)]
struct Cut {
    /// Terms of a run, a whole number of tiles.
    depth: usize,
    /// Bytes of the parts of [`HEIGHT`] rows.
    split: usize,
    /// Bytes of a panel.
    panel: usize,
    /// Panels made at once, an even number.
    panels: usize,
}

impl Cut {
    /// Of `k` terms, in runs that are as long as each other, whose factors have so many parts; no room is taken for parts of `x` that are arranged
    /// elsewhere.
    const fn new(k: usize, [parts, of_weight]: [usize; 2], arranged: bool) -> Cut {
        let runs = k.div_ceil(DEPTH / of_weight);
        let depth = k.div_ceil(runs).next_multiple_of(TERMS);
        let split = if arranged {
            0
        } else {
            depth / TERMS * parts * 2 * TILE
        };
        let panel = panel_bytes(depth) * of_weight;
        Cut {
            depth,
            split,
            panel,
            panels: (MATMUL_SCRATCH - split) / panel / 2 * 2,
        }
    }

    /// Where a panel lies in scratch, behind the parts.
    fn panel_at(&self, scratch: *mut u8, i: usize) -> *mut u8 {
        debug_assert!(i < self.panels);
        scratch.wrapping_add(self.split + i * self.panel)
    }
}

/// Weights `[n, k]`; products of few rows are as for AVX-512.
pub(super) struct ExactRows<U, W, const LINES: bool>(PhantomData<(U, W)>);
/// Weights `[k, n]`, likewise.
pub(super) struct ExactColumns<U, W>(PhantomData<(U, W)>);
/// Products of `x` rounded to bf16 with weights `[n, k]`.
pub(super) struct Rounded<U>(PhantomData<U>);

impl<U: Unit, W: InParts + Transpose, const LINES: bool> Kernel for ExactRows<U, W, LINES> {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn run(c: &Call) {
        // SAFETY: the caller keeps the contract of `MatmulFn`, and has the unit.
        unsafe {
            match c.m {
                0..=DECODE_TOKENS => Rows::<W, LINES, true>::run(c),
                _ if c.k == 0 => c.empty(),
                _ => runs::<U, ByRows<W>, MOST_PARTS>(c),
            }
        }
    }
}

impl<U: Unit, W: InParts> Kernel for ExactColumns<U, W> {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn run(c: &Call) {
        // SAFETY: the caller keeps the contract of `MatmulFn`, and has the unit.
        unsafe {
            match c.m {
                0..=DECODE_TOKENS => Columns::<W, true>::run(c),
                _ if c.k == 0 => c.empty(),
                _ => runs::<U, ByColumns<W>, MOST_PARTS>(c),
            }
        }
    }
}

impl<U: Unit> Kernel for Rounded<U> {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn run(c: &Call) {
        // SAFETY: the caller keeps the contract of `MatmulFn`, and has the unit.
        unsafe {
            match c.m {
                0..=DECODE_TOKENS => few(c),
                _ if c.k == 0 => c.empty(),
                _ => runs::<U, ByRows<Bf16>, 1>(c),
            }
        }
    }
}

/// Products of bf16 that one of f32 with a weight of a type is made of.
pub(super) fn products(dtype: Dtype) -> usize {
    let of_weight = match dtype {
        Dtype::F32 => F32::PARTS,
        Dtype::Bf16 => Bf16::PARTS,
        Dtype::F16 => F16::PARTS,
    };
    (0..of_weight).map(|part| reach(MOST_PARTS, part)).sum()
}

/// Parts of `x`, of so many, that are multiplied with a part of weights: further ones would only add to digits that f32 has not.
const fn reach(parts: usize, of_weight: usize) -> usize {
    parts - of_weight
}

/// Weights as they lie, of which panels are made.
trait Panels {
    /// Of a weight.
    const PARTS: usize;

    /// # Safety
    /// As [`pack`].
    unsafe fn make(c: &Call, cols: Range<usize>, terms: Range<usize>, depth: usize, panel: *mut u8);
}

/// Weights `[n, k]`.
struct ByRows<W>(PhantomData<W>);
/// Weights `[k, n]`.
struct ByColumns<W>(PhantomData<W>);

impl<W: InParts> Panels for ByRows<W> {
    const PARTS: usize = W::PARTS;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn make(
        c: &Call,
        cols: Range<usize>,
        terms: Range<usize>,
        depth: usize,
        panel: *mut u8,
    ) {
        // SAFETY: the caller's.
        unsafe { pack::<W>(c, cols, terms, depth, panel) }
    }
}

impl<W: InParts> Panels for ByColumns<W> {
    const PARTS: usize = W::PARTS;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn make(c: &Call, cols: Range<usize>, terms: Range<usize>, _: usize, panel: *mut u8) {
        // SAFETY: the caller's.
        unsafe { pack_columns::<W>(c, cols, terms, panel) }
    }
}

/// # Safety
/// AVX-512, and `U`; the contract of [`crate::abi::MatmulFn`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn runs<U: Unit, P: Panels, const PARTS: usize>(c: &Call) {
    let mut beside = [const { Beside([[0.0; WIDTH]; ROWS]) }; 4];
    // SAFETY: the unit may be used. Scratch has room for the parts and panels of `cut`; the rows and columns exist.
    unsafe {
        U::configure(&Shapes::new(&[(ROWS, ROW_BYTES); 8]));
        let cut = Cut::new(c.k, [PARTS, P::PARTS], arranged::<PARTS>(c));
        for first in (0..c.n).step_by(cut.panels * WIDTH) {
            let cols = first..c.n.min(first + cut.panels * WIDTH);
            let pairs = cols.len().div_ceil(2 * WIDTH);
            for start in (0..c.k).step_by(cut.depth) {
                let terms = start..c.k.min(start + cut.depth);
                for (i, col) in cols.clone().step_by(WIDTH).enumerate() {
                    let rows = WIDTH.min(cols.end - col);
                    let to = cut.panel_at(c.scratch, i);
                    P::make(c, col..col + rows, terms.clone(), cut.depth, to);
                }
                for top in (0..c.m).step_by(HEIGHT) {
                    let rows = top..c.m.min(top + HEIGHT);
                    let parts = parts::<PARTS>(c, &cut, rows.clone(), terms.clone());
                    for (i, col) in cols.clone().step_by(2 * WIDTH).enumerate() {
                        let cols = col..cols.end.min(col + 2 * WIDTH);
                        let panels =
                            [2 * i, 2 * i + 1].map(|i| cut.panel_at(c.scratch, i).cast_const());
                        // While two panels are swept, the next rows come nearer, each time some.
                        let next = match arranged::<PARTS>(c) {
                            true => [0; 2],
                            false => [i, i + 1].map(|i| c.m.min(rows.end + HEIGHT * i / pairs)),
                        };
                        sweep::<U, P, PARTS>(
                            c,
                            (rows.clone(), cols, terms.clone()),
                            (parts, panels),
                            (next[0]..next[1], &mut beside),
                        );
                    }
                }
            }
        }
        U::release();
    }
}

/// Whether rows are rounded and arranged. Three parts are not arranged beforehand: they are so many bytes that fetching them takes as long as making them.
fn arranged<const PARTS: usize>(c: &Call) -> bool {
    PARTS == 1 && !c.arranged.is_null()
}

/// The parts of at most 16 rows, twice: those that are arranged, or in scratch, where they are made.
///
/// # Safety
/// As [`runs`]; the rows, at most `HEIGHT`, and the terms of a run exist.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn parts<const PARTS: usize>(
    c: &Call,
    cut: &Cut,
    rows: Range<usize>,
    terms: Range<usize>,
) -> [*const u8; 2] {
    if arranged::<PARTS>(c) {
        let of_rows = tile_at(PARTS, c.k.div_ceil(TERMS), 0);
        let first = tile_at(PARTS, terms.start / TERMS, 0);
        return [0, 1].map(|half| {
            let tiles = rows.start / ROWS + half;
            c.arranged.wrapping_add(tiles * of_rows + first)
        });
    }
    [0, 1].map(|half| {
        let to = c.scratch.wrapping_add(half * cut.split / 2);
        let first = rows.start + half * ROWS;
        let n = rows.end.saturating_sub(first).min(ROWS);
        let x = c.x.wrapping_add(first * c.x_stride + terms.start);
        // SAFETY: these rows and terms exist; scratch has a tile for each part of every `TERMS` of either half.
        unsafe { split::<PARTS>((x, c.x_stride), n, terms.len(), to) };
        to.cast_const()
    })
}

/// [`crate::abi::ArrangeFn`] for products of [`Rounded`].
pub(super) unsafe extern "C" fn arrange(
    x: *const u8,
    x_stride: usize,
    rows: usize,
    k: usize,
    out: *mut u8,
) {
    // SAFETY: the table that holds this function is only used where the instructions are there; rows, terms and room are the caller's.
    unsafe { split::<1>((x.cast(), x_stride / size_of::<f32>()), rows, k, out) }
}

/// A tile's place in the result, or beside it where only a part of it exists.
struct Place {
    at: *mut u8,
    stride: usize,
}

/// Room for a tile of which only a part exists in the result.
#[repr(C, align(64))]
struct Beside([[f32; WIDTH]; ROWS]);

/// Adds a run of terms to at most two by two tiles of the result.
///
/// # Safety
/// As [`runs`], the unit being configured; the rows and columns exist, and their parts and panels are made.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn sweep<U: Unit, P: Panels, const PARTS: usize>(
    c: &Call,
    (rows, cols, terms): (Range<usize>, Range<usize>, Range<usize>),
    from: ([*const u8; 2], [*const u8; 2]),
    (next, beside): (Range<usize>, &mut [Beside; 4]),
) {
    let resume = c.accumulate || terms.start > 0;
    let there: [(usize, usize); 4] = std::array::from_fn(|i| {
        let rows = rows.len().saturating_sub(i / 2 * ROWS).min(ROWS);
        (rows, cols.len().saturating_sub(i % 2 * WIDTH).min(WIDTH))
    });
    // SAFETY: those rows and columns of each tile exist that `there` says; others lie in `beside`.
    unsafe {
        let at = |i: usize| {
            c.out(rows.start, cols.start)
                .wrapping_add(i / 2 * ROWS * c.out_stride + i % 2 * WIDTH)
        };
        let places: [Place; 4] = std::array::from_fn(|i| {
            if there[i] == (ROWS, WIDTH) {
                return Place {
                    at: at(i).cast(),
                    stride: 4 * c.out_stride,
                };
            }
            let (rows, columns) = there[i];
            for (r, to) in beside[i].0[..rows].iter_mut().enumerate() {
                if resume && columns > 0 {
                    let from = at(i).wrapping_add(r * c.out_stride);
                    to.as_mut_ptr().copy_from_nonoverlapping(from, columns);
                }
            }
            Place {
                at: (&raw mut beside[i]).cast(),
                stride: ROW_BYTES,
            }
        });
        match (rows.len() > ROWS, cols.len() > WIDTH) {
            (false, false) => block::<U, P, PARTS, 1, 1>(c, &places, (terms, resume), from, next),
            (false, true) => block::<U, P, PARTS, 1, 2>(c, &places, (terms, resume), from, next),
            (true, false) => block::<U, P, PARTS, 2, 1>(c, &places, (terms, resume), from, next),
            (true, true) => block::<U, P, PARTS, 2, 2>(c, &places, (terms, resume), from, next),
        }
        for (i, (rows, columns)) in there.into_iter().enumerate() {
            if (rows, columns) != (ROWS, WIDTH) && columns > 0 {
                for (r, from) in beside[i].0[..rows].iter().enumerate() {
                    let to = at(i).wrapping_add(r * c.out_stride);
                    to.copy_from_nonoverlapping(from.as_ptr(), columns);
                }
            }
        }
    }
}

/// `R` by `N` tiles of sums; the tiles 4 and 5 are of `x`, 6 and 7 of weights.
///
/// # Safety
/// As [`sweep`]; each place has room for a tile.
#[inline]
unsafe fn block<U: Unit, P: Panels, const PARTS: usize, const R: usize, const N: usize>(
    c: &Call,
    places: &[Place; 4],
    (terms, resume): (Range<usize>, bool),
    (parts, panels): ([*const u8; 2], [*const u8; 2]),
    next: Range<usize>,
) {
    let below = R == 2;
    let beside = N == 2;
    // SAFETY: all tiles are configured; places, parts and panels have whole tiles.
    unsafe {
        begin::<U, 0>(&places[0], true, resume);
        begin::<U, 1>(&places[1], beside, resume);
        begin::<U, 2>(&places[2], below, resume);
        begin::<U, 3>(&places[3], below && beside, resume);
        for (step, i) in terms.step_by(TERMS).enumerate() {
            for row in next.clone() {
                let x = c.x.wrapping_add(row * c.x_stride + i);
                ask_for(x.cast(), TERMS * size_of::<f32>());
            }
            let mut loaded = PARTS;
            for of_weight in 0..P::PARTS {
                let at = tile_at(P::PARTS, step, of_weight);
                U::load::<6>(panels[0].add(at), ROW_BYTES);
                if beside {
                    U::load::<7>(panels[1].add(at), ROW_BYTES);
                }
                // To and fro, so that the last tiles are the next ones as well.
                let reach = reach(PARTS, of_weight);
                for i in 0..reach {
                    let part = if of_weight == 1 { i } else { reach - 1 - i };
                    let at = tile_at(PARTS, step, part);
                    if part != loaded {
                        U::load::<4>(parts[0].add(at), ROW_BYTES);
                        if below {
                            U::load::<5>(parts[1].add(at), ROW_BYTES);
                        }
                        loaded = part;
                    }
                    U::add_bf16::<0, 4, 6>();
                    if beside {
                        U::add_bf16::<1, 4, 7>();
                    }
                    if below {
                        U::add_bf16::<2, 5, 6>();
                    }
                    if below && beside {
                        U::add_bf16::<3, 5, 7>();
                    }
                }
            }
        }
        end::<U, 0>(&places[0], true);
        end::<U, 1>(&places[1], beside);
        end::<U, 2>(&places[2], below);
        end::<U, 3>(&places[3], below && beside);
    }
}

/// # Safety
/// As [`block`].
#[inline]
unsafe fn begin<U: Unit, const T: usize>(place: &Place, is_used: bool, resume: bool) {
    // SAFETY: the place has room for the tile.
    unsafe {
        match (is_used, resume) {
            (false, _) => {}
            (true, false) => U::zero::<T>(),
            (true, true) => U::load::<T>(place.at, place.stride),
        }
    }
}

/// # Safety
/// As [`block`].
#[inline]
unsafe fn end<U: Unit, const T: usize>(place: &Place, is_used: bool) {
    if is_used {
        // SAFETY: the place has room for the tile.
        unsafe { U::store::<T>(place.at, place.stride) }
    }
}

//! Products of f32 with bf16 weights, `out[m, n] (+)= x[m, k] · w[n, k]ᵀ`, for more rows than decoding has.
//!
//! The unit multiplies bf16 with bf16, exactly, and sums in f32. An activation is the sum of three numbers in bf16, of eight binary digits each, so that three
//! products give what one in f32 gives, as exactly: sums of 3 · `k` terms, in place of `k`.
//!
//! For each run of `DEPTH` terms, panels of weights are made, 16 rows interleaved as the unit wants its second factor; then 32 rows of `x` after the
//! other, in parts, sweep the panels, two at a time. Parts are made by each call, but for what is rounded and arranged beforehand ([`arrange`]). An
//! element's terms come in an order that depends on `k` alone.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::ops::Range;

use super::unit::{ROWS, Shapes, Unit};
use crate::abi::{ARRANGED_ROWS, Arranged, DECODE_TOKENS, MATMUL_SCRATCH};
use crate::kernels::avx2::load::Bf16;
use crate::kernels::avx2::matmul::{Call, Kernel};
use crate::kernels::avx2::rounded::few;
use crate::kernels::avx512::matmul::Rows;
use crate::kernels::avx512::pairs::{ROW_BYTES, TERMS, WIDTH, first_terms, pack, panel_bytes};
use crate::kernels::stream::ask_for;

/// Numbers in bf16 that an activation is the sum of: `PARTS` of a call, which is one where it is rounded.
pub(super) const ALL_PARTS: usize = 3;
/// Bytes of a tile.
const TILE: usize = ROWS * ROW_BYTES;
/// Terms of a run, at most: a run costs a tile of sums a way from memory and back.
const DEPTH: usize = 1024;
/// Rows of `x` that sweep the panels together: two tiles.
const HEIGHT: usize = 2 * ROWS;
const _: () = assert!(ARRANGED_ROWS == ROWS);
const _: () = assert!(Arranged::Rounded.bytes(TERMS) == TILE);
const _: () = assert!(
    Cut::new(1, ALL_PARTS, false).panels >= 2 && Cut::new(DEPTH, ALL_PARTS, false).panels >= 16
);

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
    /// Of `k` terms, in runs that are as long as each other; no room is taken for parts that are arranged elsewhere.
    const fn new(k: usize, parts: usize, arranged: bool) -> Cut {
        let runs = k.div_ceil(DEPTH);
        let depth = k.div_ceil(runs).next_multiple_of(TERMS);
        let split = if arranged {
            0
        } else {
            depth / TERMS * parts * 2 * TILE
        };
        let panel = panel_bytes(depth);
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

/// Products of f32 with bf16; those of few rows are as for AVX-512.
pub(super) struct Exact<U, const LINES: bool>(PhantomData<U>);
/// Products of `x` rounded to bf16.
pub(super) struct Rounded<U>(PhantomData<U>);

impl<U: Unit, const LINES: bool> Kernel for Exact<U, LINES> {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn run(c: &Call) {
        // SAFETY: the caller keeps the contract of `MatmulFn`, and has the unit.
        unsafe {
            match c.m {
                0..=DECODE_TOKENS => Rows::<Bf16, LINES, true>::run(c),
                _ if c.k == 0 => c.empty(),
                _ => runs::<U, ALL_PARTS>(c),
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
                _ => runs::<U, 1>(c),
            }
        }
    }
}

/// # Safety
/// AVX-512, and `U`; the contract of [`crate::abi::MatmulFn`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn runs<U: Unit, const PARTS: usize>(c: &Call) {
    // SAFETY: the unit may be used. Scratch has room for the parts and panels of `cut`; the rows and columns exist.
    unsafe {
        U::configure(&Shapes::new(&[(ROWS, ROW_BYTES); 8]));
        let cut = Cut::new(c.k, PARTS, arranged::<PARTS>(c));
        for first in (0..c.n).step_by(cut.panels * WIDTH) {
            let cols = first..c.n.min(first + cut.panels * WIDTH);
            let pairs = cols.len().div_ceil(2 * WIDTH);
            for start in (0..c.k).step_by(cut.depth) {
                let terms = start..c.k.min(start + cut.depth);
                for (i, col) in cols.clone().step_by(WIDTH).enumerate() {
                    let rows = WIDTH.min(cols.end - col);
                    let to = cut.panel_at(c.scratch, i);
                    pack(c, col..col + rows, terms.clone(), cut.depth, to);
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
                        sweep::<U, PARTS>(
                            c,
                            (rows.clone(), cols, terms.clone()),
                            (parts, panels),
                            next[0]..next[1],
                        );
                    }
                }
            }
        }
        U::release();
    }
}

/// Where a tile of the parts of 16 rows lies: of the `step`-th `TERMS`, of part `part`.
const fn tile_at(parts: usize, step: usize, part: usize) -> usize {
    (step * parts + part) * TILE
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

/// Splits the first `k` terms of at most 16 rows of `x` into parts. Terms that fill up the last tile are zeros.
///
/// # Safety
/// AVX-512; the rows and terms exist, and a tile at `out` for each part of every `TERMS`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn split<const PARTS: usize>(
    (x, x_stride): (*const f32, usize),
    rows: usize,
    k: usize,
    out: *mut u8,
) {
    for (step, i) in (0..k).step_by(TERMS).enumerate() {
        let mask = first_terms(k - i);
        for row in 0..rows {
            let x = x.wrapping_add(row * x_stride + i);
            // SAFETY: the elements in the mask exist; there is a tile for each part of every `TERMS`.
            unsafe {
                let x = [
                    _mm512_maskz_loadu_ps(mask as __mmask16, x),
                    _mm512_maskz_loadu_ps((mask >> 16) as __mmask16, x.wrapping_add(16)),
                ];
                let parts = match PARTS {
                    1 => [nearest(x); PARTS],
                    _ => digits(x),
                };
                for (part, digits) in parts.into_iter().enumerate() {
                    let to = out.add(tile_at(PARTS, step, part) + row * ROW_BYTES);
                    _mm512_storeu_si512(to.cast(), digits);
                }
            }
        }
    }
}

/// The upper halves of all elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn upper_halves(x: [__m512i; 2]) -> __m512i {
    const ODD: [i16; TERMS] = {
        let mut odd = [0; TERMS];
        let mut i = 0;
        while i < TERMS {
            odd[i] = 2 * i as i16 + 1;
            i += 1;
        }
        odd
    };
    // SAFETY: the constant has as many elements as a vector.
    let odd = unsafe { _mm512_loadu_si512(ODD.as_ptr().cast()) };
    _mm512_permutex2var_epi16(x[0], odd, x[1])
}

/// All digits, eight in each part: three times eight are all that there are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn digits<const PARTS: usize>(x: [__m512; 2]) -> [__m512i; PARTS] {
    let upper = _mm512_set1_epi32(!0xffff);
    let mut left = x;
    let mut parts = [_mm512_setzero_si512(); PARTS];
    for part in &mut parts {
        *part = upper_halves(left.map(|v| _mm512_castps_si512(v)));
        left = left.map(|v| {
            let first = _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), upper));
            _mm512_sub_ps(v, first)
        });
    }
    // Of what is finite nothing is left.
    let [a, b] = left.map(|v| _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v));
    if a | b != 0 {
        return digits_beyond(x);
    }
    parts
}

/// [`digits`] where something is infinite or no number.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn digits_beyond<const PARTS: usize>(x: [__m512; 2]) -> [__m512i; PARTS] {
    let mut left = x;
    std::array::from_fn(|_| {
        let first = left.map(|v| first_digits(v));
        left = first.map(|(_, left)| left);
        upper_halves(first.map(|(digits, _)| digits))
    })
}

/// The first eight digits, in the upper halves, and what is left. Of what is infinite or no number nothing is left.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn first_digits(x: __m512) -> (__m512i, __m512) {
    let bits = _mm512_castps_si512(x);
    // What is no number stays so without its lower digits.
    let no_number = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
    let bits = _mm512_mask_or_epi32(bits, no_number, bits, _mm512_set1_epi32(0x40_0000));
    let digits = _mm512_and_si512(bits, _mm512_set1_epi32(!0xffff));
    let magnitude = _mm512_and_si512(digits, _mm512_set1_epi32(0x7fff_ffff));
    let finite = _mm512_cmplt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f80_0000));
    let left = _mm512_maskz_sub_ps(finite, x, _mm512_castsi512_ps(digits));
    (digits, left)
}

/// The nearest numbers in bf16, ties to even.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn nearest(x: [__m512; 2]) -> __m512i {
    upper_halves(x.map(|x| {
        let bits = _mm512_castps_si512(x);
        let even = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let up = _mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));
        // What is no number stays so.
        let no_number = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        _mm512_mask_or_epi32(up, no_number, bits, _mm512_set1_epi32(0x40_0000))
    }))
}

/// A tile's place in the result, or beside it where only a part of it exists.
struct Place {
    at: *mut u8,
    stride: usize,
}

/// Adds a run of terms to at most two by two tiles of the result.
///
/// # Safety
/// As [`runs`], the unit being configured; the rows and columns exist, and their parts and panels are made.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn sweep<U: Unit, const PARTS: usize>(
    c: &Call,
    (rows, cols, terms): (Range<usize>, Range<usize>, Range<usize>),
    from: ([*const u8; 2], [*const u8; 2]),
    next: Range<usize>,
) {
    #[repr(C, align(64))]
    struct Beside([[f32; WIDTH]; ROWS]);
    let resume = c.accumulate || terms.start > 0;
    let mut beside: [Beside; 4] = std::array::from_fn(|_| Beside([[0.0; WIDTH]; ROWS]));
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
            (false, false) => block::<U, PARTS, 1, 1>(c, &places, (terms, resume), from, next),
            (false, true) => block::<U, PARTS, 1, 2>(c, &places, (terms, resume), from, next),
            (true, false) => block::<U, PARTS, 2, 1>(c, &places, (terms, resume), from, next),
            (true, true) => block::<U, PARTS, 2, 2>(c, &places, (terms, resume), from, next),
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

/// `R` by `P` tiles of sums; the tiles 4 and 5 are of `x`, 6 and 7 of weights.
///
/// # Safety
/// As [`sweep`]; each place has room for a tile.
#[inline]
unsafe fn block<U: Unit, const PARTS: usize, const R: usize, const P: usize>(
    c: &Call,
    places: &[Place; 4],
    (terms, resume): (Range<usize>, bool),
    (parts, panels): ([*const u8; 2], [*const u8; 2]),
    next: Range<usize>,
) {
    let below = R == 2;
    let beside = P == 2;
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
            U::load::<6>(panels[0].add(step * TILE), ROW_BYTES);
            if beside {
                U::load::<7>(panels[1].add(step * TILE), ROW_BYTES);
            }
            for part in 0..PARTS {
                let at = tile_at(PARTS, step, part);
                U::load::<4>(parts[0].add(at), ROW_BYTES);
                U::add_bf16::<0, 4, 6>();
                if beside {
                    U::add_bf16::<1, 4, 7>();
                }
                if below {
                    U::load::<5>(parts[1].add(at), ROW_BYTES);
                    U::add_bf16::<2, 5, 6>();
                }
                if below && beside {
                    U::add_bf16::<3, 5, 7>();
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

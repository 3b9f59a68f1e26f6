//! Products of int8 rows with quantised weights, in vectors of 256 bits: [`crate::abi::QuantMatmulFn`] for any set of instructions
//! that can sum products of bytes.
//!
//! A block is one panel, 8 rows of weights, or one from each half of the matrix, by a few rows of activations. Four bytes of an activation row are repeated over
//! a vector and multiplied with a chunk of the panel, so that each of the vector's 8 lanes sums for one row of weights.
//!
//! For up to [`FEW`] rows of activations each panel is read once, from beginning to end, which is as fast as memory is. More
//! rows are cut into tiles: the panels of a call stay in the second-level cache, those of a run of groups at a time, while
//! each tile of rows is in the first-level cache. Sums wait in the result from one run of groups to the next, in f32 as in
//! a register, so that where runs end does not change them.
//!
//! What is here has no instructions of its own: it is inlined into functions that have them, which call [`product`].

use std::arch::x86_64::*;
use std::ops::Range;

use super::Ahead;
use super::avx2::load::first_lanes;
use super::stream::fetch;
use crate::abi::Quant;
use crate::abi::quant::{Block, EIGHTH, GROUP, PANEL_ROWS, SUPER_GROUPS};

/// The place of each type in [`Quant::ALL`], by which kernels are made for it.
pub(super) const Q8: usize = 0;
pub(super) const Q4: usize = 1;
pub(super) const Q4_MIN: usize = 2;
pub(super) const Q8_MIN: usize = 3;
pub(super) const Q8_HALF: usize = 4;
pub(super) const Q4_SUPER: usize = 5;
pub(super) const Q4_NARROW: usize = 6;
const _: () = assert!(matches!(
    Quant::ALL,
    [
        Quant::Q8,
        Quant::Q4,
        Quant::Q4Min,
        Quant::Q8Min,
        Quant::Q8Half,
        Quant::Q4Super,
        Quant::Q4Narrow
    ]
));

/// Chunks of four along K in a group.
pub(super) const CHUNKS: usize = GROUP / 4;
/// Rows of activations that a panel is read once for.
pub(super) const FEW: usize = 8;
/// Among the streams of more rows of activations no processor found that of the weights by itself: asked for line by line, it is read
/// twice as fast for 8 rows.
const SEEN_AMONG: usize = 4;
/// Rows of activations in a tile.
pub(super) const TILE: usize = 4;
/// Groups of a run: of K = 2048, a panel takes 17 KiB and a tile of rows 11 KiB.
const DEPTH: usize = 64;
const _: () = assert!(DEPTH.is_multiple_of(SUPER_GROUPS));

/// The arguments of a [`crate::abi::QuantMatmulFn`].
pub(super) struct Call {
    pub(super) x: *const u8,
    pub(super) x_stride: usize,
    pub(super) m: usize,
    pub(super) w: *const u8,
    pub(super) n: usize,
    pub(super) groups: usize,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
    pub(super) arranged: *const u8,
}

/// A kernel of one type of weights for one set of instructions.
pub(super) trait Product {
    /// Makes all of the result.
    ///
    /// # Safety
    /// The processor has the instructions; the contract of [`crate::abi::QuantMatmulFn`].
    unsafe fn run(call: &Call);
}

/// [`crate::abi::QuantMatmulFn`].
pub(super) unsafe extern "C" fn matmul<P: Product>(
    x: *const u8,
    x_stride: usize,
    m: usize,
    w: *const u8,
    n: usize,
    groups: usize,
    out: *mut f32,
    out_stride: usize,
    arranged: *const u8,
) {
    let call = Call {
        x,
        x_stride,
        m,
        w,
        n,
        groups,
        out,
        out_stride,
        arranged,
    };
    // SAFETY: the table that holds this function is only used where the instructions are there, and `call` holds what the caller gives by the contract of `QuantMatmulFn`.
    unsafe { P::run(&call) }
}

/// Sums of products with one type of weights, in one set of instructions.
pub(super) trait Sums {
    /// The type.
    const QUANT: Quant;
    /// How weights are asked for that come from memory.
    const AHEAD: Ahead;
    /// Whether there are 32 registers, not 16.
    const MANY_REGISTERS: bool;

    /// For each of `C` blocks of activations, the 8 sums of its products with the rows of a group, as they are stored: those
    /// with all of the group's integers, or with one `HALF` where each has a scale.
    ///
    /// # Safety
    /// The processor has the instructions; a group and the blocks are readable.
    unsafe fn sums<const C: usize, const HALF: usize>(
        group: *const u8,
        x: [*const Block; C],
    ) -> [__m256i; C];
}

/// All of the result.
///
/// # Safety
/// The caller has the instructions of `S`, which include AVX2, FMA and F16C; the contract of [`crate::abi::QuantMatmulFn`].
#[inline(always)]
pub(super) unsafe fn product<S: Sums>(c: &Call) {
    // SAFETY: the caller has the instructions of `S`, and gives a result of `m` rows by `n` columns with panels and blocks for
    // both.
    unsafe {
        match c.m {
            0..=FEW => few::<S>(c),
            _ => tiles::<S>(c),
        }
    }
}

/// All of the result for up to [`FEW`] rows of activations: of as many panels at once as leave room in registers for the sums of all rows.
///
/// # Safety
/// As [`product`].
#[inline(always)]
pub(super) unsafe fn few<S: Sums>(c: &Call) {
    // SAFETY: the caller has the instructions of `S`, and gives `m` rows of blocks and of the result; the constant is `m`.
    unsafe {
        match c.m {
            1 => once::<S, 1, 4, 4>(c),
            2 => once::<S, 2, 4, 2>(c),
            3 => once::<S, 3, 4, 2>(c),
            4 => once::<S, 4, 2, 1>(c),
            5 => once::<S, 5, 2, 1>(c),
            6 => once::<S, 6, 2, 1>(c),
            7 => once::<S, 7, 2, 1>(c),
            FEW => once::<S, FEW, 2, 1>(c),
            _ => debug_assert_eq!(c.m, 0),
        }
    }
}

/// Each panel once, for `C` rows of activations, in `MANY` streams where there are 32 registers and in `SOME` where there are 16.
///
/// # Safety
/// As [`product`], with `m == C`.
#[inline(always)]
unsafe fn once<S: Sums, const C: usize, const MANY: usize, const SOME: usize>(c: &Call) {
    // SAFETY: the caller's own promises.
    unsafe {
        match S::MANY_REGISTERS {
            true => streams::<S, C, MANY>(c),
            false => streams::<S, C, SOME>(c),
        }
    }
}

/// Each panel once, for `C` rows of activations. Where lines are asked for, `P` equal parts of the matrix are read side by side: who reads one
/// stream alone waits for it.
///
/// # Safety
/// As [`product`], with `m == C`.
#[inline(always)]
unsafe fn streams<S: Sums, const C: usize, const P: usize>(c: &Call) {
    let panels = c.n.div_ceil(PANEL_ROWS);
    let part = match S::AHEAD {
        Ahead::Lines => panels / P,
        Ahead::Pages => 0,
    };
    // SAFETY: the panels, the rows and all groups exist.
    unsafe {
        for panel in 0..part {
            let panels = std::array::from_fn(|p| p * part + panel);
            block::<S, C, P, true>(c, panels, 0, 0..c.groups);
        }
        for panel in P * part..panels {
            block::<S, C, 1, true>(c, [panel], 0, 0..c.groups);
        }
    }
}

/// Tiles of rows over the panels, for one run of groups after the other.
///
/// # Safety
/// As [`product`].
#[inline(always)]
unsafe fn tiles<S: Sums>(c: &Call) {
    for first in (0..c.groups.max(1)).step_by(DEPTH) {
        let groups = first..(first + DEPTH).min(c.groups);
        for row in (0..c.m).step_by(TILE) {
            for panel in 0..c.n.div_ceil(PANEL_ROWS) {
                let groups = groups.clone();
                // SAFETY: the panel, its groups and as many rows exist.
                unsafe {
                    match c.m - row {
                        1 => block::<S, 1, 1, false>(c, [panel], row, groups),
                        2 => block::<S, 2, 1, false>(c, [panel], row, groups),
                        3 => block::<S, 3, 1, false>(c, [panel], row, groups),
                        _ => block::<S, TILE, 1, false>(c, [panel], row, groups),
                    }
                }
            }
        }
    }
}

/// `P` panels with `C` rows of activations, which come from memory if they are read `ONCE`.
///
/// # Safety
/// As [`product`]; the panels, `C` rows from `row` on and the groups exist.
#[inline(always)]
unsafe fn block<S: Sums, const C: usize, const P: usize, const ONCE: bool>(
    c: &Call,
    panels: [usize; P],
    row: usize,
    groups: Range<usize>,
) {
    let bytes = S::QUANT.group_bytes() + S::QUANT.head_bytes();
    let ahead = if C > SEEN_AMONG {
        Ahead::Lines
    } else {
        S::AHEAD
    };
    let lanes = panels.map(|panel| (c.n - panel * PANEL_ROWS).min(PANEL_ROWS));
    // SAFETY: what the caller promises exists, and of each panel's 8 columns of the result only as many as there are are touched.
    unsafe {
        let out = panels.map(|panel| c.out.add(row * c.out_stride + panel * PANEL_ROWS));
        let panel_bytes = S::QUANT.panel_bytes(c.groups * GROUP);
        let w = panels.map(|panel| c.w.add(panel * panel_bytes));
        let mut x = [c.x.cast::<Block>(); C];
        for (i, x) in x.iter_mut().enumerate() {
            let row = c.x.add((row + i) * c.x_stride).cast::<Block>();
            *x = row.add(groups.start);
        }
        let mut sums = [[_mm256_setzero_ps(); C]; P];
        if groups.start > 0 {
            for (p, sums) in sums.iter_mut().enumerate() {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = load(out[p].add(i * c.out_stride), lanes[p]);
                }
            }
        }
        // Runs of groups are whole super-blocks, so that each is begun at its head.
        for first in groups.clone().step_by(S::QUANT.super_groups()) {
            let units = w.map(|w| head(S::QUANT, w.add(S::QUANT.head_at(first))));
            for g in first..(first + S::QUANT.super_groups()).min(groups.end) {
                for p in 0..P {
                    let group = w[p].add(S::QUANT.group_at(g));
                    if ONCE {
                        fetch(ahead, group, bytes, P);
                    }
                    add_group::<S, C>(group, units[p], x, &mut sums[p]);
                }
                for x in &mut x {
                    *x = x.add(1);
                }
            }
        }
        for (p, sums) in sums.into_iter().enumerate() {
            for (i, sum) in sums.into_iter().enumerate() {
                store(out[p].add(i * c.out_stride), sum, lanes[p]);
            }
        }
    }
}

/// Adds what one group gives, with the units of its super-block.
///
/// # Safety
/// As [`Sums::sums`].
#[inline(always)]
unsafe fn add_group<S: Sums, const C: usize>(
    group: *const u8,
    units: [__m256; 2],
    x: [*const Block; C],
    sums: &mut [__m256; C],
) {
    // SAFETY: the group is a whole one and `x` points to a block each, as for `Sums::sums`.
    unsafe {
        let products = S::sums::<C, 0>(group, x);
        let [scales, second] = factors(S::QUANT, group, units);
        for i in 0..C {
            let d = _mm256_cvtepi32_ps(products[i]);
            let scale = _mm256_set1_ps((*x[i]).scale);
            let term = match S::QUANT {
                Quant::Q4 => _mm256_fmadd_ps(d, scale, _mm256_set1_ps((*x[i]).offset)),
                Quant::Q8
                | Quant::Q4Min
                | Quant::Q8Min
                | Quant::Q8Half
                | Quant::Q4Super
                | Quant::Q4Narrow => _mm256_mul_ps(d, scale),
            };
            sums[i] = _mm256_fmadd_ps(term, scales, sums[i]);
        }
        match S::QUANT {
            Quant::Q8 | Quant::Q4 => {}
            Quant::Q4Min | Quant::Q8Min | Quant::Q4Super | Quant::Q4Narrow => {
                for i in 0..C {
                    sums[i] = _mm256_fmadd_ps(_mm256_set1_ps((*x[i]).offset), second, sums[i]);
                }
            }
            Quant::Q8Half => {
                let products = S::sums::<C, 1>(group, x);
                for i in 0..C {
                    let d = _mm256_cvtepi32_ps(products[i]);
                    let term = _mm256_mul_ps(d, _mm256_set1_ps((*x[i]).scale));
                    sums[i] = _mm256_fmadd_ps(term, second, sums[i]);
                }
            }
        }
    }
}

/// The factors of a group: scales, and what is added times [`EIGHTH`], or the scales of second halves; zeros where there is one
/// factor. `units` are those of its super-block.
///
/// # Safety
/// The caller has AVX2 and F16C; the group is readable.
#[inline(always)]
unsafe fn factors(quant: Quant, group: *const u8, units: [__m256; 2]) -> [__m256; 2] {
    // SAFETY: the caller has the instructions; a group begins with its factors: of eight rows, once or twice, in the type that is read.
    unsafe {
        let eighth = _mm256_set1_ps(EIGHTH);
        let floats = |at: usize| _mm256_loadu_ps(group.cast::<f32>().add(at * PANEL_ROWS));
        let bytes = |at: usize| {
            let bytes = _mm_loadl_epi64(group.add(at * PANEL_ROWS).cast());
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
        };
        match quant {
            Quant::Q8 | Quant::Q4 => [halves(group, 0), _mm256_setzero_ps()],
            Quant::Q8Half => [floats(0), floats(1)],
            Quant::Q4Min | Quant::Q8Min => [floats(0), _mm256_mul_ps(floats(1), eighth)],
            Quant::Q4Narrow => [halves(group, 0), _mm256_mul_ps(halves(group, 1), eighth)],
            Quant::Q4Super => [
                _mm256_mul_ps(bytes(0), units[0]),
                _mm256_mul_ps(bytes(1), units[1]),
            ],
        }
    }
}

/// The units of a super-block: of scales, and of what is added times [`EIGHTH`], which is exact; zeros for types that have none.
///
/// # Safety
/// The caller has AVX2 and F16C; the head, where the type has one, is readable.
#[inline(always)]
unsafe fn head(quant: Quant, head: *const u8) -> [__m256; 2] {
    // SAFETY: the caller has the instructions; a head is eight units and eight more.
    unsafe {
        match quant {
            // What is counted in the second is taken away.
            Quant::Q4Super => [
                halves(head, 0),
                _mm256_mul_ps(halves(head, 1), _mm256_set1_ps(-EIGHTH)),
            ],
            Quant::Q8
            | Quant::Q4
            | Quant::Q4Min
            | Quant::Q8Min
            | Quant::Q8Half
            | Quant::Q4Narrow => [_mm256_setzero_ps(); 2],
        }
    }
}

/// Eight floats of 16 bits, or the eight after them.
///
/// # Safety
/// The caller has F16C; they are readable.
#[inline(always)]
unsafe fn halves(from: *const u8, second: usize) -> __m256 {
    // SAFETY: the caller says that they are readable.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast::<__m128i>().add(second))) }
}

/// The chunks of all of a group, or of one half where each has a scale.
pub(super) const fn chunks(quant: Quant, half: usize) -> Range<usize> {
    match quant {
        Quant::Q8Half => half * CHUNKS / 2..(half + 1) * CHUNKS / 2,
        Quant::Q8 | Quant::Q4 | Quant::Q4Min | Quant::Q8Min | Quant::Q4Super | Quant::Q4Narrow => {
            0..CHUNKS
        }
    }
}

/// What sums of products with integers of 8 bits begin with where those are read plus 128, which types with a sign are.
///
/// # Safety
/// The block is readable.
#[inline(always)]
pub(super) unsafe fn bias(quant: Quant, half: usize, x: *const Block) -> i32 {
    // SAFETY: the caller gives a block.
    let x = unsafe { &*x };
    match (quant, half) {
        (Quant::Q8Half, 0) => x.half_bias,
        (Quant::Q8Half, _) => x.bias - x.half_bias,
        (Quant::Q8, _) => x.bias,
        (Quant::Q4 | Quant::Q4Min | Quant::Q8Min | Quant::Q4Super | Quant::Q4Narrow, _) => 0,
    }
}

/// What makes integers of 8 bits ones without a sign.
pub(super) const fn sign(quant: Quant) -> i8 {
    match quant {
        Quant::Q8 | Quant::Q8Half => -128,
        Quant::Q4 | Quant::Q4Min | Quant::Q8Min | Quant::Q4Super | Quant::Q4Narrow => 0,
    }
}

/// Activations `4 · chunk..` of a block, repeated.
///
/// # Safety
/// The caller has AVX2; the block is readable.
#[inline(always)]
pub(super) unsafe fn four(x: *const Block, chunk: usize) -> __m256i {
    // SAFETY: a block begins with its integers.
    unsafe { _mm256_set1_epi32(x.cast::<i32>().add(chunk).read_unaligned()) }
}

/// The first `lanes` of 8 values.
///
/// # Safety
/// The caller has AVX2; that many are readable.
#[inline(always)]
unsafe fn load(at: *const f32, lanes: usize) -> __m256 {
    // SAFETY: the caller gives `lanes` readable values; the mask keeps to them.
    unsafe {
        match lanes {
            PANEL_ROWS => _mm256_loadu_ps(at),
            _ => _mm256_maskload_ps(at, first_lanes(lanes)),
        }
    }
}

/// Writes the first `lanes` of 8 values.
///
/// # Safety
/// The caller has AVX2; that many are writable.
#[inline(always)]
unsafe fn store(at: *mut f32, value: __m256, lanes: usize) {
    // SAFETY: the caller gives `lanes` writable values; the mask keeps to them.
    unsafe {
        match lanes {
            PANEL_ROWS => _mm256_storeu_ps(at, value),
            _ => _mm256_maskstore_ps(at, first_lanes(lanes), value),
        }
    }
}

//! Products of int8 rows with quantised weights: [`crate::abi::QuantMatmulFn`] for all types.
//!
//! A block is two panels, 16 rows of weights, by a few rows of activations. Four bytes of an activation row are repeated
//! over a vector and multiplied with a chunk of both panels, so that each of the vector's 16 lanes sums for one row of
//! weights. Where a panel has no neighbour it is its own, and half of the results are not stored.
//!
//! Rows are cut into tiles: the panels of a call stay in the second-level cache, those of `DEPTH` groups at a time, while
//! each tile of rows is in the first-level cache. Sums wait in the result from one run of groups to the next, in f32 as in a
//! register, so that where runs end does not change them. One tile reads each panel once, from beginning to end. So few rows
//! that memory sets the pace are left to kernels that read one panel after the other.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::abi::Quant;
use crate::abi::quant::{Block, EIGHTH, GROUP, PANEL_ROWS, SUPER_GROUPS};
use crate::kernels::panels::{CHUNKS, Call, FEW, Product, bias, chunks, sign};
use crate::kernels::vnni::avx512 as narrow;

/// Rows of activations in a tile: enough sums at once to hide the latency of a product.
const COLUMNS: usize = 8;
/// Rows of weights of a block.
pub(in crate::kernels) const LANES: usize = 2 * PANEL_ROWS;
/// Groups of a run: of K = 1024, a tile of rows takes 11 KiB and two panels 17 KiB.
const DEPTH: usize = 32;
const _: () = assert!(DEPTH.is_multiple_of(SUPER_GROUPS));
/// How far ahead of itself a block asks for weights, in bytes: memory has answered by the time the block is there.
const AHEAD: usize = 4096;

/// A type of quantised weights.
trait Panels {
    const QUANT: Quant;

    /// For each of `C` blocks of activations, the 16 sums of its products with the rows of two groups, as they are stored; or
    /// with those of one `HALF` where each has a scale.
    ///
    /// # Safety
    /// AVX-512 with VNNI; the groups and the blocks are readable.
    unsafe fn sums<const C: usize, const HALF: usize>(
        groups: [*const u8; 2],
        x: [*const Block; C],
    ) -> [__m512i; C];
}

/// Integers of 8 bits: [`Quant::Q8`], [`Quant::Q8Min`] or [`Quant::Q8Half`], by its place in [`Quant::ALL`].
pub(in crate::kernels) struct Bytes<const LINES: bool, const TYPE: usize>;
/// Integers of 4 bits: [`Quant::Q4`] or a type of them with minima, by its place in [`Quant::ALL`].
pub(in crate::kernels) struct Nibbles<const LINES: bool, const TYPE: usize>;

impl<const LINES: bool, const TYPE: usize> Panels for Bytes<LINES, TYPE> {
    const QUANT: Quant = Quant::ALL[TYPE];

    /// The instruction wants one factor without a sign: weights that have one plus 128, what that adds being taken off
    /// beforehand.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn sums<const C: usize, const HALF: usize>(
        groups: [*const u8; 2],
        x: [*const Block; C],
    ) -> [__m512i; C] {
        let sign = _mm512_set1_epi8(sign(Self::QUANT));
        let mut sums = [_mm512_setzero_si512(); C];
        // SAFETY: the caller gives two whole groups and a block for each of `x`; the chunks lie inside the groups.
        unsafe {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm512_set1_epi32(bias(Self::QUANT, HALF, x));
            }
            for chunk in chunks(Self::QUANT, HALF) {
                let w = both(groups, Self::QUANT.factor_bytes() + 32 * chunk);
                let w = _mm512_xor_si512(w, sign);
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = _mm512_dpbusd_epi32(*sum, w, four(x, chunk));
                }
            }
        }
        sums
    }
}

impl<const LINES: bool, const TYPE: usize> Panels for Nibbles<LINES, TYPE> {
    const QUANT: Quant = Quant::ALL[TYPE];

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn sums<const C: usize, const HALF: usize>(
        groups: [*const u8; 2],
        x: [*const Block; C],
    ) -> [__m512i; C] {
        let low = _mm512_set1_epi8(15);
        let mut sums = [_mm512_setzero_si512(); C];
        for chunk in 0..CHUNKS / 2 {
            // SAFETY: the caller gives two whole groups and a block for each of `x`; the chunks lie inside the groups.
            unsafe {
                let w = both(groups, Self::QUANT.factor_bytes() + 32 * chunk);
                let first = _mm512_and_si512(w, low);
                let second = _mm512_and_si512(_mm512_srli_epi16::<4>(w), low);
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = _mm512_dpbusd_epi32(*sum, first, four(x, chunk));
                    *sum = _mm512_dpbusd_epi32(*sum, second, four(x, chunk + CHUNKS / 2));
                }
            }
        }
        sums
    }
}

/// 32 bytes of each of two groups.
///
/// # Safety
/// AVX-512; the bytes are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) unsafe fn both(groups: [*const u8; 2], offset: usize) -> __m512i {
    // SAFETY: the caller gives 32 readable bytes at `offset` of both groups.
    unsafe {
        let [a, b] = groups.map(|group| group.add(offset).cast::<__m256i>());
        let first = _mm512_castsi256_si512(_mm256_loadu_si256(a));
        _mm512_inserti64x4::<1>(first, _mm256_loadu_si256(b))
    }
}

/// The factors of a group of two panels: scales, and what is added times [`EIGHTH`], or the scales of second halves; zeros where there is one
/// factor. `units` are those of its super-block.
///
/// # Safety
/// AVX-512; the groups, of type `quant`, are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) unsafe fn factors(
    quant: Quant,
    groups: [*const u8; 2],
    units: [__m512; 2],
) -> [__m512; 2] {
    // SAFETY: a group begins with its factors: of eight rows, once or twice, in the type that is read.
    unsafe {
        let eighth = _mm512_set1_ps(EIGHTH);
        let floats = |at: usize| _mm512_castsi512_ps(both(groups, at * 4 * PANEL_ROWS));
        let bytes = |at: usize| {
            let [a, b] = groups.map(|group| _mm_loadl_epi64(group.add(at * PANEL_ROWS).cast()));
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_unpacklo_epi64(a, b)))
        };
        match quant {
            Quant::Q8 | Quant::Q4 => [halves(groups, 0), _mm512_setzero_ps()],
            Quant::Q8Half => [floats(0), floats(1)],
            Quant::Q4Min | Quant::Q8Min => [floats(0), _mm512_mul_ps(floats(1), eighth)],
            Quant::Q4Narrow => [halves(groups, 0), _mm512_mul_ps(halves(groups, 1), eighth)],
            Quant::Q4Super => [
                _mm512_mul_ps(bytes(0), units[0]),
                _mm512_mul_ps(bytes(1), units[1]),
            ],
        }
    }
}

/// The units of a super-block of two panels: of scales, and of what is added times [`EIGHTH`], which is exact; zeros for types that have none.
///
/// # Safety
/// AVX-512; the heads, where the type has some, are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) unsafe fn units(quant: Quant, heads: [*const u8; 2]) -> [__m512; 2] {
    // SAFETY: a head is eight units and eight more.
    unsafe {
        match quant {
            // What is counted in the second is taken away.
            Quant::Q4Super => [
                halves(heads, 0),
                _mm512_mul_ps(halves(heads, 1), _mm512_set1_ps(-EIGHTH)),
            ],
            Quant::Q8
            | Quant::Q4
            | Quant::Q4Min
            | Quant::Q8Min
            | Quant::Q8Half
            | Quant::Q4Narrow => [_mm512_setzero_ps(); 2],
        }
    }
}

/// Eight floats of 16 bits at two places, or the eight after them.
///
/// # Safety
/// AVX-512; they are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn halves(from: [*const u8; 2], second: usize) -> __m512 {
    // SAFETY: the caller says that they are readable.
    unsafe {
        let a = _mm_loadu_si128(from[0].cast::<__m128i>().add(second));
        let b = _mm_loadu_si128(from[1].cast::<__m128i>().add(second));
        _mm512_cvtph_ps(_mm256_set_m128i(b, a))
    }
}

/// Activations `4 · chunk..` of a block, repeated.
///
/// # Safety
/// AVX-512; the block is readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn four(x: *const Block, chunk: usize) -> __m512i {
    // SAFETY: a block begins with its integers.
    _mm512_set1_epi32(unsafe { x.cast::<i32>().add(chunk).read_unaligned() })
}

impl<const LINES: bool, const TYPE: usize> Product for Bytes<LINES, TYPE> {
    unsafe fn run(call: &Call) {
        // SAFETY: the caller has this module's instructions, and the call keeps the contract of `QuantMatmulFn`.
        unsafe {
            match call.m {
                0..=FEW => narrow::Bytes::<LINES, TYPE>::run(call),
                _ => runs::<Self>(call),
            }
        }
    }
}

impl<const LINES: bool, const TYPE: usize> Product for Nibbles<LINES, TYPE> {
    unsafe fn run(call: &Call) {
        // SAFETY: the caller has this module's instructions, and the call keeps the contract of `QuantMatmulFn`.
        unsafe {
            match call.m {
                0..=FEW => narrow::Nibbles::<LINES, TYPE>::run(call),
                _ => runs::<Self>(call),
            }
        }
    }
}

/// Tiles of rows over pairs of panels, for one run of `DEPTH` groups after the other.
///
/// # Safety
/// AVX-512 with VNNI; the contract of [`crate::abi::QuantMatmulFn`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn runs<P: Panels>(c: &Call) {
    for first in (0..c.groups.max(1)).step_by(DEPTH) {
        let groups = first..(first + DEPTH).min(c.groups);
        for row in (0..c.m).step_by(COLUMNS) {
            for col in (0..c.n).step_by(LANES) {
                // SAFETY: the rows, the columns and the groups exist.
                unsafe { rows::<P>(c, col, row, groups.clone()) }
            }
        }
    }
}

/// Two panels with as many rows of activations as there are from `row` on, but a tile at most.
///
/// # Safety
/// As [`runs`]; panels, rows and groups exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn rows<P: Panels>(c: &Call, col: usize, row: usize, groups: Range<usize>) {
    // SAFETY: so many rows from `row` on exist.
    unsafe {
        match c.m - row {
            1 => block::<P, 1>(c, col, row, groups),
            2 => block::<P, 2>(c, col, row, groups),
            3 => block::<P, 3>(c, col, row, groups),
            4 => block::<P, 4>(c, col, row, groups),
            5 => block::<P, 5>(c, col, row, groups),
            6 => block::<P, 6>(c, col, row, groups),
            7 => block::<P, 7>(c, col, row, groups),
            _ => block::<P, COLUMNS>(c, col, row, groups),
        }
    }
}

/// Columns `col..col + 16` of the result, as far as they exist, for `C` rows of activations.
///
/// # Safety
/// As [`rows`]; `C` rows from `row` on exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn block<P: Panels, const C: usize>(c: &Call, col: usize, row: usize, groups: Range<usize>) {
    let lanes = (c.n - col).min(LANES);
    let mask = (u32::MAX >> (32 - lanes)) as __mmask16;
    let panel_bytes = P::QUANT.panel_bytes(c.groups * GROUP);
    // SAFETY: what the caller promises exists, and of the result's columns only `lanes` are touched.
    unsafe {
        let out = c.out.add(row * c.out_stride + col);
        let first = c.w.add(col / PANEL_ROWS * panel_bytes);
        let second = first.add(if lanes > PANEL_ROWS { panel_bytes } else { 0 });
        let mut x = [c.x.cast::<Block>(); C];
        for (i, x) in x.iter_mut().enumerate() {
            let row = c.x.add((row + i) * c.x_stride).cast::<Block>();
            *x = row.add(groups.start);
        }
        let mut sums = [_mm512_setzero_ps(); C];
        if groups.start > 0 {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_maskz_loadu_ps(mask, out.add(i * c.out_stride));
            }
        }
        let mut of_super = [_mm512_setzero_ps(); 2];
        for g in groups {
            let at = |offset: usize| [first, second].map(|panel| panel.add(offset));
            // Runs of groups are whole super-blocks, so that each is begun at its head.
            if g.is_multiple_of(P::QUANT.super_groups()) {
                of_super = units(P::QUANT, at(P::QUANT.head_at(g)));
            }
            add_group::<P, C>(at(P::QUANT.group_at(g)), of_super, x, &mut sums);
            for x in &mut x {
                *x = x.add(1);
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            _mm512_mask_storeu_ps(out.add(i * c.out_stride), mask, sum);
        }
    }
}

/// Asks for weights ahead of two groups.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn fetch<P: Panels>(groups: [*const u8; 2]) {
    for group in groups {
        for line in (0..P::QUANT.group_bytes() + P::QUANT.head_bytes()).step_by(64) {
            _mm_prefetch::<_MM_HINT_T0>(group.wrapping_add(AHEAD + line).cast());
        }
    }
}

/// Adds what a group of two panels gives, with the units of its super-block.
///
/// # Safety
/// As [`Panels::sums`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn add_group<P: Panels, const C: usize>(
    groups: [*const u8; 2],
    units: [__m512; 2],
    x: [*const Block; C],
    sums: &mut [__m512; C],
) {
    fetch::<P>(groups);
    // SAFETY: the caller gives two whole groups and a block for each of `x`, which is what `sums` and `factors` read.
    unsafe {
        let products = P::sums::<C, 0>(groups, x);
        let [scales, second] = factors(P::QUANT, groups, units);
        for i in 0..C {
            let x = [(*x[i]).scale, (*x[i]).offset];
            sums[i] = add(P::QUANT, products[i], x, [scales, second], sums[i]);
        }
        if P::QUANT == Quant::Q8Half {
            let products = P::sums::<C, 1>(groups, x);
            for i in 0..C {
                let d = _mm512_cvtepi32_ps(products[i]);
                let term = _mm512_mul_ps(d, _mm512_set1_ps((*x[i]).scale));
                sums[i] = _mm512_fmadd_ps(term, second, sums[i]);
            }
        }
    }
}

/// A sum and what a group, or its first half, adds to it: the sum of its products, times its scales, and its minima. `x` is the scale and the offset of a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) fn add(
    quant: Quant,
    product: __m512i,
    [scale, offset]: [f32; 2],
    [scales, second]: [__m512; 2],
    sum: __m512,
) -> __m512 {
    let d = _mm512_cvtepi32_ps(product);
    let (scale, offset) = (_mm512_set1_ps(scale), _mm512_set1_ps(offset));
    match quant {
        Quant::Q4 => _mm512_fmadd_ps(_mm512_fmadd_ps(d, scale, offset), scales, sum),
        Quant::Q8 | Quant::Q8Half => _mm512_fmadd_ps(_mm512_mul_ps(d, scale), scales, sum),
        Quant::Q4Min | Quant::Q8Min | Quant::Q4Super | Quant::Q4Narrow => {
            let sum = _mm512_fmadd_ps(_mm512_mul_ps(d, scale), scales, sum);
            _mm512_fmadd_ps(offset, second, sum)
        }
    }
}

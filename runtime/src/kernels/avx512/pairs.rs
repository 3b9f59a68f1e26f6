//! Panels of weights as products of bf16 want them: for every two terms a row of 16 columns, each with both of its terms.

use std::arch::x86_64::*;
use std::ops::Range;

use super::load::Weight16;
use crate::kernels::avx2::load::Bf16;
use crate::kernels::avx2::matmul::Call;
use crate::kernels::avx2::panel::to_come;

/// Weights, each the sum of some numbers in bf16.
pub(in crate::kernels) trait InParts: Weight16 + Sized {
    /// How many numbers: at most [`MOST_PARTS`].
    const PARTS: usize;

    /// All first parts of two vectors, all second ones, in an order of the [`upper_halves`] of both.
    ///
    /// # Safety
    /// AVX-512 with BW and VL.
    unsafe fn parts(x: [__m512; 2], order: Order) -> [__m512i; MOST_PARTS];

    /// Of [`TERMS`] elements at `from`, those whose bits are set in `mask`, and zeros: parts of one after the other.
    ///
    /// # Safety
    /// AVX-512 with BW and VL; those elements are readable.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn in_turn(from: *const u8, mask: __mmask32) -> [__m512i; MOST_PARTS] {
        let masks = [mask as __mmask16, (mask >> 16) as __mmask16];
        let from = [from, from.wrapping_add(WIDTH * Self::BYTES)];
        // SAFETY: the caller's.
        unsafe { Self::parts(both::<Self>(from, masks), Order::InTurn) }
    }

    /// Of [`WIDTH`] elements at two places, those whose bits are set in either mask, and zeros: parts of one here and one there.
    ///
    /// # Safety
    /// AVX-512 with BW and VL; those elements are readable.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn by_pairs(from: [*const u8; 2], masks: [__mmask16; 2]) -> [__m512i; MOST_PARTS] {
        // SAFETY: the caller's.
        unsafe { Self::parts(both::<Self>(from, masks), Order::ByPairs) }
    }
}

/// Two vectors of the elements in either mask.
///
/// # Safety
/// AVX-512 with BW and VL; those elements are readable.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
unsafe fn both<W: Weight16>(from: [*const u8; 2], masks: [__mmask16; 2]) -> [__m512; 2] {
    // SAFETY: the caller's.
    unsafe {
        [
            W::load_first16(from[0], masks[0]),
            W::load_first16(from[1], masks[1]),
        ]
    }
}

/// Numbers in bf16 that one in f32 is the sum of.
pub(in crate::kernels) const MOST_PARTS: usize = 3;

impl InParts for Bf16 {
    const PARTS: usize = 1;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn parts(x: [__m512; 2], order: Order) -> [__m512i; MOST_PARTS] {
        let nothing = _mm512_setzero_si512();
        let all = upper_halves(x.map(|x| _mm512_castps_si512(x)), order);
        [all, nothing, nothing]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn in_turn(from: *const u8, mask: __mmask32) -> [__m512i; MOST_PARTS] {
        let nothing = _mm512_setzero_si512();
        // SAFETY: the elements in the mask exist.
        let all = unsafe { _mm512_maskz_loadu_epi16(mask, from.cast()) };
        [all, nothing, nothing]
    }
}

/// An order of the elements of two vectors.
#[derive(Clone, Copy)]
pub(in crate::kernels) enum Order {
    /// All of the one, then all of the other.
    InTurn,
    /// One of the one, one of the other.
    ByPairs,
}

/// The upper halves of all elements, in an order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) fn upper_halves(x: [__m512i; 2], order: Order) -> __m512i {
    const PLACES: [[i16; TERMS]; 2] = {
        let mut places = [[0; TERMS]; 2];
        let mut i = 0;
        while i < TERMS {
            let (pair, second) = (i as i16 / 2, i as i16 % 2);
            places[0][i] = 2 * i as i16 + 1;
            places[1][i] = 2 * pair + 1 + TERMS as i16 * second;
            i += 1;
        }
        places
    };
    // SAFETY: there are as many places as a vector has elements.
    let places = unsafe { _mm512_loadu_si512(PLACES[order as usize].as_ptr().cast()) };
    _mm512_permutex2var_epi16(x[0], places, x[1])
}

/// Columns of a panel.
pub(in crate::kernels) const WIDTH: usize = 16;
/// Bytes of a row of a panel.
pub(in crate::kernels) const ROW_BYTES: usize = 4 * WIDTH;
/// Terms that are made at once.
pub(in crate::kernels) const TERMS: usize = 32;

/// Bytes of the rows of [`TERMS`] terms.
pub(in crate::kernels) const TILE: usize = TERMS / 2 * ROW_BYTES;

/// Where the tile of part `part`, of so many, of the `step`-th [`TERMS`] lies.
pub(in crate::kernels) const fn tile_at(parts: usize, step: usize, part: usize) -> usize {
    (step * parts + part) * TILE
}

/// Bytes of a panel of so many terms, in one part.
pub(in crate::kernels) const fn panel_bytes(terms: usize) -> usize {
    terms.div_ceil(TERMS) * TILE
}

/// Makes a panel of some rows of weights `[n, k]` and some terms, in runs of `depth`, and asks for those to come: for all [`TERMS`] in turn as many
/// tiles as there are parts. Terms that fill up the last are zeros; what columns hold that do not exist is of no account.
///
/// # Safety
/// AVX-512 with BW; the contract of [`crate::abi::MatmulFn`]; the rows, at least one and at most [`WIDTH`], and the terms exist; the panel is writable for
/// all parts of all terms and of those that fill them up.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) unsafe fn pack<W: InParts>(
    c: &Call,
    cols: Range<usize>,
    terms: Range<usize>,
    depth: usize,
    panel: *mut u8,
) {
    let ahead = [W::BYTES * depth, WIDTH * c.w_stride];
    let ahead = &ahead[to_come(terms.start, depth, c.k)];
    for (step, i) in terms.clone().step_by(TERMS).enumerate() {
        let mask = first_terms(terms.end - i);
        let mut tiles = [[_mm512_setzero_si512(); WIDTH]; MOST_PARTS];
        for r in 0..WIDTH {
            let col = (cols.start + r).min(cols.end - 1);
            let at = c.w.wrapping_add(col * c.w_stride + W::BYTES * i);
            for ahead in ahead {
                for line in (0..W::BYTES * TERMS).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(ahead + line).cast());
                }
            }
            // SAFETY: the elements in the mask exist.
            let parts = unsafe { W::in_turn(at, mask) };
            for (tile, part) in tiles.iter_mut().zip(parts).take(W::PARTS) {
                tile[r] = part;
            }
        }
        for (part, tile) in tiles.into_iter().take(W::PARTS).enumerate() {
            let to = panel.wrapping_add(tile_at(W::PARTS, step, part));
            for (pair, row) in transposed(tile).into_iter().enumerate() {
                // SAFETY: the panel has a row for each pair of terms.
                unsafe { _mm512_storeu_si512(to.add(pair * ROW_BYTES).cast(), row) }
            }
        }
    }
}

/// [`pack`] of some columns of weights `[k, n]`.
///
/// # Safety
/// As [`pack`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) unsafe fn pack_columns<W: InParts>(
    c: &Call,
    cols: Range<usize>,
    terms: Range<usize>,
    panel: *mut u8,
) {
    let columns = first_terms(cols.len()) as __mmask16;
    for (step, i) in terms.clone().step_by(TERMS).enumerate() {
        for pair in 0..TERMS / 2 {
            let rows = [0, 1].map(|second| i + 2 * pair + second);
            let at = |row| c.w.wrapping_add(row * c.w_stride + W::BYTES * cols.start);
            let masks = rows.map(|row| if row < terms.end { columns } else { 0 });
            // SAFETY: the elements in the masks exist.
            let parts = unsafe { W::by_pairs(rows.map(at), masks) };
            for (part, row) in parts.into_iter().take(W::PARTS).enumerate() {
                let to = tile_at(W::PARTS, step, part) + pair * ROW_BYTES;
                // SAFETY: the panel has a row for each part of each pair of terms.
                unsafe { _mm512_storeu_si512(panel.add(to).cast(), row) }
            }
        }
    }
}

/// A mask of the first `n` of 32 terms, or of all.
pub(in crate::kernels) fn first_terms(n: usize) -> __mmask32 {
    u32::MAX >> (TERMS - n.min(TERMS))
}

/// Words `i` of all vectors in vector `i`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut pairs = rows;
    for i in 0..8 {
        let (a, b) = (rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i] = _mm512_unpacklo_epi32(a, b);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(a, b);
    }
    // Vector `4 i + j` has word `4 l + j` of rows `4 i..4 i + 4` in lane `l`.
    let mut fours = pairs;
    for i in 0..4 {
        for half in 0..2 {
            let (a, b) = (pairs[4 * i + half], pairs[4 * i + half + 2]);
            fours[4 * i + 2 * half] = _mm512_unpacklo_epi64(a, b);
            fours[4 * i + 2 * half + 1] = _mm512_unpackhi_epi64(a, b);
        }
    }
    let mut out = fours;
    for j in 0..4 {
        let even = |i: usize| _mm512_shuffle_i32x4::<0x88>(fours[i + j], fours[i + 4 + j]);
        let odd = |i: usize| _mm512_shuffle_i32x4::<0xdd>(fours[i + j], fours[i + 4 + j]);
        let (lanes, others) = ([even(0), even(8)], [odd(0), odd(8)]);
        out[j] = _mm512_shuffle_i32x4::<0x88>(lanes[0], lanes[1]);
        out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(lanes[0], lanes[1]);
        out[4 + j] = _mm512_shuffle_i32x4::<0x88>(others[0], others[1]);
        out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(others[0], others[1]);
    }
    out
}

//! Panels of weights as products of bf16 want them: for every two terms a row of 16 columns, each with both of its terms.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::kernels::avx2::load::{Bf16, Weight};
use crate::kernels::avx2::matmul::Call;
use crate::kernels::avx2::panel::to_come;

/// Weights, each the sum of some numbers in bf16.
pub(in crate::kernels) trait InParts: Weight {
    /// How many numbers: at most [`MOST_PARTS`].
    const PARTS: usize;

    /// Of [`TERMS`] elements at `from`, those whose bits are set in `mask`, and zeros: in turn, all first parts, all second ones.
    ///
    /// # Safety
    /// AVX-512 with BW and VL; those elements are readable.
    unsafe fn in_turn(from: *const u8, mask: __mmask32) -> [__m512i; MOST_PARTS];

    /// Of [`WIDTH`] elements at two places, those whose bits are set in either mask, and zeros: by pairs, all first parts, all second ones.
    ///
    /// # Safety
    /// AVX-512 with BW and VL; those elements are readable.
    unsafe fn by_pairs(from: [*const u8; 2], masks: [__mmask16; 2]) -> [__m512i; MOST_PARTS];
}

/// Numbers in bf16 that one in f32 is the sum of.
pub(in crate::kernels) const MOST_PARTS: usize = 3;

impl InParts for Bf16 {
    const PARTS: usize = 1;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn in_turn(from: *const u8, mask: __mmask32) -> [__m512i; MOST_PARTS] {
        // SAFETY: the elements in the mask exist.
        let all = unsafe { _mm512_maskz_loadu_epi16(mask, from.cast()) };
        [all, _mm512_setzero_si512(), _mm512_setzero_si512()]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn by_pairs(from: [*const u8; 2], masks: [__mmask16; 2]) -> [__m512i; MOST_PARTS] {
        let [a, b] = [0, 1].map(|i| {
            // SAFETY: the elements in the mask exist.
            let all = unsafe { _mm256_maskz_loadu_epi16(masks[i], from[i].cast()) };
            _mm512_cvtepu16_epi32(all)
        });
        let pairs = _mm512_or_si512(a, _mm512_slli_epi32::<16>(b));
        [pairs, _mm512_setzero_si512(), _mm512_setzero_si512()]
    }
}

/// Columns of a panel.
pub(in crate::kernels) const WIDTH: usize = 16;
/// Bytes of a row of a panel.
pub(in crate::kernels) const ROW_BYTES: usize = 4 * WIDTH;
/// Terms that are made at once.
pub(in crate::kernels) const TERMS: usize = 32;

/// Bytes of the rows of [`TERMS`] terms.
pub(in crate::kernels) const TILE: usize = TERMS / 2 * ROW_BYTES;

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
            let to = panel.wrapping_add((step * W::PARTS + part) * TILE);
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
                let to = (step * W::PARTS + part) * TILE + pair * ROW_BYTES;
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

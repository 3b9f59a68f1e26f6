//! Panels of bf16 weights as products of bf16 want them: for every two terms a row of 16 columns, each with both of its terms.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::kernels::avx2::matmul::Call;
use crate::kernels::avx2::panel::to_come;

/// Columns of a panel.
pub(in crate::kernels) const WIDTH: usize = 16;
/// Bytes of a row of a panel.
pub(in crate::kernels) const ROW_BYTES: usize = 4 * WIDTH;
/// Terms that are made at once.
pub(in crate::kernels) const TERMS: usize = 32;

/// Bytes of a panel of so many terms.
pub(in crate::kernels) const fn panel_bytes(terms: usize) -> usize {
    terms.next_multiple_of(TERMS) / 2 * ROW_BYTES
}

/// Makes a panel of some rows of the weights and some terms, in runs of `depth`, and asks for those to come. Terms that fill up the last [`TERMS`] are zeros; what
/// columns hold that do not exist is of no account.
///
/// # Safety
/// AVX-512 with BW; the contract of [`crate::abi::MatmulFn`] with weights in bf16; the rows, at least one and at most [`WIDTH`], and the terms exist; the panel is writable for
/// all terms and those that fill them up.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) unsafe fn pack(
    c: &Call,
    cols: Range<usize>,
    terms: Range<usize>,
    depth: usize,
    panel: *mut u8,
) {
    let ahead = [2 * depth, WIDTH * c.w_stride];
    let ahead = &ahead[to_come(terms.start, depth, c.k)];
    for (tile, i) in terms.clone().step_by(TERMS).enumerate() {
        let to = panel.wrapping_add(tile * TERMS / 2 * ROW_BYTES);
        let mask = first_terms(terms.end - i);
        let mut rows = [_mm512_setzero_si512(); WIDTH];
        for (r, row) in rows.iter_mut().enumerate() {
            let col = (cols.start + r).min(cols.end - 1);
            let at = c.w.wrapping_add(col * c.w_stride + 2 * i);
            for ahead in ahead {
                _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(*ahead).cast());
            }
            // SAFETY: the elements in the mask exist.
            *row = unsafe { _mm512_maskz_loadu_epi16(mask, at.cast()) };
        }
        for (pair, row) in transposed(rows).into_iter().enumerate() {
            // SAFETY: the panel has a row for each pair of terms.
            unsafe { _mm512_storeu_si512(to.add(pair * ROW_BYTES).cast(), row) }
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

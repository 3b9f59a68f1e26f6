//! Numbers in f32 and in f16 as sums of numbers in bf16, of eight binary digits each: three are all digits of f32, two all of f16.

use std::arch::x86_64::*;

use crate::kernels::avx2::load::{F16, F32};
use crate::kernels::avx512::pairs::{
    InParts, MOST_PARTS, Order, ROW_BYTES, TERMS, first_terms, tile_at, upper_halves,
};

impl InParts for F16 {
    const PARTS: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn parts(x: [__m512; 2], order: Order) -> [__m512i; MOST_PARTS] {
        let [first, second] = digits(x, order);
        [first, second, _mm512_setzero_si512()]
    }
}

impl InParts for F32 {
    const PARTS: usize = 3;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn parts(x: [__m512; 2], order: Order) -> [__m512i; MOST_PARTS] {
        digits(x, order)
    }
}

/// Splits the first `k` terms of at most 16 rows of `x` into parts. Terms that fill up the last tile are zeros.
///
/// # Safety
/// AVX-512; the rows and terms exist, and a tile at `out` for each part of every `TERMS`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn split<const PARTS: usize>(
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
                    _ => digits(x, Order::InTurn),
                };
                for (part, digits) in parts.into_iter().enumerate() {
                    let to = out.add(tile_at(PARTS, step, part) + row * ROW_BYTES);
                    _mm512_storeu_si512(to.cast(), digits);
                }
            }
        }
    }
}

/// The first digits, eight in each part, in an order of upper halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn digits<const PARTS: usize>(x: [__m512; 2], order: Order) -> [__m512i; PARTS] {
    let upper = _mm512_set1_epi32(!0xffff);
    let mut left = x;
    let mut parts = [_mm512_setzero_si512(); PARTS];
    for part in &mut parts {
        *part = upper_halves(left.map(|v| _mm512_castps_si512(v)), order);
        left = left.map(|v| {
            let first = _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), upper));
            _mm512_sub_ps(v, first)
        });
    }
    // Of what is finite a number is left, or nothing.
    let [a, b] = left.map(|v| _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v));
    if a | b != 0 {
        return digits_beyond(x, order);
    }
    parts
}

/// [`digits`] where something is infinite or no number.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn digits_beyond<const PARTS: usize>(x: [__m512; 2], order: Order) -> [__m512i; PARTS] {
    let mut left = x;
    std::array::from_fn(|_| {
        let first = left.map(|v| first_digits(v));
        left = first.map(|(_, left)| left);
        upper_halves(first.map(|(digits, _)| digits), order)
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
    let rounded = x.map(|x| {
        let bits = _mm512_castps_si512(x);
        let even = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let up = _mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));
        // What is no number stays so.
        let no_number = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        _mm512_mask_or_epi32(up, no_number, bits, _mm512_set1_epi32(0x40_0000))
    });
    upper_halves(rounded, Order::InTurn)
}

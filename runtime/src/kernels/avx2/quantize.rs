//! Rounds activations to int8 in groups: [`crate::abi::QuantizeFn`].

use std::arch::x86_64::*;

use crate::abi::quant::{Block, GROUP, TINY};

/// [`crate::abi::QuantizeFn`].
pub(super) unsafe extern "C" fn quantize(x: *const f32, k: usize, out: *mut u8) {
    // SAFETY: the table that holds this function is only used where the instructions are there; the rest is the caller's.
    unsafe { row(x, k, out.cast()) }
}

/// # Safety
/// AVX2; `k` values are readable, and their blocks writable and aligned to 4.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn row(x: *const f32, k: usize, out: *mut Block) {
    let whole = k / GROUP;
    for g in 0..whole {
        // SAFETY: the group ends at or before `k`.
        unsafe { block(x.add(g * GROUP), out.add(g)) }
    }
    if !k.is_multiple_of(GROUP) {
        let mut last = [0f32; GROUP];
        // SAFETY: fewer than a group of values are left, and the last block is theirs.
        unsafe {
            x.add(whole * GROUP)
                .copy_to_nonoverlapping(last.as_mut_ptr(), k % GROUP);
            block(last.as_ptr(), out.add(whole));
        }
    }
}

/// # Safety
/// AVX2; a group of values is readable, and a block writable.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn block(x: *const f32, out: *mut Block) {
    // SAFETY: the caller gives a group of readable values, and a block to be written.
    unsafe {
        let x = [
            _mm256_loadu_ps(x),
            _mm256_loadu_ps(x.add(8)),
            _mm256_loadu_ps(x.add(16)),
            _mm256_loadu_ps(x.add(24)),
        ];
        let largest = largest(x);
        if largest < TINY {
            return *out = Block::default();
        }
        if !largest.is_finite() {
            return *out = Block {
                scale: f32::NAN,
                offset: f32::NAN,
                ..Block::default()
            };
        }
        let inverse = _mm256_set1_ps(127.0 / largest);
        // The processor rounds to the nearest, ties to even, unless it was told otherwise.
        let mut q = [_mm256_setzero_si256(); 4];
        for (q, x) in q.iter_mut().zip(x) {
            *q = _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse));
        }
        (*out).scale = largest / 127.0;
        let first = sum(q[0], q[1]);
        let all = first + sum(q[2], q[3]);
        (*out).offset = -8.0 * (*out).scale * all as f32;
        (*out).bias = -128 * all;
        (*out).half_bias = -128 * first;
        _mm256_storeu_si256((&raw mut (*out).q).cast(), packed(q));
    }
}

/// Values from −128 to 127 as bytes, in order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn packed(q: [__m256i; 4]) -> __m256i {
    let (a, b) = (
        _mm256_packs_epi32(q[0], q[1]),
        _mm256_packs_epi32(q[2], q[3]),
    );
    // Packing works in halves of 128 bits, which leaves fours of values in this order.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order)
}

/// The largest magnitude; as integers magnitudes are ordered as they are as floats, with NaN above all of them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn largest(x: [__m256; 4]) -> f32 {
    let magnitude = _mm256_set1_epi32(0x7fff_ffff);
    let mut most = _mm256_setzero_si256();
    for x in x {
        let x = _mm256_and_si256(_mm256_castps_si256(x), magnitude);
        most = _mm256_max_epi32(most, x);
    }
    let x = _mm_max_epi32(
        _mm256_castsi256_si128(most),
        _mm256_extracti128_si256::<1>(most),
    );
    let x = _mm_max_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
    let x = _mm_max_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x));
    f32::from_bits(_mm_cvtsi128_si32(x) as u32)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sum(a: __m256i, b: __m256i) -> i32 {
    let q = _mm256_add_epi32(a, b);
    let q = _mm_add_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256::<1>(q));
    let q = _mm_add_epi32(q, _mm_shuffle_epi32::<0b01_00_11_10>(q));
    let q = _mm_add_epi32(q, _mm_shuffle_epi32::<0b10_11_00_01>(q));
    _mm_cvtsi128_si32(q)
}

//! Sums of products of int8 rows with quantised weights, by `maddubs`: see [`crate::kernels::panels`].

use std::arch::x86_64::*;

use crate::abi::Quant;
use crate::abi::quant::Block;
use crate::kernels::Ahead;
use crate::kernels::panels::{CHUNKS, Call, Product, Sums, TILE, chunks, four, product};

/// Integers of 8 bits: [`Quant::Q8`], [`Quant::Q8Min`] or [`Quant::Q8Half`], by its place in [`Quant::ALL`].
pub(in crate::kernels) struct Bytes<const LINES: bool, const TYPE: usize>;
/// Integers of 4 bits: [`Quant::Q4`] or a type of them with minima, by its place in [`Quant::ALL`].
pub(in crate::kernels) struct Nibbles<const LINES: bool, const TYPE: usize>;

impl<const LINES: bool, const TYPE: usize> Sums for Bytes<LINES, TYPE> {
    const QUANT: Quant = Quant::ALL[TYPE];
    const AHEAD: Ahead = Ahead::of(LINES);
    const MANY_REGISTERS: bool = false;

    /// `maddubs` wants one factor without a sign: it moves from the weight to the activation. Two products of at most 127
    /// squared fit into 16 bits, four do not, so that they are widened at once.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sums<const C: usize, const HALF: usize>(
        group: *const u8,
        x: [*const Block; C],
    ) -> [__m256i; C] {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [_mm256_setzero_si256(); C];
        for (sums, x) in sums.chunks_mut(TILE).zip(x.chunks(TILE)) {
            for chunk in chunks(Self::QUANT, HALF) {
                let at = Self::QUANT.factor_bytes() + 32 * chunk;
                // SAFETY: the chunk lies inside the group.
                let w = unsafe { _mm256_loadu_si256(group.add(at).cast()) };
                let magnitude = _mm256_abs_epi8(w);
                for (sum, x) in sums.iter_mut().zip(x) {
                    // SAFETY: the caller gives a block for each of `x`, of which this is one of the chunks.
                    let signed = _mm256_sign_epi8(unsafe { four(*x, chunk) }, w);
                    let pairs = _mm256_maddubs_epi16(magnitude, signed);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                }
            }
        }
        sums
    }
}

impl<const LINES: bool, const TYPE: usize> Sums for Nibbles<LINES, TYPE> {
    const QUANT: Quant = Quant::ALL[TYPE];
    const AHEAD: Ahead = Ahead::of(LINES);
    const MANY_REGISTERS: bool = false;

    /// Products of at most 15 · 127, sixteen of them in each half of a lane, stay below 2¹⁵: they are widened once.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sums<const C: usize, const HALF: usize>(
        group: *const u8,
        x: [*const Block; C],
    ) -> [__m256i; C] {
        let (low, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
        let mut sums = [_mm256_setzero_si256(); C];
        for (sums, x) in sums.chunks_mut(TILE).zip(x.chunks(TILE)) {
            for chunk in 0..CHUNKS / 2 {
                let at = Self::QUANT.factor_bytes() + 32 * chunk;
                // SAFETY: the chunk lies inside the group.
                let w = unsafe { _mm256_loadu_si256(group.add(at).cast()) };
                let halves = [
                    _mm256_and_si256(w, low),
                    _mm256_and_si256(_mm256_srli_epi16::<4>(w), low),
                ];
                for (sum, x) in sums.iter_mut().zip(x) {
                    for (half, w) in halves.into_iter().enumerate() {
                        // SAFETY: the caller gives a block for each of `x`, of which this is one of the chunks.
                        let x = unsafe { four(*x, chunk + half * CHUNKS / 2) };
                        *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(w, x));
                    }
                }
            }
            for sum in sums {
                *sum = _mm256_madd_epi16(*sum, ones);
            }
        }
        sums
    }
}

impl<const LINES: bool, const TYPE: usize> Product for Bytes<LINES, TYPE> {
    unsafe fn run(call: &Call) {
        // SAFETY: the caller has this module's instructions, and the call keeps the contract of `QuantMatmulFn`.
        unsafe { all::<Self>(call) }
    }
}

impl<const LINES: bool, const TYPE: usize> Product for Nibbles<LINES, TYPE> {
    unsafe fn run(call: &Call) {
        // SAFETY: the caller has this module's instructions, and the call keeps the contract of `QuantMatmulFn`.
        unsafe { all::<Self>(call) }
    }
}

/// # Safety
/// As [`Product::run`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn all<S: Sums>(call: &Call) {
    // SAFETY: the caller has AVX2, FMA and F16C, which are the instructions of `S`, and the call keeps the contract of `QuantMatmulFn`.
    unsafe { product::<S>(call) }
}

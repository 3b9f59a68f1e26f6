//! Sums of products of one int8 row with quantised weights, in vectors of 512 bits: see [`crate::kernels::panels`].
//!
//! A vector holds two neighbouring chunks of one panel, so that panels are read as by vectors of 256 bits, with half as many loads.

use std::arch::x86_64::*;

use crate::abi::Quant;
use crate::abi::quant::Block;
use crate::kernels::Ahead;
use crate::kernels::panels::{CHUNKS, Call, Product, Sums, bias, chunks, once, sign};

/// Lanes of the lower half.
const LOWER: __mmask16 = 0xff;

/// Integers of 8 bits: [`Quant::Q8`], [`Quant::Q8Min`] or [`Quant::Q8Half`], by its place in [`Quant::ALL`].
pub(super) struct Bytes<const LINES: bool, const TYPE: usize>;
/// Integers of 4 bits: [`Quant::Q4`] or a type of them with minima, by its place in [`Quant::ALL`].
pub(super) struct Nibbles<const LINES: bool, const TYPE: usize>;

impl<const LINES: bool, const TYPE: usize> Sums for Bytes<LINES, TYPE> {
    const QUANT: Quant = Quant::ALL[TYPE];
    const AHEAD: Ahead = Ahead::of(LINES);

    /// One factor has no sign: weights that have one are read plus 128, for which a block's bias makes up.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn sums<const C: usize, const HALF: usize>(
        group: *const u8,
        x: [*const Block; C],
    ) -> [__m256i; C] {
        let sign = _mm512_set1_epi8(sign(Self::QUANT));
        let mut sums = [_mm512_setzero_si512(); C];
        // SAFETY: the caller gives a whole group and a block for each of `x`; the chunks lie inside the group.
        unsafe {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm512_maskz_set1_epi32(LOWER, bias(Self::QUANT, HALF, x));
            }
            for chunk in chunks(Self::QUANT, HALF).step_by(2) {
                let w =
                    _mm512_loadu_si512(group.add(Self::QUANT.factor_bytes() + 32 * chunk).cast());
                let w = _mm512_xor_si512(w, sign);
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = _mm512_dpbusd_epi32(*sum, w, eight(x, chunk));
                }
            }
        }
        halves(sums)
    }
}

impl<const LINES: bool, const TYPE: usize> Sums for Nibbles<LINES, TYPE> {
    const QUANT: Quant = Quant::ALL[TYPE];
    const AHEAD: Ahead = Ahead::of(LINES);

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn sums<const C: usize, const HALF: usize>(
        group: *const u8,
        x: [*const Block; C],
    ) -> [__m256i; C] {
        let low = _mm512_set1_epi8(15);
        let mut sums = [_mm512_setzero_si512(); C];
        // SAFETY: the caller gives a whole group and a block for each of `x`; the chunks lie inside the group.
        unsafe {
            for chunk in (0..CHUNKS / 2).step_by(2) {
                let w =
                    _mm512_loadu_si512(group.add(Self::QUANT.factor_bytes() + 32 * chunk).cast());
                let first = _mm512_and_si512(w, low);
                let second = _mm512_and_si512(_mm512_srli_epi16::<4>(w), low);
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = _mm512_dpbusd_epi32(*sum, first, eight(x, chunk));
                    *sum = _mm512_dpbusd_epi32(*sum, second, eight(x, chunk + CHUNKS / 2));
                }
            }
        }
        halves(sums)
    }
}

/// Activations `4 · chunk..` of a block, repeated in the lower half, and the next four in the upper one.
///
/// # Safety
/// AVX-512; the block is readable.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn eight(x: *const Block, chunk: usize) -> __m512i {
    let (lower, upper) = (
        _mm512_set1_epi32(chunk as i32),
        _mm256_set1_epi32(chunk as i32 + 1),
    );
    let at = _mm512_inserti64x4::<1>(lower, upper);
    // SAFETY: a block begins with its integers.
    let x = unsafe { _mm256_loadu_si256(x.cast()) };
    _mm512_permutexvar_epi32(at, _mm512_castsi256_si512(x))
}

/// Both halves of each vector together.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn halves<const C: usize>(sums: [__m512i; C]) -> [__m256i; C] {
    let mut out = [_mm256_setzero_si256(); C];
    for (out, sum) in out.iter_mut().zip(sums) {
        let upper = _mm512_extracti64x4_epi64::<1>(sum);
        *out = _mm256_add_epi32(_mm512_castsi512_si256(sum), upper);
    }
    out
}

impl<const LINES: bool, const TYPE: usize> Product for Bytes<LINES, TYPE> {
    unsafe fn run(call: &Call) {
        // SAFETY: the caller has this module's instructions, and the call keeps the contract of `QuantMatmulFn` of one row.
        unsafe { one_row::<Self>(call) }
    }
}

impl<const LINES: bool, const TYPE: usize> Product for Nibbles<LINES, TYPE> {
    unsafe fn run(call: &Call) {
        // SAFETY: the caller has this module's instructions, and the call keeps the contract of `QuantMatmulFn` of one row.
        unsafe { one_row::<Self>(call) }
    }
}

/// # Safety
/// As [`Product::run`], with `m == 1`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn one_row<S: Sums>(call: &Call) {
    // SAFETY: the caller has the instructions of `S`, and the call keeps the contract of `QuantMatmulFn` with `m == 1`, which is the constant.
    unsafe { once::<S, 1, 4>(call) }
}

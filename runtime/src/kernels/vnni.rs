//! Sums of products of int8 rows with quantised weights, by VNNI in vectors of 256 bits: see [`super::panels`].
//!
//! The instruction multiplies and adds four bytes at once, where AVX2 takes three. It has two encodings: AVX-VNNI's, which
//! processors for notebooks have, and that of AVX-512.

use super::avx2;
use super::panels::{Q4, Q4_MIN, Q4_NARROW, Q4_SUPER, Q8, Q8_HALF, Q8_MIN, matmul};
use super::{Ahead, Choices};
use crate::abi::KernelTable;

/// What the processor must have for [`table`].
pub(super) fn usable() -> bool {
    avx2::usable() && is_x86_feature_detected!("avxvnni")
}

/// The kernels for AVX-VNNI, to be called only where [`usable`] holds: those for AVX2, but for the products of integers.
pub(super) fn table(choices: Choices) -> KernelTable {
    match choices.ahead {
        Ahead::Pages => with_integers::<false>(avx2::table(choices)),
        Ahead::Lines => with_integers::<true>(avx2::table(choices)),
    }
}

fn with_integers<const LINES: bool>(table: KernelTable) -> KernelTable {
    KernelTable {
        matmul_q8: matmul::<avx::Bytes<LINES, Q8>>,
        matmul_q4: matmul::<avx::Nibbles<LINES, Q4>>,
        matmul_q4m: matmul::<avx::Nibbles<LINES, Q4_MIN>>,
        matmul_q8m: matmul::<avx::Bytes<LINES, Q8_MIN>>,
        matmul_q8h: matmul::<avx::Bytes<LINES, Q8_HALF>>,
        matmul_q4s: matmul::<avx::Nibbles<LINES, Q4_SUPER>>,
        matmul_q4n: matmul::<avx::Nibbles<LINES, Q4_NARROW>>,
        ..table
    }
}

/// The kernels of all types of weights in one of the encodings.
macro_rules! kernels {
    ($features:literal, $multiply_add:ident, $all:ident) => {
        // `TOGETHER` blocks of activations have their sums in registers.
        use std::arch::x86_64::*;

        use crate::abi::Quant;
        use crate::abi::quant::Block;
        use crate::kernels::Ahead;
        use crate::kernels::panels::{CHUNKS, Call, Product, Sums, bias, chunks, four, sign, $all};

        /// Integers of 8 bits: [`Quant::Q8`], [`Quant::Q8Min`] or [`Quant::Q8Half`], by its place in [`Quant::ALL`].
        pub(in crate::kernels) struct Bytes<const LINES: bool, const TYPE: usize>;
        /// Integers of 4 bits: [`Quant::Q4`] or a type of them with minima, by its place in [`Quant::ALL`].
        pub(in crate::kernels) struct Nibbles<const LINES: bool, const TYPE: usize>;

        impl<const LINES: bool, const TYPE: usize> Sums for Bytes<LINES, TYPE> {
            const QUANT: Quant = Quant::ALL[TYPE];
            const AHEAD: Ahead = Ahead::of(LINES);
            const MANY_REGISTERS: bool = TOGETHER > 4;

            /// One factor has no sign: weights that have one are read plus 128, for which a block's bias makes up.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn sums<const C: usize, const HALF: usize>(
                group: *const u8,
                x: [*const Block; C],
            ) -> [__m256i; C] {
                let sign = _mm256_set1_epi8(sign(Self::QUANT));
                let mut sums = [_mm256_setzero_si256(); C];
                // SAFETY: the caller gives a whole group and a block for each of `x`; the chunks lie inside the group.
                unsafe {
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum = _mm256_set1_epi32(bias(Self::QUANT, HALF, x));
                    }
                    for (sums, x) in sums.chunks_mut(TOGETHER).zip(x.chunks(TOGETHER)) {
                        for chunk in chunks(Self::QUANT, HALF) {
                            let w = _mm256_loadu_si256(
                                group.add(Self::QUANT.factor_bytes() + 32 * chunk).cast(),
                            );
                            let w = _mm256_xor_si256(w, sign);
                            for (sum, x) in sums.iter_mut().zip(x) {
                                *sum = $multiply_add(*sum, w, four(*x, chunk));
                            }
                        }
                    }
                }
                sums
            }
        }

        impl<const LINES: bool, const TYPE: usize> Sums for Nibbles<LINES, TYPE> {
            const QUANT: Quant = Quant::ALL[TYPE];
            const AHEAD: Ahead = Ahead::of(LINES);
            const MANY_REGISTERS: bool = TOGETHER > 4;

            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn sums<const C: usize, const HALF: usize>(
                group: *const u8,
                x: [*const Block; C],
            ) -> [__m256i; C] {
                let low = _mm256_set1_epi8(15);
                let mut sums = [_mm256_setzero_si256(); C];
                // A row that is alone has two sums: its products would wait for each other.
                let mut second = _mm256_setzero_si256();
                for (sums, x) in sums.chunks_mut(TOGETHER).zip(x.chunks(TOGETHER)) {
                    for chunk in 0..CHUNKS / 2 {
                        // SAFETY: the caller gives a whole group and a block for each of `x`; the chunk lies inside the group.
                        unsafe {
                            let w = _mm256_loadu_si256(
                                group.add(Self::QUANT.factor_bytes() + 32 * chunk).cast(),
                            );
                            let lower = _mm256_and_si256(w, low);
                            let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(w), low);
                            for (sum, x) in sums.iter_mut().zip(x) {
                                *sum = $multiply_add(*sum, lower, four(*x, chunk));
                                let sum = if C == 1 { &mut second } else { sum };
                                let later = four(*x, chunk + CHUNKS / 2);
                                *sum = $multiply_add(*sum, upper, later);
                            }
                        }
                    }
                }
                if C == 1 {
                    sums[0] = _mm256_add_epi32(sums[0], second);
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
        #[target_feature(enable = $features)]
        unsafe fn all<S: Sums>(call: &Call) {
            // SAFETY: the caller has the instructions of `S`, and the call keeps the contract of `QuantMatmulFn`.
            unsafe { $all::<S>(call) }
        }
    };
}

/// For AVX-VNNI.
pub(super) mod avx {
    /// Of 16 registers, sums take these and those in f32.
    const TOGETHER: usize = 4;

    kernels!("avx2,fma,f16c,avxvnni", _mm256_dpbusd_avx_epi32, product);
}

/// For AVX-512 with VNNI, which has vectors of 256 bits too: up to eight rows of activations.
pub(super) mod avx512 {
    /// Of 32 registers, sums take these and those in f32.
    const TOGETHER: usize = 8;

    kernels!(
        "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni",
        _mm256_dpbusd_epi32,
        few
    );
}

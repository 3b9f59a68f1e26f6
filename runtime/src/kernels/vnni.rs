//! Sums of products of int8 rows with quantised weights, by VNNI in vectors of 256 bits: see [`super::panels`].
//!
//! The instruction multiplies and adds four bytes at once, where AVX2 takes three. It has two encodings: AVX-VNNI's, which
//! processors for notebooks have, and that of AVX-512.

use super::avx2;
use super::choices::{Ahead, Choices};
use super::panels::matmul;
use crate::abi::{KernelTable, QuantMatmulFn};

/// What the processor must have for [`table`].
pub(super) fn usable() -> bool {
    avx2::usable() && is_x86_feature_detected!("avxvnni")
}

/// The kernels for AVX-VNNI, to be called only where [`usable`] holds: those for AVX2, but for the products of integers.
pub(super) fn table(choices: Choices) -> KernelTable {
    let (matmul_q8, matmul_q4): (QuantMatmulFn, QuantMatmulFn) = match choices.ahead {
        Ahead::Pages => (matmul::<avx::Q8<false>>, matmul::<avx::Q4<false>>),
        Ahead::Lines => (matmul::<avx::Q8<true>>, matmul::<avx::Q4<true>>),
    };
    KernelTable {
        matmul_q8,
        matmul_q4,
        ..avx2::table(choices)
    }
}

/// The kernels of both types of weights in one of the encodings.
macro_rules! kernels {
    ($features:literal, $multiply_add:ident, $all:ident) => {
        // `TOGETHER` blocks of activations have their sums in registers.
        use std::arch::x86_64::*;

        use crate::abi::Quant;
        use crate::abi::quant::Block;
        use crate::kernels::choices::Ahead;
        use crate::kernels::panels::{CHUNKS, Call, Product, SCALES, Sums, four, $all};

        pub(in crate::kernels) struct Q8<const LINES: bool>;
        pub(in crate::kernels) struct Q4<const LINES: bool>;

        impl<const LINES: bool> Sums for Q8<LINES> {
            const QUANT: Quant = Quant::Q8;
            const AHEAD: Ahead = Ahead::of(LINES);

            /// One factor has no sign: weights are read plus 128, for which a block's bias makes up.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn sums<const C: usize>(group: *const u8, x: [*const Block; C]) -> [__m256i; C] {
                let sign = _mm256_set1_epi8(-128);
                let mut sums = [_mm256_setzero_si256(); C];
                // SAFETY: the caller gives a whole group and a block for each of `x`; the chunks lie inside the group.
                unsafe {
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum = _mm256_set1_epi32((*x).bias);
                    }
                    for (sums, x) in sums.chunks_mut(TOGETHER).zip(x.chunks(TOGETHER)) {
                        for chunk in 0..CHUNKS {
                            let w = _mm256_loadu_si256(group.add(SCALES + 32 * chunk).cast());
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

        impl<const LINES: bool> Sums for Q4<LINES> {
            const QUANT: Quant = Quant::Q4;
            const AHEAD: Ahead = Ahead::of(LINES);

            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn sums<const C: usize>(group: *const u8, x: [*const Block; C]) -> [__m256i; C] {
                let low = _mm256_set1_epi8(15);
                let mut sums = [_mm256_setzero_si256(); C];
                // A row that is alone has two sums: its products would wait for each other.
                let mut second = _mm256_setzero_si256();
                for (sums, x) in sums.chunks_mut(TOGETHER).zip(x.chunks(TOGETHER)) {
                    for chunk in 0..CHUNKS / 2 {
                        // SAFETY: the caller gives a whole group and a block for each of `x`; the chunk lies inside the group.
                        unsafe {
                            let w = _mm256_loadu_si256(group.add(SCALES + 32 * chunk).cast());
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

        impl<const LINES: bool> Product for Q8<LINES> {
            unsafe fn run(call: &Call) {
                // SAFETY: the caller has this module's instructions, and the call keeps the contract of `QuantMatmulFn`.
                unsafe { all::<Self>(call) }
            }
        }

        impl<const LINES: bool> Product for Q4<LINES> {
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

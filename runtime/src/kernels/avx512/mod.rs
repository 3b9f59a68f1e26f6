//! The kernels for AVX-512 with VNNI: those for AVX2, but for the products of integers.
//!
//! VNNI multiplies and adds four bytes at once, where AVX2 takes three instructions for half as many rows. Products of floats
//! stay as they are: on the processors this was measured on, vectors of 512 bits multiply no faster than those of 256.
//!
//! Products of integers with up to eight rows of activations are by vectors of 256 bits, in [`super::vnni`]: they read one panel after
//! the other, and were 12 to 30 % faster for 5 to 8 rows than two panels at once in vectors of 512 bits. Here are:
//!
//! | file    | kernels                                                                |
//! |---------|------------------------------------------------------------------------|
//! | `wide`  | one row of activations by two chunks of a panel, a [choice](Choices) |
//! | `tiles` | many rows by two panels; and which kernel takes how many               |

use crate::abi::{KernelTable, QuantMatmulFn};

use super::avx2;
use super::choices::{Ahead, Choices, Width};
use super::panels::matmul;

mod tiles;
mod wide;

use tiles::{Q4, Q8};

/// What the processor must have for [`table`].
pub(super) fn usable() -> bool {
    avx2::usable()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

/// To be called only where [`usable`] holds.
pub(super) fn table(choices: Choices) -> KernelTable {
    let (matmul_q8, matmul_q4): (QuantMatmulFn, QuantMatmulFn) =
        match (choices.ahead, choices.integers) {
            (Ahead::Pages, Width::Narrow) => {
                (matmul::<Q8<false, false>>, matmul::<Q4<false, false>>)
            }
            (Ahead::Pages, Width::Wide) => (matmul::<Q8<false, true>>, matmul::<Q4<false, true>>),
            (Ahead::Lines, Width::Narrow) => (matmul::<Q8<true, false>>, matmul::<Q4<true, false>>),
            (Ahead::Lines, Width::Wide) => (matmul::<Q8<true, true>>, matmul::<Q4<true, true>>),
        };
    KernelTable {
        matmul_q8,
        matmul_q4,
        ..avx2::table(choices)
    }
}

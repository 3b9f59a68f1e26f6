//! The kernels for AVX-512, with VNNI and without: those for AVX2, but for some products.
//!
//! | file     | kernels                                                                                 |
//! |----------|-----------------------------------------------------------------------------------------|
//! | `load`   | weights of each float type as vectors of sixteen f32                                    |
//! | `matmul` | the float matmuls: which of the two below runs, or one for AVX2                         |
//! | `dot`    | two to eight rows of `x`, where rows of weights are read one after the other            |
//! | `tile`   | more rows: tiles of 12 × 32, a [choice](Choices)                                        |
//! | `wide`   | integers, one row of activations: two chunks of a panel at once, a [choice](Choices)    |
//! | `tiles`  | integers, many rows: two panels at once; and which kernel takes how many                |
//!
//! Products of integers with up to eight rows of activations are otherwise by vectors of 256 bits, in [`super::vnni`]: they read one panel after
//! the other, and were 12 to 30 % faster for 5 to 8 rows than two panels at once in vectors of 512 bits.

use crate::abi::{KernelTable, QuantMatmulFn};

use super::avx2::{
    self,
    load::{Bf16, F16, F32},
};
use super::choices::{Ahead, Choices, Width};
use super::panels::matmul as matmul_of;

mod dot;
mod load;
mod matmul;
mod tile;
mod tiles;
mod wide;

use tiles::{Q4, Q8};

/// What the processor must have for [`table`].
pub(super) fn usable() -> bool {
    avx2::usable()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
}

/// What it must have for [`vnni_table`].
pub(super) fn vnni_usable() -> bool {
    usable() && is_x86_feature_detected!("avx512vnni")
}

/// To be called only where [`usable`] holds.
pub(super) fn table(choices: Choices) -> KernelTable {
    let narrow = avx2::table(choices);
    match (choices.ahead, choices.floats) {
        (Ahead::Pages, Width::Narrow) => with_floats::<false, false>(narrow),
        (Ahead::Lines, Width::Narrow) => with_floats::<true, false>(narrow),
        (Ahead::Pages, Width::Wide) => with_tiles(with_floats::<false, true>(narrow)),
        (Ahead::Lines, Width::Wide) => with_tiles(with_floats::<true, true>(narrow)),
    }
}

/// To be called only where [`vnni_usable`] holds.
pub(super) fn vnni_table(choices: Choices) -> KernelTable {
    let (matmul_q8, matmul_q4): (QuantMatmulFn, QuantMatmulFn) =
        match (choices.ahead, choices.integers) {
            (Ahead::Pages, Width::Narrow) => integers::<false, false>(),
            (Ahead::Pages, Width::Wide) => integers::<false, true>(),
            (Ahead::Lines, Width::Narrow) => integers::<true, false>(),
            (Ahead::Lines, Width::Wide) => integers::<true, true>(),
        };
    KernelTable {
        matmul_q8,
        matmul_q4,
        ..table(choices)
    }
}

fn with_floats<const LINES: bool, const WIDE: bool>(narrow: KernelTable) -> KernelTable {
    KernelTable {
        matmul_f32: matmul::matmul::<F32, LINES, WIDE>,
        matmul_bf16: matmul::matmul::<Bf16, LINES, WIDE>,
        matmul_f16: matmul::matmul::<F16, LINES, WIDE>,
        ..narrow
    }
}

fn with_tiles(narrow: KernelTable) -> KernelTable {
    KernelTable {
        matmul_kn_f32: matmul::matmul_kn::<F32>,
        matmul_kn_bf16: matmul::matmul_kn::<Bf16>,
        matmul_kn_f16: matmul::matmul_kn::<F16>,
        ..narrow
    }
}

fn integers<const LINES: bool, const WIDE: bool>() -> (QuantMatmulFn, QuantMatmulFn) {
    (matmul_of::<Q8<LINES, WIDE>>, matmul_of::<Q4<LINES, WIDE>>)
}

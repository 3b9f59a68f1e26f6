//! The kernels for AVX-512, with VNNI and without: those for AVX2, but for some products.
//!
//! | file        | kernels                                                                           |
//! |-------------|-----------------------------------------------------------------------------------|
//! | `load`      | weights of each float type as vectors of sixteen f32                              |
//! | `matmul`    | the products of floats: which of those below runs, or one for AVX2                |
//! | `dot`       | up to eight rows of `x`, by rows of weights of a middling length, several at once |
//! | `rows`      | rows of floats and of cached integers, as the two below read them                 |
//! | `short`     | at most eight rows of `x`, by short rows of weights                               |
//! | `strip`     | at most eight rows of `x`, by weights `[k, n]`                                    |
//! | `tile`      | more rows: tiles of 6 × 64, a [choice](Choices)                                   |
//! | `pairs`     | panels of pairs of bf16                                                           |
//! | `rounded`   | bf16 with activations rounded to bf16, where the processor multiplies these       |
//! | `recurrent` | the gated delta rule                                                              |
//! | `softmax`   | one block of an online softmax                                                    |
//! | `tiles`     | integers, many rows: two panels at once; and which kernel takes how many          |
//!
//! Products of integers with up to eight rows of activations are by vectors of 256 bits, in [`super::vnni`]: a vector of theirs is of one panel.
//! Vectors of 512 bits that are of two neighbours were 12 to 30 % slower for 5 to 8 rows, and those of two chunks of a panel no faster for one.

use crate::abi::KernelTable;

use super::avx2::{
    self,
    load::{Bf16, F16, F32},
    matmul::matmul as matmul_floats,
    softmax::softmax_block,
};
use super::panels::{Q4, Q4_MIN, Q4_NARROW, Q4_SUPER, Q8, Q8_HALF, Q8_MIN, matmul as matmul_of};
use super::{Ahead, Choices, Width};

mod dot;
mod load;
pub(super) mod matmul;
pub(super) mod pairs;
mod recurrent;
mod rounded;
mod rows;
mod short;
mod softmax;
mod strip;
mod tile;
pub(super) mod tiles;

use matmul::{Columns, Rows};
pub(super) use tiles::{Bytes, Nibbles};

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
    let mut narrow = KernelTable {
        softmax_block: softmax_block::<softmax::Wide>,
        delta_rule: recurrent::for_cache(),
        matmul_cache_q8: matmul_floats::<matmul::CachedRows>,
        matmul_kn_cache_q8: matmul_floats::<matmul::CachedColumns>,
        ..avx2::table(choices)
    };
    if rounded::usable() {
        narrow.matmul_bf16_rounded = matmul_floats::<rounded::Rounded>;
    }
    match (choices.ahead, choices.floats) {
        (Ahead::Pages, Width::Narrow) => with_floats::<false, false>(narrow),
        (Ahead::Lines, Width::Narrow) => with_floats::<true, false>(narrow),
        (Ahead::Pages, Width::Wide) => with_floats::<false, true>(narrow),
        (Ahead::Lines, Width::Wide) => with_floats::<true, true>(narrow),
    }
}

/// To be called only where [`vnni_usable`] holds.
pub(super) fn vnni_table(choices: Choices) -> KernelTable {
    let floats = table(choices);
    match choices.ahead {
        Ahead::Pages => with_integers::<false>(floats),
        Ahead::Lines => with_integers::<true>(floats),
    }
}

fn with_floats<const LINES: bool, const WIDE: bool>(narrow: KernelTable) -> KernelTable {
    KernelTable {
        matmul_f32: matmul_floats::<Rows<F32, LINES, WIDE>>,
        matmul_bf16: matmul_floats::<Rows<Bf16, LINES, WIDE>>,
        matmul_f16: matmul_floats::<Rows<F16, LINES, WIDE>>,
        matmul_kn_f32: matmul_floats::<Columns<F32, WIDE>>,
        matmul_kn_bf16: matmul_floats::<Columns<Bf16, WIDE>>,
        matmul_kn_f16: matmul_floats::<Columns<F16, WIDE>>,
        ..narrow
    }
}

fn with_integers<const LINES: bool>(floats: KernelTable) -> KernelTable {
    KernelTable {
        matmul_q8: matmul_of::<Bytes<LINES, Q8>>,
        matmul_q4: matmul_of::<Nibbles<LINES, Q4>>,
        matmul_q4m: matmul_of::<Nibbles<LINES, Q4_MIN>>,
        matmul_q8m: matmul_of::<Bytes<LINES, Q8_MIN>>,
        matmul_q8h: matmul_of::<Bytes<LINES, Q8_HALF>>,
        matmul_q4s: matmul_of::<Nibbles<LINES, Q4_SUPER>>,
        matmul_q4n: matmul_of::<Nibbles<LINES, Q4_NARROW>>,
        ..floats
    }
}

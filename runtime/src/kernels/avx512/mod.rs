//! The kernels for AVX-512 with VNNI: those for AVX2, but for the products of integers.
//!
//! VNNI multiplies and adds four bytes at once, where AVX2 takes three instructions for half as many rows. Products of floats
//! stay as they are: on the processors this was measured on, vectors of 512 bits multiply no faster than those of 256.
//!
//! | file     | kernels                                              |
//! |----------|------------------------------------------------------|
//! | `panels` | products of int8 activations with quantised weights |

use crate::abi::KernelTable;

use super::avx2;
use super::panels::matmul;

mod panels;

/// What the processor must have for [`TABLE`].
pub(super) fn usable() -> bool {
    avx2::usable()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
}

/// To be called only where [`usable`] holds.
pub(super) static TABLE: KernelTable = KernelTable {
    matmul_q8: matmul::<panels::Q8>,
    matmul_q4: matmul::<panels::Q4>,
    ..avx2::TABLE
};

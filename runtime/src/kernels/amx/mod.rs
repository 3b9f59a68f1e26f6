//! The kernels for AMX: those for AVX-512 with VNNI, but for products of many rows of activations.
//!
//! | file       | what                                                                                        |
//! |------------|---------------------------------------------------------------------------------------------|
//! | `unit`     | the eight tiles, a method for each instruction, and whether they may be used                  |
//! | `emulated` | the same in plain code, as Intel's manual defines it: what tests run where there is no AMX    |
//! | `integers` | products of integers: bit for bit what all other kernels give                                |
//! | `floats`   | products of floats in parts, which together are all of them; of bf16 with bf16 also rounded   |
//! | `parts`    | floats as sums of numbers in bf16                                                             |
//! | `loops`    | products of tiles and nothing else, which kernels are compared with                        |
//! | `check`    | a few products by these kernels and by the scalar ones, before the first use                   |
//!
//! Products of few rows are as for AVX-512.

use std::sync::OnceLock;

use super::avx2::load::{Bf16, F16, F32};
use super::avx2::matmul::matmul as matmul_floats;
use super::avx512::{self, Bytes, Nibbles};
use super::panels::{Q4, Q4_MIN, Q4_NARROW, Q4_SUPER, Q8, Q8_MIN, matmul as matmul_of};
use super::{Ahead, Choices};
use crate::abi::KernelTable;

mod check;
mod emulated;
mod floats;
mod integers;
mod loops;
mod parts;
mod unit;

use floats::{ExactColumns, ExactRows, Rounded};
use integers::Tiled;
pub(super) use loops::LOOPS;
use unit::{Hardware, Unit};

/// What the processor and the system must offer for [`table`]; and the kernels have to give what they should.
pub(super) fn usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    // Nothing is run before the system has allowed tiles.
    *USABLE.get_or_init(|| {
        avx512::vnni_usable()
            && unit::is_there()
            && unit::is_allowed()
            && check::agrees(&table(Choices::usual()))
    })
}

/// To be called only where [`usable`] holds.
pub(super) fn table(choices: Choices) -> KernelTable {
    table_on::<Hardware>(choices)
}

/// The same on emulated tiles, for processors without: to be called where those for AVX-512 with VNNI can be.
pub(super) fn emulated_table(choices: Choices) -> KernelTable {
    table_on::<emulated::Emulated>(choices)
}

fn table_on<U: Unit>(choices: Choices) -> KernelTable {
    let narrow = avx512::vnni_table(choices);
    match choices.ahead {
        Ahead::Pages => with_tiles::<U, false>(narrow),
        Ahead::Lines => with_tiles::<U, true>(narrow),
    }
}

/// Integers of all types but the one with a scale for each half of a group.
fn with_tiles<U: Unit, const LINES: bool>(narrow: KernelTable) -> KernelTable {
    KernelTable {
        matmul_f32: matmul_floats::<ExactRows<U, F32, LINES>>,
        matmul_bf16: matmul_floats::<ExactRows<U, Bf16, LINES>>,
        matmul_f16: matmul_floats::<ExactRows<U, F16, LINES>>,
        matmul_kn_f32: matmul_floats::<ExactColumns<U, F32>>,
        matmul_kn_bf16: matmul_floats::<ExactColumns<U, Bf16>>,
        matmul_kn_f16: matmul_floats::<ExactColumns<U, F16>>,
        matmul_bf16_rounded: matmul_floats::<Rounded<U>>,
        arrange_rounded: floats::arrange,
        arrange_blocks: integers::arrange,
        matmul_q8: matmul_of::<Tiled<U, Bytes<LINES, Q8>, Q8>>,
        matmul_q4: matmul_of::<Tiled<U, Nibbles<LINES, Q4>, Q4>>,
        matmul_q4m: matmul_of::<Tiled<U, Nibbles<LINES, Q4_MIN>, Q4_MIN>>,
        matmul_q8m: matmul_of::<Tiled<U, Bytes<LINES, Q8_MIN>, Q8_MIN>>,
        matmul_q4s: matmul_of::<Tiled<U, Nibbles<LINES, Q4_SUPER>, Q4_SUPER>>,
        matmul_q4n: matmul_of::<Tiled<U, Nibbles<LINES, Q4_NARROW>, Q4_NARROW>>,
        ..narrow
    }
}

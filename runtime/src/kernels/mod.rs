//! Micro-kernels: the functions of [`KernelTable`], one set per instruction set, and the choice among them.
//!
//! Each set fills the whole table. [`scalar`] defines what every kernel computes; the others do the same with wide
//! vectors, within a few units in the last place. A kernel never knows about models and never allocates.
//!
//! Another instruction set is one more folder beside `avx2`, a variant of [`Isa`], and an arm in [`table_for`] (NEON
//! belongs there: its loads replace `avx2/load.rs`, its tile has 8 rows of 12 columns for 32 registers of 128 bits).

use std::sync::OnceLock;

use crate::abi::KernelTable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod panels;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod stream;

/// Instruction sets that have a set of kernels, from the slowest to the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, on any processor.
    Scalar,
    /// AVX2 with FMA and F16C (x86-64-v3).
    Avx2,
    /// AVX-512 with VNNI, besides all of the above.
    Avx512,
}

impl Isa {
    /// Every instruction set, from the slowest to the fastest.
    pub const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Avx512];

    /// Name for people: `avx2`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

/// The fastest kernels this processor can run; the choice is made once.
pub fn table() -> &'static KernelTable {
    table_for(best_isa()).unwrap_or(scalar_table())
}

/// The kernels that define all others, in plain Rust.
pub fn scalar_table() -> &'static KernelTable {
    &scalar::TABLE
}

/// Name of the instruction set that [`table`] uses: `avx2`.
pub fn isa_name() -> &'static str {
    best_isa().name()
}

/// The kernels for one instruction set, or `None` where this processor lacks it.
pub fn table_for(isa: Isa) -> Option<&'static KernelTable> {
    match isa {
        Isa::Scalar => Some(&scalar::TABLE),
        Isa::Avx2 => avx2_table(),
        Isa::Avx512 => avx512_table(),
    }
}

#[cfg(target_arch = "x86_64")]
fn avx2_table() -> Option<&'static KernelTable> {
    avx2::usable().then_some(&avx2::TABLE)
}

#[cfg(target_arch = "x86_64")]
fn avx512_table() -> Option<&'static KernelTable> {
    avx512::usable().then_some(&avx512::TABLE)
}

#[cfg(not(target_arch = "x86_64"))]
fn avx512_table() -> Option<&'static KernelTable> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn avx2_table() -> Option<&'static KernelTable> {
    None
}

/// The fastest instruction set this processor has kernels for.
fn best_isa() -> Isa {
    static BEST: OnceLock<Isa> = OnceLock::new();
    *BEST.get_or_init(|| {
        let usable = |isa: &Isa| table_for(*isa).is_some();
        Isa::ALL
            .into_iter()
            .rev()
            .find(usable)
            .unwrap_or(Isa::Scalar)
    })
}

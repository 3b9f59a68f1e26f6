//! Micro-kernels: the functions of [`KernelTable`], one set per instruction set, and the choice among them.
//!
//! Each set fills the whole table. [`scalar`] defines what every kernel computes; the others do the same with wide
//! vectors, within a few units in the last place. A kernel never knows about models and never allocates.
//!
//! Another instruction set is one more folder beside `avx2`, a variant of [`Isa`], and an arm in [`table_for`] (NEON
//! belongs there: its loads replace `avx2/load.rs`, its tile has 8 rows of 12 columns for 32 registers of 128 bits).

use crate::abi::KernelTable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
#[cfg(target_arch = "x86_64")]
mod panels;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod stream;

pub use isa::{Isa, IsaError, VARIABLE};

/// The kernels that run in this process: those of [`Isa::chosen`].
///
/// # Errors
/// As there.
pub fn table() -> Result<&'static KernelTable, IsaError> {
    Ok(table_for(Isa::chosen()?).unwrap_or(scalar_table()))
}

/// The kernels that define all others, in plain Rust.
pub fn scalar_table() -> &'static KernelTable {
    &scalar::TABLE
}

/// The kernels for one instruction set, or `None` where this processor lacks it.
pub fn table_for(isa: Isa) -> Option<&'static KernelTable> {
    match isa {
        Isa::Scalar => Some(&scalar::TABLE),
        Isa::Avx2 => avx2_table(),
        Isa::Avx512Vnni => avx512_table(),
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

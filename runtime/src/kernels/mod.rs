//! Micro-kernels: the functions of [`KernelTable`], one set per instruction set, and the choice among them.
//!
//! Each set fills the whole table. `scalar` defines what every kernel computes; the others do the same with wide
//! vectors, within a few units in the last place. A kernel never knows about models and never allocates.
//!
//! Another instruction set is one more folder beside `avx2`, a variant of [`Isa`], and an arm in [`table_for`] (NEON
//! belongs there: its loads replace `avx2/load.rs`, its tile has 8 rows of 12 columns for 32 registers of 128 bits).

use std::sync::OnceLock;

use crate::Error;
pub use crate::abi::tuned::{Ahead, Choices, Record, Width};
use crate::abi::{Dtype, KernelTable};

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod choices;
mod isa;
#[cfg(target_arch = "x86_64")]
mod panels;
mod record;
#[cfg(target_arch = "x86_64")]
mod recurrent;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod stream;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use isa::{Isa, IsaError, VARIABLE};
pub use record::{RecordError, VARIABLE as TUNED};

/// Bytes of scratch for panels that are to stay in the second-level cache of any processor.
#[cfg(target_arch = "x86_64")]
const NEAR: usize = 256 * 1024;

/// The kernels that a program runs in this process, which was compiled with a record of choices: those of [`Isa::chosen`] and [`Choices::chosen`].
///
/// # Errors
/// As there.
pub fn table(compiled: &Record) -> Result<&'static KernelTable, Error> {
    static TABLES: [OnceLock<KernelTable>; Choices::COUNT] =
        [const { OnceLock::new() }; Choices::COUNT];
    let isa = Isa::chosen()?;
    let choices = Choices::chosen(isa, compiled)?;
    let table = || table_for(isa, choices).unwrap_or(scalar::TABLE);
    Ok(TABLES[choices.index()].get_or_init(table))
}

/// The kernels that define all others, in plain Rust.
pub fn scalar_table() -> &'static KernelTable {
    &scalar::TABLE
}

/// The kernels for one instruction set, or `None` where this processor lacks it.
pub fn table_for(isa: Isa, choices: Choices) -> Option<KernelTable> {
    isa.is_available().then(|| match isa {
        Isa::Scalar => scalar::TABLE,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::table(choices),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => vnni::table(choices),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::table(choices),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512::vnni_table(choices),
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => amx::table(choices),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 | Isa::Avx512Vnni | Isa::Amx => scalar::TABLE,
    })
}

/// The kernels of [`Isa::Amx`] on tiles that are emulated, many times slower, or `None` where this processor lacks
/// [`Isa::Avx512Vnni`]: so that tests reach all but the unit itself where there is none.
pub fn amx_emulated(choices: Choices) -> Option<KernelTable> {
    #[cfg(target_arch = "x86_64")]
    return Isa::Avx512Vnni
        .is_available()
        .then(|| amx::emulated_table(choices));
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = choices;
        None
    }
}

/// Loops of so many rounds of products of tiles and nothing else; the operations that were done, a product and a sum being two.
pub(crate) struct TileLoops {
    /// Of products of bf16.
    pub(crate) bf16: fn(usize) -> usize,
    /// Products of bf16 that one of f32 with a weight of a type is made of.
    pub(crate) products: fn(Dtype) -> usize,
    /// Of products of groups of integers.
    pub(crate) int8: fn(usize) -> usize,
}

/// Those of the kernels that run in this process, if they use tiles.
pub(crate) fn tile_loops() -> Option<TileLoops> {
    match Isa::chosen() {
        #[cfg(target_arch = "x86_64")]
        Ok(Isa::Amx) => Some(amx::LOOPS),
        Ok(_) | Err(_) => None,
    }
}

/// Whether this processor has the instructions.
#[cfg(target_arch = "x86_64")]
fn usable(isa: Isa) -> bool {
    match isa {
        Isa::Scalar => true,
        Isa::Avx2 => avx2::usable(),
        Isa::AvxVnni => vnni::usable(),
        Isa::Avx512 => avx512::usable(),
        Isa::Avx512Vnni => avx512::vnni_usable(),
        Isa::Amx => amx::usable(),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn usable(isa: Isa) -> bool {
    isa == Isa::Scalar
}

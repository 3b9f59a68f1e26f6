//! Instruction sets that there are kernels for, and which of them run: the fastest that the processor has, or the one that the
//! environment names.

use std::ffi::OsStr;
use std::sync::OnceLock;

use super::usable;

/// The variable that names the instruction set to use, for tests and measurements: `GRAVER_ISA=avx2`.
pub const VARIABLE: &str = "GRAVER_ISA";

/// Instruction sets that have a set of kernels, from the slowest to the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, on any processor.
    Scalar,
    /// AVX2 with FMA and F16C (x86-64-v3).
    Avx2,
    /// AVX-VNNI, besides AVX2.
    AvxVnni,
    /// AVX-512 (F, BW, VL), besides AVX2.
    Avx512,
    /// The same with VNNI.
    Avx512Vnni,
    /// AMX (tiles with i8 and bf16), besides AVX-512 with VNNI.
    Amx,
}

impl Isa {
    /// Every instruction set, from the slowest to the fastest.
    pub const ALL: [Isa; 6] = [
        Isa::Scalar,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512,
        Isa::Avx512Vnni,
        Isa::Amx,
    ];

    /// Name for people, and in [`VARIABLE`]: `avx2`.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avx-vnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Amx => "amx",
        }
    }

    /// Whether this processor can run its kernels.
    pub fn is_available(self) -> bool {
        usable(self)
    }

    /// Those that this processor can run, from the slowest to the fastest.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The one whose kernels run in this process. The choice is made once.
    ///
    /// # Errors
    /// [`VARIABLE`] names none that this processor can run.
    pub fn chosen() -> Result<Isa, IsaError> {
        static CHOSEN: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
        CHOSEN
            .get_or_init(|| choose(std::env::var_os(VARIABLE).as_deref()))
            .clone()
    }
}

/// [`VARIABLE`] names an instruction set that there are no kernels for, or that this processor lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{VARIABLE}={found}: {}; it can run {}",
    match .lacking {
        true => "this processor lacks these instructions",
        false => "there are no such kernels for this processor",
    },
    names(Isa::available())
)]
pub struct IsaError {
    found: String,
    lacking: bool,
}

fn names(all: impl Iterator<Item = Isa>) -> String {
    all.map(Isa::name).collect::<Vec<_>>().join(", ")
}

/// The instruction set with the name `wish`, or the fastest where there is no wish.
fn choose(wish: Option<&OsStr>) -> Result<Isa, IsaError> {
    let Some(wish) = wish.filter(|wish| !wish.is_empty()) else {
        return Ok(Isa::available().last().unwrap_or(Isa::Scalar));
    };
    let named = Isa::ALL.into_iter().find(|isa| wish == isa.name());
    match named {
        Some(isa) if isa.is_available() => Ok(isa),
        Some(_) | None => Err(IsaError {
            found: wish.to_string_lossy().into_owned(),
            lacking: named.is_some(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_wish_the_fastest_runs() {
        let fastest = Isa::available().last().unwrap();
        assert_eq!(choose(None), Ok(fastest));
        assert_eq!(choose(Some(OsStr::new(""))), Ok(fastest));
    }

    #[test]
    fn every_set_can_be_asked_for_by_name() {
        for isa in Isa::ALL {
            match choose(Some(OsStr::new(isa.name()))) {
                Ok(found) => assert!(found == isa && isa.is_available()),
                Err(error) => {
                    assert!(!isa.is_available());
                    let text = error.to_string();
                    assert!(text.contains("lacks these instructions"), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_name_that_nobody_knows_is_an_error_that_says_what_there_is() {
        let text = choose(Some(OsStr::new("AVX2"))).unwrap_err().to_string();
        assert!(text.starts_with("GRAVER_ISA=AVX2: there are no such kernels"));
        for isa in Isa::available() {
            assert!(text.contains(isa.name()), "{text}");
        }
    }
}

//! Every instruction set's micro-kernels against their scalar twins, which define them.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the largest differences, and what was skipped"
)]

mod arrays;
mod cache;
mod convert;
mod invariants;
mod maps;
mod matmul;
mod quant;
mod recurrent;
mod softmax;

use std::sync::LazyLock;

use graver_runtime::abi::KernelTable;
use graver_runtime::kernels::Width::Narrow;
use graver_runtime::kernels::{Choices, Isa, amx_emulated, table_for};

/// The kernels of one instruction set.
struct Set {
    isa: Isa,
    choices: Choices,
    /// On tiles that are emulated, whatever the processor has.
    emulated: bool,
}

impl Set {
    fn name(&self) -> String {
        let how = if self.emulated { ", emulated" } else { "" };
        format!("{}{how} with {:?}", self.isa.name(), self.choices)
    }
}

/// The sets this processor can run, the scalar one left out; says which it lacks.
fn sets() -> &'static [(Set, KernelTable)] {
    static SETS: LazyLock<Vec<(Set, KernelTable)>> = LazyLock::new(|| {
        let lacking = wide().filter(|isa| !isa.is_available());
        for isa in lacking {
            eprintln!("skipped: this processor lacks {}", isa.name());
        }
        of(|set| set.choices == Choices::usual())
    });
    &SETS
}

/// With every choice among products of floats, in the instruction sets that have their own.
fn float_sets() -> &'static [(Set, KernelTable)] {
    static SETS: LazyLock<Vec<(Set, KernelTable)>> = LazyLock::new(|| {
        of(|set| match set.isa {
            Isa::Scalar | Isa::AvxVnni | Isa::Avx512Vnni => false,
            Isa::Avx2 | Isa::Amx => set.choices.floats == Narrow,
            Isa::Avx512 => true,
        })
    });
    &SETS
}

/// The same for products of integers.
fn integer_sets() -> &'static [(Set, KernelTable)] {
    static SETS: LazyLock<Vec<(Set, KernelTable)>> = LazyLock::new(|| {
        of(|set| !matches!(set.isa, Isa::Scalar | Isa::Avx512) && set.choices.floats == Narrow)
    });
    &SETS
}

/// Sets for which `wanted` holds, of those that this processor can run; kernels for AMX on emulated tiles are among them.
fn of(wanted: impl Fn(&Set) -> bool) -> Vec<(Set, KernelTable)> {
    let own = wide().map(|isa| (isa, false));
    let all = own.chain([(Isa::Amx, true)]).flat_map(|(isa, emulated)| {
        Choices::all().map(move |choices| Set {
            isa,
            choices,
            emulated,
        })
    });
    let table = |set: Set| {
        let table = match set.emulated {
            true => amx_emulated(set.choices),
            false => table_for(set.isa, set.choices),
        };
        table.map(|table| (set, table))
    };
    all.filter(wanted).filter_map(table).collect()
}

fn wide() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| *isa != Isa::Scalar)
}

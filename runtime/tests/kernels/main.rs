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
use graver_runtime::kernels::{Choices, Isa, table_for};

/// The kernels of one instruction set.
struct Set {
    isa: Isa,
    choices: Choices,
}

impl Set {
    fn name(&self) -> String {
        format!("{} with {:?}", self.isa.name(), self.choices)
    }
}

/// The sets this processor can run, the scalar one left out; says which it lacks.
fn sets() -> &'static [(Set, KernelTable)] {
    static SETS: LazyLock<Vec<(Set, KernelTable)>> =
        LazyLock::new(|| of(|| vec![Choices::usual()]));
    &SETS
}

/// The same with every choice among their kernels: for tests of products, which alone are chosen among.
fn every_set() -> &'static [(Set, KernelTable)] {
    static SETS: LazyLock<Vec<(Set, KernelTable)>> =
        LazyLock::new(|| of(|| Choices::all().collect()));
    &SETS
}

fn of(choices: impl Fn() -> Vec<Choices>) -> Vec<(Set, KernelTable)> {
    let wide = Isa::ALL.into_iter().filter(|isa| *isa != Isa::Scalar);
    let (there, lacking): (Vec<_>, Vec<_>) = wide.partition(|isa| isa.is_available());
    for isa in lacking {
        eprintln!("skipped: this processor lacks {}", isa.name());
    }
    let all = there.into_iter().flat_map(|isa| {
        let sets = choices()
            .into_iter()
            .map(move |choices| Set { isa, choices });
        sets.filter_map(|set| table_for(set.isa, set.choices).map(|table| (set, table)))
    });
    all.collect()
}

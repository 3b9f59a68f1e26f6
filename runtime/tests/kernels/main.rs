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

use graver_runtime::abi::KernelTable;
use graver_runtime::kernels::{Isa, table_for};

/// The sets this processor can run, the scalar one left out; says which it lacks.
fn sets() -> Vec<(Isa, &'static KernelTable)> {
    let wide = Isa::ALL.into_iter().filter(|isa| *isa != Isa::Scalar);
    wide.filter_map(|isa| {
        let table = table_for(isa);
        if table.is_none() {
            eprintln!("skipped: this processor lacks {}", isa.name());
        }
        Some((isa, table?))
    })
    .collect()
}

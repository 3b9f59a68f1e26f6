//! Which kernels of a program a name means.
//!
//! A kernel is called by its place in the spec, `layers.dense.attention.q+k+v`, or by a part of that: `attention.q+k+v`, `q+k+v`.

use crate::codegen::Planned;
use crate::spec::nearest;

/// A kernel of a program, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its block.
    pub block: usize,
    /// Its place among the kernels of the block.
    pub kernel: usize,
}

/// A name of no kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kernel named `{name}`{}; there are {}", hint(nearest), known.join(", "))]
pub struct UnknownKernel {
    name: String,
    nearest: Option<String>,
    known: Vec<String>,
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|n| format!(" (did you mean `{n}`?)"))
        .unwrap_or_default()
}

/// The kernels that `name` means: those at exactly that place, or else those in whose place it is.
///
/// # Errors
/// A name that is in no kernel's place.
pub fn kernels(planned: &Planned, name: &str) -> Result<Vec<Chosen>, UnknownKernel> {
    let places = places(planned);
    let tests: [&dyn Fn(&str) -> bool; 3] = [
        &|place| place == name,
        &|place| place.ends_with(&format!(".{name}")),
        &|place| place.contains(name),
    ];
    let such = |test: &dyn Fn(&str) -> bool| -> Vec<Chosen> {
        let found = places.iter().filter(|(_, place)| test(place));
        found.map(|(chosen, _)| *chosen).collect()
    };
    let found = tests.into_iter().map(such).find(|found| !found.is_empty());
    found.ok_or_else(|| {
        let known: Vec<String> = places.into_iter().map(|(_, place)| place).collect();
        UnknownKernel {
            name: name.into(),
            nearest: nearest(name, known.iter().map(String::as_str)),
            known,
        }
    })
}

/// All kernels with their places in the spec.
fn places(planned: &Planned) -> Vec<(Chosen, String)> {
    let mut out = vec![];
    for (block, schedule) in planned.schedule.blocks.iter().enumerate() {
        let prefix = planned.program.place(block);
        for (kernel, k) in schedule.kernels.iter().enumerate() {
            out.push((Chosen { block, kernel }, format!("{prefix}.{}", k.name)));
        }
    }
    out
}

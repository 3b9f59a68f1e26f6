//! What a stage made, as text: the same for `inspect --emit` and for tests.
//!
//! In: the name of a stage, and a bound model or a planned program. Out: text. Nothing here decides anything.

mod bound;
mod excerpts;

use std::fmt;
use std::str::FromStr;

use crate::artifact::{ListingError, listings};
use crate::codegen::{Listing, Planned};
use crate::disasm;
use crate::driver::{CompileOptions, Loaded, Part};
use crate::graph::{ProgramKind, dot};
use crate::history::History;
use crate::passes::{self, PASSES, PassOptions};
use crate::select::{self, Chosen, UnknownKernel};
use crate::shard::RanksError;
use crate::spec::nearest;

/// A stage whose result can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpStage {
    /// The bound spec: every expression evaluated, every layer's kind chosen.
    Spec,
    /// The graph after all enabled passes, or after the first so many of the list.
    Graph(Option<usize>),
    /// Kernels, chunks and barriers.
    Schedule,
    /// Buffers, offsets and lifetimes.
    Memory,
    /// Cranelift's intermediate form of every function.
    Clif,
    /// Machine code of every function.
    Asm,
    /// The graph after all enabled passes as a Graphviz drawing.
    Dot,
}

/// The names of stages, as messages list them.
const NAMES: [&str; 8] = [
    "spec",
    "graph",
    "graph:<pass>",
    "schedule",
    "memory",
    "clif",
    "asm",
    "dot",
];

/// A name of no stage, or of no pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {what} named `{name}`{}; there are {}", hint(nearest), known.join(", "))]
pub struct UnknownStage {
    what: &'static str,
    name: String,
    nearest: Option<String>,
    known: Vec<&'static str>,
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|n| format!(" (did you mean `{n}`?)"))
        .unwrap_or_default()
}

impl UnknownStage {
    fn new(what: &'static str, name: &str, known: Vec<&'static str>) -> UnknownStage {
        let (name, nearest) = (name.to_string(), nearest(name, known.iter().copied()));
        UnknownStage {
            what,
            name,
            nearest,
            known,
        }
    }
}

impl FromStr for DumpStage {
    type Err = UnknownStage;

    fn from_str(name: &str) -> Result<DumpStage, UnknownStage> {
        if let Some(pass) = name.strip_prefix("graph:") {
            let at = PASSES.iter().position(|p| p.name == pass);
            let names = || PASSES.iter().map(|p| p.name).collect();
            return at
                .map(|i| DumpStage::Graph(Some(i + 1)))
                .ok_or_else(|| UnknownStage::new("pass", pass, names()));
        }
        match name {
            "spec" => Ok(DumpStage::Spec),
            "graph" => Ok(DumpStage::Graph(None)),
            "schedule" => Ok(DumpStage::Schedule),
            "memory" => Ok(DumpStage::Memory),
            "clif" => Ok(DumpStage::Clif),
            "asm" => Ok(DumpStage::Asm),
            "dot" => Ok(DumpStage::Dot),
            other => Err(UnknownStage::new("stage", other, NAMES.to_vec())),
        }
    }
}

impl fmt::Display for DumpStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DumpStage::Spec => f.write_str("spec"),
            DumpStage::Graph(Some(n)) if (1..=PASSES.len()).contains(n) => {
                write!(f, "graph:{}", PASSES[n - 1].name)
            }
            DumpStage::Graph(_) => f.write_str("graph"),
            DumpStage::Schedule => f.write_str("schedule"),
            DumpStage::Memory => f.write_str("memory"),
            DumpStage::Clif => f.write_str("clif"),
            DumpStage::Asm => f.write_str("asm"),
            DumpStage::Dot => f.write_str("dot"),
        }
    }
}

/// Why a stage has no text.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// Machine code for a processor that code cannot be made for.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// Ranks that there cannot be.
    #[error(transparent)]
    Ranks(#[from] RanksError),
    /// A name of no kernel.
    #[error("--kernel: {0}")]
    Kernel(#[from] UnknownKernel),
    /// The spec, of which no kernel has a part.
    #[error("--kernel chooses among kernels, and a spec has none yet: drop it with --emit spec")]
    NoKernels,
}

/// The text of a stage of a part of a model, for one of its programs, or, of the kernels that `kernel` names, their part of it; it needs
/// no weights. All parts have one spec.
///
/// # Errors
/// Machine code for a processor that code cannot be made for, parts that there are not, and names of no kernel.
pub fn dump(
    (loaded, part): (&Loaded, Part),
    options: &CompileOptions,
    kind: ProgramKind,
    what: DumpStage,
    kernel: Option<&str>,
) -> Result<String, DumpError> {
    if what == DumpStage::Spec {
        return match kernel {
            Some(_) => Err(DumpError::NoKernels),
            None => Ok(bound::spec(&loaded.model)),
        };
    }
    let [decode, prefill] = part.plain_programs(loaded, options.cache)?;
    let plain = match kind {
        ProgramKind::Decode => decode,
        ProgramKind::Prefill => prefill,
    };
    let history = History::of(plain, &options.passes);
    let chosen = kernel
        .map(|name| select::kernels(&history.planned, name))
        .transpose()?;
    let text = match (what, chosen) {
        (DumpStage::Graph(limit), chosen) => {
            let passes = PassOptions {
                limit: limit.into_iter().chain(options.passes.limit).min(),
                ..options.passes.clone()
            };
            let mut program = history.before.clone();
            passes::run(&mut program, &passes);
            match chosen {
                None => program.to_string(),
                Some(chosen) => excerpts::graph(&program, &history, &chosen),
            }
        }
        (DumpStage::Schedule, Some(chosen)) => excerpts::schedule(&history, &chosen),
        (DumpStage::Memory, Some(chosen)) => excerpts::memory(&history, &chosen),
        (DumpStage::Dot, chosen) => excerpts::dot(&history, chosen.as_deref()),
        (DumpStage::Clif | DumpStage::Asm, chosen) => {
            let functions = listings(&history.planned, &options.target)?;
            let is_wanted = |l: &Listing| match (&chosen, l.kernel) {
                (None, _) => true,
                (Some(chosen), Some((block, kernel))) => chosen.contains(&Chosen { block, kernel }),
                (Some(_), None) => false,
            };
            let texts = functions
                .iter()
                .filter(|l| is_wanted(l))
                .map(|l| match what {
                    DumpStage::Clif => format!("; {}\n{}", l.name, l.clif),
                    _ => disasm::text(&l.name, &l.code),
                });
            texts.collect::<Vec<_>>().join("\n")
        }
        (other, _) => other.of_planned(&history.planned).unwrap_or_default(),
    };
    Ok(text)
}

impl DumpStage {
    /// The text of a stage that is part of a plan: its graph is the one that was scheduled. `None` for the others.
    pub fn of_planned(self, planned: &Planned) -> Option<String> {
        match self {
            DumpStage::Graph(_) => Some(planned.program.to_string()),
            DumpStage::Schedule => Some(planned.schedule.to_string()),
            DumpStage::Memory => Some(planned.memory.text(&planned.program)),
            DumpStage::Dot => Some(dot(&planned.program, &|_, _| Some(vec![]))),
            DumpStage::Spec | DumpStage::Clif | DumpStage::Asm => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_reads_back_and_others_get_the_nearest_name() {
        let concrete = NAMES.map(|n| n.replace("<pass>", PASSES[0].name));
        for name in concrete {
            assert_eq!(name.parse::<DumpStage>().unwrap().to_string(), name);
        }
        let said = |name: &str| name.parse::<DumpStage>().unwrap_err().to_string();
        assert_eq!(
            said("shedule"),
            "no stage named `shedule` (did you mean `schedule`?); there are spec, graph, graph:<pass>, schedule, \
             memory, clif, asm, dot"
        );
        let passes = "no pass named `dead-node` (did you mean `dead-nodes`?); there are ";
        assert!(said("graph:dead-node").starts_with(passes));
    }
}

//! What a stage made, as text: the same for `inspect --emit` and for tests.
//!
//! In: the name of a stage, and a bound model or a planned program. Out: text. Nothing here decides anything.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::artifact::{ListingError, listings};
use crate::codegen::{Instruments, Listing, Planned};
use crate::driver::{CompileOptions, Loaded, plain_program, plan_program};
use crate::graph::{ProgramKind, dot};
use crate::passes::{self, PASSES, PassOptions};
use crate::spec::model::Model;
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
#[error("no {what} is called `{name}`{}; there are {}", hint(nearest), known.join(", "))]
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

/// The text of a stage of a model's program; it needs no weights.
///
/// # Errors
/// Machine code for a processor that code cannot be made for.
pub fn dump(
    loaded: &Loaded,
    options: &CompileOptions,
    kind: ProgramKind,
    what: DumpStage,
) -> Result<String, ListingError> {
    if what == DumpStage::Spec {
        return Ok(bound_spec(&loaded.model));
    }
    let mut program = plain_program(loaded, kind, options.cache);
    if let DumpStage::Graph(limit) = what {
        let limit = limit.into_iter().chain(options.passes.limit).min();
        let passes = PassOptions {
            limit,
            ..options.passes.clone()
        };
        passes::run(&mut program, &passes);
        return Ok(program.to_string());
    }
    let planned = plan_program(program, &options.passes, Instruments::default()).0;
    if let Some(text) = what.of_planned(&planned) {
        return Ok(text);
    }
    let text = |l: Listing| {
        let body = if what == DumpStage::Clif {
            l.clif
        } else {
            l.asm.unwrap_or_default()
        };
        format!("; {}\n{body}", l.name)
    };
    let functions = listings(&planned, &options.target)?;
    Ok(functions
        .into_iter()
        .map(text)
        .collect::<Vec<_>>()
        .join("\n"))
}

impl DumpStage {
    /// The text of a stage that is part of a plan: its graph is the one that was scheduled. `None` for the others.
    pub fn of_planned(self, planned: &Planned) -> Option<String> {
        match self {
            DumpStage::Graph(_) => Some(planned.program.to_string()),
            DumpStage::Schedule => Some(planned.schedule.to_string()),
            DumpStage::Memory => Some(planned.memory.text(&planned.program)),
            DumpStage::Dot => Some(dot(&planned.program)),
            DumpStage::Spec | DumpStage::Clif | DumpStage::Asm => None,
        }
    }
}

/// A bound spec as JSON, what is absent or false left out.
fn bound_spec(model: &Model) -> String {
    // By way of text, which has the shortest digits that give back each float32; a value would have the widened ones.
    let text = serde_json::to_string(model).unwrap_or_default();
    let value = serde_json::from_str(&text).unwrap_or_default();
    let mut out = String::new();
    write_json(&without_absent(value), 0, 0, &mut out);
    out + "\n"
}

fn without_absent(value: Value) -> Value {
    let absent = |v: &Value| match v {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Object(_) => false,
    };
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, v)| !absent(v));
            Value::Object(kept.map(|(k, v)| (k, without_absent(v))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_absent).collect()),
        other => other,
    }
}

/// Columns of a line.
const WIDTH: usize = 120;

/// JSON on as few lines as fit, so that a weight or a norm is a line and not ten; `column` is where it begins.
fn write_json(value: &Value, indent: usize, column: usize, out: &mut String) {
    let line = on_one_line(value);
    if column + line.len() < WIDTH {
        return out.push_str(&line);
    }
    let (open, close, parts): (char, char, Vec<(String, &Value)>) = match value {
        Value::Object(map) => {
            let parts = map.iter().map(|(k, v)| (format!("{k:?}: "), v));
            ('{', '}', parts.collect())
        }
        Value::Array(list) => {
            let parts = list.iter().map(|v| (String::new(), v));
            ('[', ']', parts.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return out.push_str(&line);
        }
    };
    out.push(open);
    for (i, (key, v)) in parts.iter().enumerate() {
        out.push_str(&format!("\n{:1$}{key}", "", indent + 2));
        write_json(v, indent + 2, indent + 2 + key.len(), out);
        out.push_str(if i + 1 < parts.len() { "," } else { "" });
    }
    out.push_str(&format!("\n{:1$}{close}", "", indent));
}

fn on_one_line(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Object(map) => {
            let parts = map
                .iter()
                .map(|(k, v)| format!("{k:?}: {}", on_one_line(v)));
            format!("{{ {} }}", join(parts.collect()))
        }
        Value::Array(list) => format!("[{}]", join(list.iter().map(on_one_line).collect())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
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
            "no stage is called `shedule` (did you mean `schedule`?); there are spec, graph, graph:<pass>, schedule, \
             memory, clif, asm, dot"
        );
        let passes = "no pass is called `dead-node` (did you mean `dead-nodes`?); there are ";
        assert!(said("graph:dead-node").starts_with(passes));
    }
}

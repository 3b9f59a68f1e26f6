//! What the fuzz targets check, as plain functions of bytes: `tests/fuzz` calls them with what libFuzzer draws, and
//! `tests/fuzz_regressions.rs` with the seeds and with every input that was ever a finding.
//!
//! A check returns if all is well and panics if not. Whatever the bytes are, it takes little memory and well under ten
//! seconds. Inputs that are text are taken as they are; those that stand for a series of choices are read by [`Choices`].

pub mod appendix;
pub mod checkpoint;
pub mod choices;
pub mod expressions;
pub mod gguf_header;
pub mod graph_text;
mod json;
mod run;
pub mod safetensors_header;
pub mod session_ops;
pub mod spec_step;
pub mod tokenizer_stream;

use std::path::{Path, PathBuf};

pub use choices::Choices;
use graver::spec::builtin_names;
use serde_json::Value;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its file in `tests/fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Panics where something is wrong with what the bytes stand for.
    pub check: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets, the quickest first.
pub const TARGETS: [Target; 9] = [
    Target {
        name: "expressions",
        check: expressions::check,
        seeds: expressions::seeds,
    },
    Target {
        name: "graph_text",
        check: graph_text::check,
        seeds: graph_text::seeds,
    },
    Target {
        name: "safetensors_header",
        check: safetensors_header::check,
        seeds: safetensors_header::seeds,
    },
    Target {
        name: "gguf_header",
        check: gguf_header::check,
        seeds: gguf_header::seeds,
    },
    Target {
        name: "appendix",
        check: appendix::check,
        seeds: appendix::seeds,
    },
    Target {
        name: "tokenizer_stream",
        check: tokenizer_stream::check,
        seeds: tokenizer_stream::seeds,
    },
    Target {
        name: "spec_step",
        check: spec_step::check,
        seeds: spec_step::seeds,
    },
    Target {
        name: "checkpoint",
        check: checkpoint::check,
        seeds: checkpoint::seeds,
    },
    Target {
        name: "session_ops",
        check: session_ops::check,
        seeds: session_ops::seeds,
    },
];

/// Names a folder that a target's seeds are to be written to, instead of fuzzing.
const SEEDS: &str = "GRAVER_FUZZ_SEEDS";

/// Inputs that were findings once, in a folder for each target.
pub fn regressions(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/regressions")
        .join(target)
}

/// What a fuzz target does before its first input: where `GRAVER_FUZZ_SEEDS` names a folder, writes the target's seeds to it
/// and ends the process.
///
/// # Panics
/// For a name that is no target's, and where the folder cannot be written.
pub fn begin(name: &str) {
    let target = TARGETS.iter().find(|t| t.name == name);
    let target = target.unwrap_or_else(|| panic!("{name} is not in the list of targets"));
    if let Some(folder) = std::env::var_os(SEEDS) {
        let folder = PathBuf::from(folder);
        std::fs::create_dir_all(&folder).expect("a folder for seeds");
        for (i, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{i:04}")), seed).expect("a seed");
        }
        std::process::exit(0);
    }
}

/// Name and JSON of every built-in spec.
fn spec_texts() -> impl Iterator<Item = (&'static str, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs");
    builtin_names().into_iter().map(move |name| {
        let text = std::fs::read(folder.join(format!("{name}.json"))).expect("a built-in spec");
        (
            name,
            serde_json::from_slice(&text).expect("a built-in spec"),
        )
    })
}

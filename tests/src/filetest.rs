//! Filetests: one text file holds options, input and expectation.
//!
//! ```text
//! pass merge-projections decode
//! # Queries and keys read the same input.
//! …graph text…
//! ---
//! …what is expected…
//! ```
//!
//! The first line is a command with its words; lines with `#` say what the file is about. `BLESS=1` in the environment
//! rewrites the expectations instead of comparing with them. The commands are those of `evaluate`.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use graver::codegen::Instruments;
use graver::driver::plan_program;
use graver::dump::DumpStage;
use graver::graph::{self, Graph, Program, ProgramKind};
use graver::passes::{self, PASSES, Pass, PassOptions};
use graver::shard::{Division, Method, Sharding};

use crate::programs::around;

/// Stands between input and expectation.
const RULE: &str = "\n---\n";

/// A file in its three parts.
struct FileTest {
    path: PathBuf,
    /// The first line, in words.
    command: Vec<String>,
    /// Everything before the expectation, as it stands in the file.
    head: String,
    expected: String,
}

impl FileTest {
    fn open(path: &Path) -> FileTest {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (head, expected) = text.split_once(RULE).unwrap_or((text.trim_end(), ""));
        let first = head.lines().next().unwrap_or_default();
        FileTest {
            path: path.into(),
            command: first.split_whitespace().map(String::from).collect(),
            head: head.into(),
            expected: expected.trim_end().into(),
        }
    }

    fn input(&self) -> &str {
        self.head.split_once('\n').map_or("", |(_, rest)| rest)
    }

    /// What is wrong, if anything.
    fn check(&self) -> Option<String> {
        let words: Vec<&str> = self.command.iter().map(String::as_str).collect();
        let found = match evaluate(&words, self.input()) {
            Ok(found) => found.trim_end().to_string(),
            Err(why) => return Some(format!("{}: {why}", self.path.display())),
        };
        if std::env::var_os("BLESS").is_some() {
            let text = format!("{}{RULE}{found}\n", self.head.trim_end());
            std::fs::write(&self.path, text).expect("a writable file");
            return None;
        }
        (found != self.expected).then(|| self.difference(&found))
    }

    fn difference(&self, found: &str) -> String {
        let (mut old, mut new) = (self.expected.lines(), found.lines());
        let mut out = format!("{} (BLESS=1 rewrites it):\n", self.path.display());
        loop {
            match (old.next(), new.next()) {
                (None, None) => return out,
                (a, b) if a == b => out.push_str(&format!("    {}\n", a.unwrap_or_default())),
                (a, b) => {
                    out.extend(a.map(|a| format!("  - {a}\n")));
                    out.extend(b.map(|b| format!("  + {b}\n")));
                }
            }
        }
    }
}

/// Where the files are: a folder for each area.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests")
}

/// The files of an area, by name.
pub fn files(area: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join(area)).expect("the area's folder");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "txt"));
    files.sort();
    files
}

/// The inputs of an area's files, without command and expectation.
pub fn inputs(area: &str) -> Vec<Vec<u8>> {
    let files = files(area).into_iter();
    files
        .map(|f| FileTest::open(&f).input().as_bytes().to_vec())
        .collect()
}

/// Checks (or, with `BLESS=1`, rewrites) every file of an area.
///
/// # Panics
/// With the differences of all files that differ.
pub fn check_area(area: &str) {
    let files = files(area);
    assert!(!files.is_empty(), "no files in {area}");
    let wrong: Vec<String> = files
        .iter()
        .filter_map(|f| FileTest::open(f).check())
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} differ\n\n{}",
        wrong.len(),
        files.len(),
        wrong.join("\n")
    );
}

/// The result of a command on an input.
///
/// - `pass NAME decode|prefill`: every site with its outcome, then the graph afterwards;
/// - `shard RANKS RANK`: every product that ranks could share, then the graph and the weights of one of them; with `expert` behind it,
///   where experts are dealt out whole;
/// - `verify`: the message of the parser or the verifier, or `valid`;
/// - a stage of [`DumpStage`] and `decode|prefill`: what `inspect --emit` shows of it, nothing fused.
fn evaluate(command: &[&str], input: &str) -> Result<String, String> {
    match command {
        ["pass", name, kind] => run_pass(pass(name)?, input, word(kind)?),
        ["shard", ranks, rank] => shard(input, word::<usize>(ranks)?.into(), word(rank)?),
        ["shard", ranks, rank, "expert"] => {
            let (ranks, method) = (word(ranks)?, Method::Expert);
            shard(input, Division { ranks, method }, word(rank)?)
        }
        ["verify"] => Ok(verify(input)),
        [stage, kind] => emit_block(word(stage)?, around(read(input)?, word(kind)?)),
        other => Err(format!("no command reads `{}`", other.join(" "))),
    }
}

fn word<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: T::Err| e.to_string())
}

fn pass(name: &str) -> Result<&'static Pass, String> {
    let found = PASSES.iter().find(|p| p.name == name);
    found.ok_or_else(|| format!("no pass named {name}"))
}

fn read(input: &str) -> Result<Graph, String> {
    let graph = graph::parse(input).map_err(|e| e.to_string())?;
    graph::verify(&graph).map_err(|e| e.to_string())?;
    Ok(graph)
}

fn run_pass(pass: &Pass, input: &str, kind: ProgramKind) -> Result<String, String> {
    let mut graph = read(input)?;
    let candidates = passes::run_alone(pass, &mut graph, kind);
    let mut out: String = candidates.iter().map(|c| format!("{c}\n")).collect();
    if out.is_empty() {
        out.push_str("no site\n");
    }
    Ok(out + &graph.to_string())
}

fn shard(input: &str, division: Division, rank: usize) -> Result<String, String> {
    let program = around(read(input)?, ProgramKind::Decode);
    let sharding = Sharding::plan(&program, division).map_err(|e| e.to_string())?;
    let products = sharding.products(&program).into_iter();
    let products =
        products.filter_map(|p| Some((p.at.strip_prefix("layers.layer.")?.to_string(), p.outcome)));
    let mut out: String = products
        .map(|(at, outcome)| match outcome {
            Ok(what) => format!("shared {at}: {what}\n"),
            Err(why) => format!("whole {at}: {why}\n"),
        })
        .collect();
    let part = sharding.rank(&program, rank);
    let graph = &part.program.blocks[1].graph;
    for (weight, share) in graph.weights.iter().zip(&part.shares[1]) {
        out += &format!("@{}: {share}\n", weight.slot);
    }
    Ok(out + &graph.to_string())
}

fn verify(input: &str) -> String {
    read(input).map_or_else(|why| why, |_| "valid".into())
}

/// What a stage shows of the block under test; the two around it are cut away.
fn emit_block(stage: DumpStage, program: Program) -> Result<String, String> {
    let plain = PassOptions {
        no_fuse: true,
        ..PassOptions::default()
    };
    let mut planned = plan_program(program, &plain, Instruments::default()).0;
    planned.program.blocks = planned.program.blocks.drain(1..2).collect();
    planned.schedule.blocks = planned.schedule.blocks.drain(1..2).collect();
    planned.memory.blocks = planned.memory.blocks.drain(1..2).collect();
    planned.memory.workspaces = planned.memory.workspaces.drain(1..2).collect();
    let text = stage.of_planned(&planned);
    text.ok_or_else(|| format!("{stage} needs more than a graph"))
}

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
//! rewrites the expectations instead of comparing with them. The commands are those of [`evaluate`].

use std::path::{Path, PathBuf};

use graver::graph::{self, Block, Dim, Graph, Op, Program, ProgramKind};
use graver::passes::{self, PASSES, Pass};
use graver::{memory, schedule};

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
/// - `verify`: the message of the parser or the verifier, or `valid`;
/// - `schedule decode|prefill`: the kernels;
/// - `memory decode|prefill`: the buffers.
fn evaluate(command: &[&str], input: &str) -> Result<String, String> {
    match command {
        ["pass", name, kind] => run_pass(pass(name)?, input, program_kind(kind)?),
        ["verify"] => Ok(verify(input)),
        ["schedule", kind] => schedule_text(input, program_kind(kind)?),
        ["memory", kind] => memory_text(input, program_kind(kind)?),
        other => Err(format!("no command reads `{}`", other.join(" "))),
    }
}

fn pass(name: &str) -> Result<&'static Pass, String> {
    PASSES
        .iter()
        .find(|p| p.name == name)
        .ok_or_else(|| format!("no pass is called {name}"))
}

fn program_kind(word: &str) -> Result<ProgramKind, String> {
    match word {
        "decode" => Ok(ProgramKind::Decode),
        "prefill" => Ok(ProgramKind::Prefill),
        other => Err(format!("{other} is neither decode nor prefill")),
    }
}

fn read(input: &str) -> Result<Graph, String> {
    let graph = graph::parse(input).map_err(|e| e.to_string())?;
    graph::verify(&graph).map_err(|e| e.to_string())?;
    Ok(graph)
}

fn run_pass(pass: &Pass, input: &str, kind: ProgramKind) -> Result<String, String> {
    let mut program = around(read(input)?, kind);
    let report = passes::run_pass(pass, &mut program);
    let mut out = String::new();
    for (_, site) in report.sites.iter().filter(|(block, _)| block == BLOCK) {
        out.push_str(&format!("{site}\n"));
    }
    if out.is_empty() {
        out.push_str("no site\n");
    }
    Ok(out + &program.blocks[1].graph.to_string())
}

fn verify(input: &str) -> String {
    read(input).map_or_else(|why| why, |_| "valid".into())
}

fn schedule_text(input: &str, kind: ProgramKind) -> Result<String, String> {
    let mut program = around(read(input)?, kind);
    let mut plan = schedule::schedule(&mut program);
    plan.blocks.retain(|b| b.name == BLOCK);
    Ok(plan.to_string())
}

fn memory_text(input: &str, kind: ProgramKind) -> Result<String, String> {
    let mut program = around(read(input)?, kind);
    let schedule = schedule::schedule(&mut program);
    let mut plan = memory::plan(&program, &schedule);
    program.blocks = vec![program.blocks.swap_remove(1)];
    plan.blocks = vec![plan.blocks.swap_remove(1)];
    plan.workspaces = vec![plan.workspaces.swap_remove(1)];
    Ok(plan.text(&program))
}

/// Name of the block that the input is.
const BLOCK: &str = "layer";

/// A program whose only layer is `graph`: the block before it hands on what it takes.
fn around(graph: Graph, kind: ProgramKind) -> Program {
    let mut before = Graph::default();
    for id in graph.order() {
        if let Op::Input(name) = graph.op(id) {
            let input = before.add_input(name, graph.shape(id).clone());
            before.outputs.push((name.clone(), input));
        }
    }
    let mut after = Graph::default();
    let logits = after.add_input("h", vec![Dim::Tokens, Dim::Const(1)]);
    after.outputs.push(("logits".into(), logits));
    let block = |name: &str, graph| Block {
        name: name.into(),
        graph,
    };
    Program {
        kind,
        blocks: vec![
            block("before", before),
            block(BLOCK, graph),
            block("after", after),
        ],
        sources: vec![None],
        layers: vec![1],
        ropes: vec![],
    }
}

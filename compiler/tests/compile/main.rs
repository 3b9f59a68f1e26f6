//! `graver compile` from outside: executables, shared libraries and objects, what they print, and what goes wrong.
#![allow(clippy::print_stderr, reason = "tests that cannot run here say so")]

mod damage;
mod errors;
mod executable;
mod external;
mod library;
mod memory;
mod modes;
mod names;
mod output;
mod own_file;
#[path = "../../../tests/src/share.rs"]
#[allow(unreachable_pub, reason = "it is a module of the library of tests")]
mod share;
#[path = "../shared/talking.rs"]
mod talking;
mod tokenizers;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{PoisonError, RwLock};

use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
const GRAVER: &str = env!("CARGO_BIN_EXE_graver");

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The committed model that was trained on the King James Bible.
fn bible() -> PathBuf {
    root().join("compiler/model")
}

/// A trained model that may lie beside the repository.
fn stories() -> Option<PathBuf> {
    let folder = root().join("../shared/models/stories260k");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: {} is not there", folder.display());
    None
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Runs a program that has to succeed; returns what it prints.
fn ok<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S]) -> String {
    let output = run(program, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program that has to fail in an orderly way; returns its complaint.
fn fails<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S]) -> String {
    complaint(&run(program, arguments))
}

fn complaint(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S]) -> Output {
    output(Command::new(program).args(arguments))
}

/// Held by those who write programs, and by those who start any: a child that is being started holds all files that are
/// open, and a program that somebody holds open for writing cannot be run.
static PROGRAMS: RwLock<()> = RwLock::new(());

/// Runs a command to its end.
fn output(command: &mut Command) -> Output {
    start(piped(command)).wait_with_output().unwrap()
}

/// Nothing comes in, and all that goes out is kept.
fn piped(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}

fn start(command: &mut Command) -> Child {
    start_if_there(command).unwrap()
}

/// Every program is started here.
fn start_if_there(command: &mut Command) -> io::Result<Child> {
    let _starting = PROGRAMS.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Writes a file that can be run.
fn write_program(path: &Path, contents: &[u8]) {
    let _writing = PROGRAMS.write().unwrap_or_else(PoisonError::into_inner);
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Compiles a model to `out`, with further arguments.
fn compile(model: &Path, out: &Path, arguments: &[&str]) -> String {
    let mut all: Vec<&OsStr> = vec![
        "compile".as_ref(),
        model.as_ref(),
        "-o".as_ref(),
        out.as_ref(),
    ];
    all.extend(arguments.iter().map(OsStr::new));
    ok(GRAVER, &all)
}

/// Names of what lies in a folder, sorted.
fn listing(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What `transformers` goes on with after some prompts to the committed model.
struct Continuation {
    prompt: String,
    ids: Vec<u32>,
    greedy_ids: Vec<u32>,
    text: String,
}

fn continuations() -> Vec<Continuation> {
    let file = fs::read(root().join("tests/fixtures/embedded-model.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&file).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let ids = |value: &Value| serde_json::from_value(value.clone()).unwrap();
    let cases: Vec<Continuation> = cases
        .iter()
        .map(|case| Continuation {
            prompt: text(&case["prompt"]),
            ids: ids(&case["ids"]),
            greedy_ids: ids(&case["greedy_ids"]),
            text: text(&case["text"]),
        })
        .collect();
    assert!(cases.len() >= 3);
    cases
}

fn comma(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    ids.join(",")
}

//! The `graver` program from outside: what it prints, where, and with which exit code.
#![allow(clippy::print_stderr, reason = "tests that cannot run here say so")]

mod chat;
mod checkpoints;
mod errors;
mod gguf;
mod hardened;
mod hints;
mod inspect;
mod options;
mod output;
mod perplexity;
mod readme;
mod report;
mod run;
mod serve;
mod terminal;
mod tune;
mod verify;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a run of the program left.
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs `graver` with arguments separated by spaces.
fn graver(args: &str) -> Run {
    graver_with(&args.split_whitespace().collect::<Vec<_>>())
}

fn graver_with(args: &[&str]) -> Run {
    graver_in(Path::new("."), args)
}

/// Runs it in a folder.
fn graver_in(folder: &Path, args: &[impl AsRef<OsStr>]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_graver"));
    command
        .args(args)
        .current_dir(folder)
        .env_remove("RUST_BACKTRACE");
    Run::of(command.output().expect("graver runs"))
}

impl Run {
    fn of(output: Output) -> Run {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Run {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Standard output of a run that succeeded.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// The message of a run that failed as commands do: one line, nothing on standard output.
    #[track_caller]
    fn refused(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        assert_eq!(self.out, "");
        let message = self
            .err
            .strip_prefix("error: ")
            .unwrap_or_else(|| panic!("{}", self.err));
        message.trim_end().to_string()
    }
}

/// A folder of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn fixture(name: &str) -> String {
    repository("tests/fixtures")
        .join(name)
        .display()
        .to_string()
}

/// As in `graver explain qwen3 | head -1`.
#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_graver"))
        .args(["inspect", "qwen3", "--emit", "clif"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("graver runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

//! Output that is lost is an error, on every command and wherever it goes; a reader that leaves is none.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use graver_runtime::kernels::{Isa, VARIABLE};
use tempfile::TempDir;

/// One command of each way to print.
const SOME: [&str; 5] = [
    "run --tokens 1,2 -n 2 --temp 0 -t 1",
    "specs",
    "inspect llama --emit graph",
    "compile llama -o OUT/llama",
    "--help",
];
/// Commands that print a result, in every form they have; `OUT` is a folder to write to.
const COMMANDS: [&str; 23] = [
    "run --tokens 1,2 -n 2 --temp 0 -t 1",
    "run --tokens 1,2 -n 2 --temp 0 -t 1 --json",
    "run --tokens 1,2 -n 2 --temp 0 -t 1 --print-tokens -q",
    "specs",
    "specs llama",
    "specs --json",
    "explain llama",
    "explain llama --json",
    "inspect llama",
    "inspect llama --json",
    "inspect llama --compare qwen3",
    "inspect llama --emit graph",
    "inspect llama --emit dot",
    "inspect llama --emit asm",
    "bench llama --prompt 8 --gen 0 --rounds 1 -t 1",
    "bench llama --prompt 8 --gen 0 --rounds 1 -t 1 --json",
    "bench llama --prompt 8 --gen 0 --rounds 1 -t 1 --markdown",
    "verify llama --tokens 9 --quantize q8 -t 1",
    "compile llama -o OUT/llama",
    "report llama -o OUT/report.html -t 1",
    "tune -t 1",
    "--help",
    "run --help",
];

fn graver(args: &str, folder: &Path) -> Command {
    let args = args.replace("OUT", folder.to_str().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_graver"));
    command
        .args(args.split_whitespace())
        .env_remove("RUST_BACKTRACE")
        .stderr(Stdio::piped());
    command
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[track_caller]
fn assert_lost(args: &str, output: &Output, reason: &str) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args}: {err}");
    let start = format!("error: cannot write the output: {reason}");
    let said = err.lines().filter(|line| line.starts_with(&start)).count();
    assert_eq!(said, 1, "{args}: {err}");
    assert!(!err.contains("internal error"), "{args}: {err}");
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let folder = TempDir::new().unwrap();
    for args in COMMANDS {
        let output = graver(args, folder.path()).stdout(full()).output().unwrap();
        assert_lost(args, &output, "No space left on device");
    }
}

#[test]
fn a_standard_output_that_is_closed_is_an_error() {
    let folder = TempDir::new().unwrap();
    for args in SOME {
        let mut shell = Command::new("sh");
        let graver = env!("CARGO_BIN_EXE_graver");
        let args = args.replace("OUT", folder.path().to_str().unwrap());
        let output = shell
            .args(["-c", &format!("exec '{graver}' {args} >&-")])
            .output()
            .unwrap();
        assert_lost(&args, &output, "Bad file descriptor");
    }
}

/// As in `graver specs 1< file`.
#[test]
fn a_standard_output_that_is_only_readable_is_an_error() {
    let folder = TempDir::new().unwrap();
    for args in [
        "specs",
        "run --tokens 1,2 -n 2 --temp 0",
        "--help",
        "--version",
    ] {
        let null = File::open("/dev/null").unwrap();
        let output = graver(args, folder.path()).stdout(null).output().unwrap();
        assert_lost(args, &output, "Bad file descriptor");
    }
}

#[test]
fn the_version_says_which_kernels_run() {
    let version = |isa: &str| {
        let mut command = graver("--version", Path::new("."));
        command.env(VARIABLE, isa);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    for isa in Isa::available() {
        let expected = format!(" (target: {}, kernels: {})\n", graver::TARGET, isa.name());
        assert!(version(isa.name()).ends_with(&expected));
    }
    let fastest = Isa::available().last().unwrap();
    assert_eq!(version(""), version(fastest.name()));
    assert!(version("sse9").contains("there are no such kernels"));
}

#[test]
fn readers_that_leave_hear_no_complaint() {
    let folder = TempDir::new().unwrap();
    for args in SOME {
        let mut child = graver(args, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            !err.contains("error") && !err.contains("panic"),
            "{args}: {err}"
        );
    }
}

/// Errors themselves may go nowhere: the exit code is all that is left then.
#[test]
fn a_full_disk_behind_standard_error_changes_no_exit_code() {
    let folder = TempDir::new().unwrap();
    for (args, expected) in [("run llamma", 1), ("specs llama", 0), ("run --temp -1", 2)] {
        let output = graver(args, folder.path())
            .stdout(Stdio::null())
            .stderr(full())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(expected), "{args}");
    }
}

#[test]
fn files_that_cannot_be_written_are_errors() {
    let folder = TempDir::new().unwrap();
    for args in [
        "run llama --tokens 1 -n 2 -t 1 --profile /dev/full",
        "bench llama --prompt 8 --gen 0 --rounds 1 -t 1 --profile /dev/full",
        "report llama -t 1 -o /dev/full",
    ] {
        let output = graver(args, folder.path()).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args}: {err}");
        let line = err.lines().last().unwrap_or("");
        assert!(
            line.contains("/dev/full: ") && line.contains("No space left on device"),
            "{args}: {err}"
        );
    }
}

//! Systems that forbid memory which was written to be run: systemd's `MemoryDenyWriteExecute`, SELinux, `PR_SET_MDWE`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use tempfile::TempDir;

use super::Run;

/// A run in a process that may not run what it has written; `None` where the kernel (before 6.3) knows no such rule.
fn hardened(program: impl AsRef<OsStr>, args: &[&str]) -> Option<Run> {
    const SET_MDWE: libc::c_int = 65;
    const REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    let mut command = Command::new(program);
    command.args(args).env_remove("RUST_BACKTRACE");
    let forbid = || {
        // SAFETY: the call takes numbers only.
        match unsafe { libc::prctl(SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes a system call and allocates nothing.
    unsafe { command.pre_exec(forbid) };
    match command.output() {
        Ok(output) => Some(Run::of(output)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            eprintln!("skipped: this kernel cannot forbid it");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn commands_that_run_code_from_memory_say_what_to_do_instead() {
    for args in [
        &["run", "--tokens", "1,2", "-n", "2"][..],
        &["run", "llama", "--tokens", "1", "--quantize", "q4"],
        &["run", "llama", "--tokens", "1", "--json"],
        &["verify", "llama"],
        &["verify", "llama", "--quantize", "q8"],
        &["bench", "llama", "--json"],
        &["bench", "llama", "--ablate"],
    ] {
        let Some(run) = hardened(env!("CARGO_BIN_EXE_graver"), args) else {
            return;
        };
        assert_eq!(
            run.refused(),
            "this system forbids running code generated in memory (Permission denied (os error 13)); \
             use `graver compile` to make an executable",
            "{args:?}"
        );
    }
}

#[test]
fn everything_else_works_and_so_do_executables() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (program, page) = (path("llama"), path("report.html"));
    for args in [
        &["inspect", "llama"][..],
        &["inspect", "llama", "--emit", "asm"],
        &["explain", "llama"],
        &["report", "llama", "-o", &page, "-t", "1"],
        &["compile", "llama", "-o", &program],
    ] {
        let Some(run) = hardened(env!("CARGO_BIN_EXE_graver"), args) else {
            return;
        };
        run.ok();
    }
    let args = [
        "--tokens",
        "1,2",
        "-n",
        "4",
        "--temp",
        "0",
        "--print-tokens",
    ];
    let free = super::graver_with(&[&["run", "llama"], &args[..]].concat()).ok();
    let run = hardened(&program, &args).expect("the kernel knows the rule");
    assert_eq!(run.ok(), free);
}

//! Ranks that are processes of Open MPI, from outside: what they compute, what becomes of a job that one of them leaves, what they
//! hold in memory, and what goes over a network between them. Only with the feature `mpi`.
#![cfg(feature = "mpi")]
#![allow(
    clippy::print_stderr,
    reason = "tests say what they have measured, and which cannot run here"
)]

mod failures;
mod hosts;
mod memory;
mod modes;
mod numbers;
#[path = "../shared/talking.rs"]
mod talking;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const GRAVER: &str = env!("CARGO_BIN_EXE_graver");

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

/// The folder of the parts of a model, or of the one that the program carries.
fn compiled(model: Option<&Path>, ranks: usize, more: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut graver = Command::new(GRAVER);
    graver
        .arg("compile")
        .args(model)
        .arg("-o")
        .arg(folder.path());
    let ranks = ranks.to_string();
    let output = graver.args(["--ranks", &ranks]).args(more).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{model:?}: {}", stderr(&output));
    folder
}

/// So many processes on this machine, which may have fewer processors.
fn mpirun(ranks: usize, program: &Path, arguments: &[&str]) -> Command {
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["--oversubscribe", "-n", &ranks.to_string()]);
    as_root(&mut mpirun);
    mpirun.arg(program).args(arguments);
    mpirun
}

/// Containers often have no other user.
fn as_root(mpirun: &mut Command) {
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT", "1");
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
}

fn output(command: &mut Command) -> Output {
    command.output().expect("mpirun, of openmpi-bin")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The process that runs a program.
fn pid_of(program: &Path) -> Option<String> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let runs = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path().join("exe")).ok() == Some(program.into())
    };
    let found = entries.into_iter().find(runs)?;
    found.file_name().into_string().ok()
}

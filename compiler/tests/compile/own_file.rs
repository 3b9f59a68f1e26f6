//! Artifacts find their own file, whatever it and other files are called, and without `/proc`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use crate::library::compile_source;
use crate::{bible, compile, complaint, folder, output, piped, start_if_there, write_program};

/// Maps the file that its argument names, opens the model, and says how that went.
const OPEN: &str = include_str!("open.c");

/// A name with a byte that is not UTF-8, a line break, and what the list of mappings puts behind the names of files that are
/// gone.
fn odd() -> OsString {
    OsString::from_vec(b"caf\xe9 \n (deleted)".to_vec())
}

const RUN: [&str; 7] = ["-p", "And", "-n", "2", "--temp", "0", "-q"];

fn printed(output: &Output) -> &[u8] {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    &output.stdout
}

#[test]
fn executables_of_any_name_run() {
    let folder = folder();
    let plain = folder.path().join("model");
    compile(&bible(), &plain, &[]);
    let expected = output(Command::new(&plain).args(RUN));
    let odd_folder = folder.path().join(odd());
    fs::create_dir(&odd_folder).unwrap();
    // The list has the third for a line break.
    for name in ["x".into(), odd(), r"\012".into()] {
        let program = odd_folder.join(name);
        write_program(&program, &fs::read(&plain).unwrap());
        let found = output(Command::new(&program).args(RUN));
        assert_eq!(printed(&found), printed(&expected), "{program:?}");
    }
}

/// A library in a folder, and a program `greedy` beside it that opens it.
fn library(folder: &Path, options: &[&str]) -> PathBuf {
    let all = [&["--emit", "so"], options].concat();
    compile(&bible(), &folder.join("model.so"), &all);
    let arguments = ["./model.so", "-Wl,-rpath,$ORIGIN"];
    compile_source(folder, OPEN, &arguments);
    folder.join("greedy")
}

#[test]
fn a_library_opens_whatever_else_is_mapped_and_wherever_it_lies() {
    let folder = folder();
    let program = library(folder.path(), &[]);
    let other = folder.path().join(odd());
    fs::write(&other, [0; 4096]).unwrap();
    let found = output(Command::new(&program).arg(&other));
    assert_eq!(printed(&found), b"opened\n");

    fs::remove_file(&other).unwrap();
    fs::create_dir(&other).unwrap();
    fs::rename(folder.path().join("model.so"), other.join("model.so")).unwrap();
    let mut elsewhere = Command::new(&program);
    elsewhere.env("LD_LIBRARY_PATH", &other).arg(&program);
    assert_eq!(printed(&output(&mut elsewhere)), b"opened\n");
}

/// Those who may not look into `/proc/self/map_files` get an error, others the file.
#[test]
fn a_library_that_was_moved_is_found_or_missed_by_name() {
    let folder = folder();
    let program = library(folder.path(), &[]);
    let [here, there] = ["model.so", "moved.so"].map(|name| folder.path().join(name));
    let found = output(Command::new(&program).args([&program, &here, &there]));
    assert!(there.exists(), "the program moves it");
    if !found.status.success() {
        let message = complaint(&found);
        let expected = "model.so has been moved or replaced; put it where it was";
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_library_that_was_moved_opens_with_weights_from_elsewhere() {
    let folder = folder();
    let program = library(folder.path(), &["--weights", "external"]);
    let place = |name: &str| folder.path().join(name);
    let weights = folder.path().join(odd());
    fs::rename(place("model.weights"), &weights).unwrap();
    let mut moved = Command::new(&program);
    let [here, there] = ["model.so", "moved.so"].map(place);
    moved.args([&program, &here, &there, &weights]);
    assert_eq!(printed(&output(&mut moved)), b"opened\n");
}

/// Runs a command with nothing in `/proc`; `None` where that cannot be arranged.
fn without_proc(folder: &Path, command: &[&OsStr]) -> Option<Output> {
    let script = "mount -t tmpfs none /proc && exec \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare.current_dir(folder);
    unshare.args(["-rm", "sh", "-c"]).args([script, "sh"]);
    let possible = start_if_there(piped(unshare.arg("true"))).map(Child::wait_with_output);
    if !possible.is_ok_and(|output| output.is_ok_and(|o| o.status.success())) {
        eprintln!("skipped: /proc cannot be hidden here");
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare
        .current_dir(folder)
        .env("PATH", format!(".:{}", env!("PATH")))
        .env("LD_LIBRARY_PATH", ".");
    unshare.args(["-rm", "sh", "-c"]).args([script, "sh"]);
    Some(output(unshare.args(command)))
}

#[test]
fn artifacts_run_without_proc() {
    let folder = folder();
    let program = folder.path().join("program");
    compile(&bible(), &program, &[]);
    let expected = output(Command::new(&program).args(RUN));
    let names: [&OsStr; 3] = [program.as_ref(), "./program".as_ref(), "program".as_ref()];
    for name in names {
        let command: Vec<&OsStr> = [name].into_iter().chain(RUN.map(OsStr::new)).collect();
        let Some(found) = without_proc(folder.path(), &command) else {
            return;
        };
        assert_eq!(printed(&found), printed(&expected), "{name:?}");
    }
    let opens = library(folder.path(), &[]);
    let found = without_proc(folder.path(), &[opens.as_ref(), opens.as_ref()]).unwrap();
    assert_eq!(printed(&found), b"opened\n");
    let moved = ["greedy", "greedy", "model.so", "moved.so"].map(OsStr::new);
    let message = complaint(&without_proc(folder.path(), &moved).unwrap());
    let expected = "cannot find the file that this code was loaded from: /proc/self/maps: ";
    assert!(message.contains(expected), "{message}");

    // Damage is found all the same.
    let mut bytes = fs::read(&program).unwrap();
    bytes.pop();
    fs::remove_file(&program).unwrap();
    write_program(&program, &bytes);
    let message = complaint(&without_proc(folder.path(), &["./program".as_ref()]).unwrap());
    assert!(
        message.contains("program: its last 32 bytes of "),
        "{message}"
    );
}

//! Output of executables that is lost is an error; a reader that leaves is none.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{compile, folder, listing, start};

const COMMANDS: [&[&str]; 6] = [
    &["--tokens", "1,2", "-n", "2", "--temp", "0"],
    &["--tokens", "1,2", "-n", "2", "--temp", "0", "--json"],
    &["--info"],
    &["--info", "--json"],
    &["--check"],
    &["--help"],
];

#[track_caller]
fn assert_lost(arguments: &[&str], output: &Output, reason: &str) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {err}");
    let expected = format!("error: cannot write the output: {reason}");
    let said = err.lines().filter(|line| line.starts_with(&expected));
    assert_eq!(said.count(), 1, "{arguments:?}: {err}");
}

#[test]
fn a_full_disk_or_no_standard_output_is_an_error() {
    let folder = folder();
    let program = folder.path().join("llama");
    compile(Path::new("llama"), &program, &[]);
    for arguments in COMMANDS {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let readable = File::open("/dev/null").unwrap();
        for (out, reason) in [
            (full, "No space left on device"),
            (readable, "Bad file descriptor"),
        ] {
            let mut command = Command::new(&program);
            command.args(arguments).stdout(out).stderr(Stdio::piped());
            let output = start(&mut command).wait_with_output().unwrap();
            assert_lost(arguments, &output, reason);
        }
        let script = format!("exec '{}' {} >&-", program.display(), arguments.join(" "));
        let output = crate::output(Command::new("sh").args(["-c", &script]));
        assert_lost(arguments, &output, "Bad file descriptor");

        let mut command = Command::new(&program);
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = start(&mut command);
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!err.contains("error"), "{arguments:?}: {err}");
    }
}

/// Without standard streams, the next file that is opened would get their numbers, and messages would go there.
#[test]
fn no_file_takes_the_place_of_a_stream_that_is_closed() {
    let folder = folder();
    let program = folder.path().join("llama");
    compile(Path::new("llama"), &program, &["--profile"]);
    let trace = folder.path().join("trace.json");
    let script = format!(
        "exec '{}' --tokens 1,2 -n 2 --profile '{}' <&- 2>&-",
        program.display(),
        trace.display()
    );
    let output = crate::output(Command::new("sh").args(["-c", &script]));
    assert!(output.status.success());
    let text = fs::read_to_string(&trace).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).expect("the trace and nothing else");
    assert_eq!(listing(folder.path()), ["llama", "trace.json"]);
}

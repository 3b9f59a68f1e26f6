//! Executables that talk and serve, on several ranks: the first has the terminal or the server, the others follow it.

use std::process::{Command, Stdio};

use super::talking::{answer_of, replies, talking};
use super::{GRAVER, compiled, mpirun};

/// What a command answers to lines that are piped into it.
fn piped(command: &mut Command, lines: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    replies(command.stderr(Stdio::piped()).spawn().unwrap(), lines)
}

#[test]
fn the_first_rank_talks_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let model = talking(folder.path());
    let parts = compiled(Some(&model), 2, &["--with", "chat,serve"]);
    let program = parts.path().join("model");
    let lines = "In the beginning\nAnd the LORD\n";
    let options = ["-n", "12", "--temp", "0", "-t", "1"];
    let mut alone = Command::new(GRAVER);
    alone
        .arg("chat")
        .arg(&model)
        .args(["--ranks", "2"])
        .args(options);
    let expected = piped(&mut alone, lines);
    let found = piped(
        &mut mpirun(2, &program, &[&["--chat"], &options[..]].concat()),
        lines,
    );
    assert!(found.lines().count() >= 2, "{found:?}");
    assert_eq!(found, expected);

    let mut job = mpirun(
        2,
        &program,
        &["--serve", "--port", "0", "--slots", "2", "-t", "1"],
    );
    job.stdin(Stdio::null()).stdout(Stdio::null());
    let mut job = job.stderr(Stdio::piped()).spawn().unwrap();
    let said = answer_of(&mut job, "model.rank0", "In the beginning");
    let first = expected.lines().next().unwrap();
    assert_eq!(said.trim(), first.trim());
    let pid = job.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    job.wait().unwrap();
}

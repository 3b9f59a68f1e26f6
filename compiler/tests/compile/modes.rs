//! Executables that were compiled to talk and to serve: they do what `graver chat` and `graver serve` do, with what they carry.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::talking::{answer_of, replies, talking};
use crate::{GRAVER, bible, compile, complaint, fails, folder, ok, run, start};

/// What a program answers to lines that are piped into it.
fn piped(program: &Path, arguments: &[&str], lines: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    replies(start(command.stderr(Stdio::piped())), lines)
}

#[test]
fn an_executable_talks_and_serves_as_graver_does() {
    let folder = folder();
    let (model, program) = (talking(folder.path()), folder.path().join("talker"));
    compile(&model, &program, &["--with", "chat,serve"]);
    let options = ["-n", "12", "--temp", "0"];
    let lines = "In the beginning\nAnd the LORD\n";
    let model_path = model.display().to_string();
    let expected = piped(
        Path::new(GRAVER),
        &[&["chat", &model_path], &options[..]].concat(),
        lines,
    );
    let found = piped(&program, &[&["--chat"], &options[..]].concat(), lines);
    assert!(found.lines().count() >= 2, "{found:?}");
    assert_eq!(found, expected);
    assert_eq!(
        ok(&program, &["-p", "In the", "-n", "3", "--temp", "0", "-q"]),
        ok(
            GRAVER,
            &[
                "run",
                &model_path,
                "-p",
                "In the",
                "-n",
                "3",
                "--temp",
                "0",
                "-q"
            ]
        )
    );

    let mut command = Command::new(&program);
    command.args(["--serve", "--port", "0", "--slots", "2"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut server = start(command.stderr(Stdio::piped()));
    let said = answer_of(&mut server, "talker", "In the beginning");
    let first = expected.lines().next().unwrap();
    assert_eq!(said.trim(), first.trim());
    let pid = libc::pid_t::try_from(server.id()).unwrap();
    // SAFETY: the process is a child that has not been waited for, so that the number is its own.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    assert!(server.wait().unwrap().success());
}

#[test]
fn modes_that_are_not_there_or_not_first_are_named() {
    let folder = folder();
    let (plain, talker) = (folder.path().join("plain"), folder.path().join("talker"));
    let usage = |program: &Path, arguments: &[&str]| {
        let output = run(program, arguments);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    compile(&bible(), &plain, &[]);
    let message = usage(&plain, &["--serve"]);
    assert!(
        message.contains(
            "--serve: this executable was compiled without it; compile it again with --with serve"
        ),
        "{message}"
    );
    assert!(!ok(&plain, &["--help"]).contains("--chat"));
    let note = compile(&bible(), &talker, &["--with", "chat"]);
    assert!(note.contains("no chat template was found"), "{note}");
    assert!(ok(&talker, &["--help"]).contains("--chat"));
    assert!(ok(&talker, &["--chat", "--help"]).contains("--system"));
    let message = usage(&talker, &["-n", "1", "--chat"]);
    assert!(message.contains("--chat goes first"), "{message}");
    let message = usage(&talker, &["--serve"]);
    assert!(
        message.contains("compile it again with --with serve"),
        "{message}"
    );
    let message = fails(&talker, &["--chat"]);
    assert!(message.contains("template"), "{message}");
    // What is not asked for is not there: the server is larger than all else.
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    assert!(size(&plain) < size(&talker));
}

#[test]
fn libraries_and_models_without_text_do_not_talk() {
    let folder = folder();
    let out = folder.path().join("x");
    let path = out.display().to_string();
    let model = bible().display().to_string();
    let command = [
        "compile", &model, "-o", &path, "--with", "chat", "--emit", "so",
    ];
    let message = complaint(&run(GRAVER, &command));
    assert!(
        message.contains("--with: only executables have a command line"),
        "{message}"
    );
    let command = ["compile", "llama", "-o", &path, "--with", "serve"];
    let message = complaint(&run(GRAVER, &command));
    assert!(
        message.contains("specs have no tokenizer, which --with needs"),
        "{message}"
    );
    assert!(!out.exists());
}

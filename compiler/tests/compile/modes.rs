//! Executables that were compiled to talk and to serve: they do what `graver chat` and `graver serve` do, with what they carry.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{GRAVER, bible, compile, complaint, fails, folder, ok, run, start};

/// The messages of a conversation, one after the other.
const TEMPLATE: &str = "{% for m in messages %}{{ m.content }} {% endfor %}";

/// The committed model in a folder of its own, with a chat template.
fn talking(folder: &Path) -> std::path::PathBuf {
    let model = folder.join("bible");
    fs::create_dir(&model).unwrap();
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        fs::copy(bible().join(name), model.join(name)).unwrap();
    }
    fs::write(model.join("chat_template.jinja"), TEMPLATE).unwrap();
    model
}

/// What a program answers to lines that are piped into it.
fn piped(program: &Path, arguments: &[&str], lines: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = start(command.stderr(Stdio::piped()));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn post(address: &str, path: &str, body: &Value) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
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
    let mut notes = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    notes.read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("talker: listening at http://");
    let address = address.unwrap_or_else(|| panic!("{line}"));
    let message = json!([{ "role": "user", "content": "In the beginning" }]);
    let asked =
        json!({ "model": "talker", "messages": message, "max_tokens": 12, "temperature": 0 });
    let answer = post(address, "/v1/chat/completions", &asked);
    let said = answer["choices"][0]["message"]["content"].as_str();
    let first = expected.lines().next().unwrap();
    assert_eq!(said.map(str::trim), Some(first.trim()), "{answer}");
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
        message.contains("--with: only an executable has a command line"),
        "{message}"
    );
    let command = ["compile", "llama", "-o", &path, "--with", "serve"];
    let message = complaint(&run(GRAVER, &command));
    assert!(
        message.contains("which has no tokenizer, which --with needs"),
        "{message}"
    );
    assert!(!out.exists());
}

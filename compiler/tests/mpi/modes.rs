//! Executables that talk and serve, on several ranks: the first has the terminal or the server, the others follow it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{GRAVER, compiled, mpirun, stderr};

/// The committed model with a chat template that gives messages one after the other.
fn talking(folder: &TempDir) -> PathBuf {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    let model = folder.path().join("bible");
    fs::create_dir(&model).unwrap();
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        fs::copy(committed.join(name), model.join(name)).unwrap();
    }
    let template = "{% for m in messages %}{{ m.content }} {% endfor %}";
    fs::write(model.join("chat_template.jinja"), template).unwrap();
    model
}

/// What a command answers to lines that are piped into it.
fn piped(command: &mut Command, lines: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    let found = child.wait_with_output().unwrap();
    assert!(found.status.success(), "{}", stderr(&found));
    super::stdout(&found)
}

fn post(address: &str, path: &str, body: &Value) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    );
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

#[test]
fn the_first_rank_talks_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let model = talking(&folder);
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
    let mut notes = BufReader::new(job.stderr.take().unwrap());
    let mut line = String::new();
    notes.read_line(&mut line).unwrap();
    let address = line.trim_end().split_once("listening at http://");
    let address = address.unwrap_or_else(|| panic!("{line}")).1;
    let message = json!([{ "role": "user", "content": "In the beginning" }]);
    let asked =
        json!({ "model": "model.rank0", "messages": message, "max_tokens": 12, "temperature": 0 });
    let answer = post(address, "/v1/chat/completions", &asked);
    let said = answer["choices"][0]["message"]["content"].as_str();
    let first = expected.lines().next().unwrap();
    assert_eq!(said.map(str::trim), Some(first.trim()), "{answer}");
    let pid = job.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    job.wait().unwrap();
}

//! Programs to talk to: what tests of executables do, whether these are alone or of several ranks.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Child;

use serde_json::{Value, json};

/// The messages of a conversation, one after the other.
const TEMPLATE: &str = "{% for m in messages %}{{ m.content }} {% endfor %}";

/// The committed model in a folder of its own, with a chat template.
pub(crate) fn talking(folder: &Path) -> PathBuf {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    let model = folder.join("bible");
    fs::create_dir(&model).unwrap();
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        fs::copy(committed.join(name), model.join(name)).unwrap();
    }
    fs::write(model.join("chat_template.jinja"), TEMPLATE).unwrap();
    model
}

/// What a program, all of whose streams are piped, answers to these lines.
pub(crate) fn replies(mut child: Child, lines: &str) -> String {
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a server that serves model `name` answers to a message; its standard error is piped.
pub(crate) fn answer_of(child: &mut Child, name: &str, message: &str) -> String {
    let mut notes = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    notes.read_line(&mut line).unwrap();
    let address = line
        .trim_end()
        .strip_prefix(&format!("{name}: listening on http://"));
    let address = address.unwrap_or_else(|| panic!("{line}"));
    let messages = json!([{ "role": "user", "content": message }]);
    let asked = json!({ "model": name, "messages": messages, "max_tokens": 12, "temperature": 0 });
    let answer = post(address, "/v1/chat/completions", &asked);
    let said = answer["choices"][0]["message"]["content"].as_str();
    said.unwrap_or_else(|| panic!("{answer}")).to_string()
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

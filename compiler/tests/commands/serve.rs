//! `graver serve` from outside: it says where it listens, answers, and ends when it is asked to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

use super::{graver, repository};

/// A server at any free port, the rest of what it says, and its address.
#[expect(
    clippy::zombie_processes,
    reason = "`end` waits for it; a test that panics before ends the process"
)]
fn start(args: &[&str]) -> (Child, BufReader<ChildStderr>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_graver"))
        .args(["serve", "--port", "0"])
        .args(args)
        .env_remove("GRAVER_API_KEY")
        .stderr(Stdio::piped())
        .spawn()
        .expect("graver runs");
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended: {said}");
        said.push_str(&line);
        if let Some((_, address)) = line.trim_end().split_once("listening on http://") {
            return (child, lines, address.to_owned());
        }
    }
}

fn ask(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks it to end as the system does, and waits until it has.
fn end(mut child: Child) -> Option<i32> {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(sent.unwrap().success());
    child.wait().unwrap().code()
}

#[test]
fn it_answers_until_it_is_asked_to_end() {
    let template = tempfile::NamedTempFile::new().unwrap();
    let text = "{% for m in messages %}{{ m.content }}{% endfor %}";
    std::fs::write(template.path(), text).unwrap();
    let template = template.path().to_str().unwrap();
    let (child, _said, address) = start(&["--name", "small", "--chat-template", template]);
    assert!(ask(&address, "GET", "/health", "").contains("\"ok\""));
    assert!(ask(&address, "GET", "/", "").contains("<title>Graver</title>"));
    let body = r#"{"messages": [{"role": "user", "content": "In the"}], "max_tokens": 3, "model": "small"}"#;
    let answer = ask(&address, "POST", "/v1/chat/completions", body);
    assert!(answer.contains("\"completion_tokens\":3"), "{answer}");
    assert_eq!(end(child), Some(0));
}

#[test]
fn a_model_without_a_template_says_so() {
    let (child, _said, address) = start(&["--slots", "1"]);
    let body = r#"{"messages": [{"role": "user", "content": "In the"}]}"#;
    let answer = ask(&address, "POST", "/v1/chat/completions", body);
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("--chat-template"),
        "{answer}"
    );
    assert_eq!(end(child), Some(0));
}

/// A grammar that all answers follow, in the notation that is known by its `::=`.
#[test]
fn a_grammar_for_all_answers_can_be_in_gbnf() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(path, "root ::= \"yes\" | \"no, \" [a-z]{3}\n").unwrap();
    let (child, _said, address) = start(&["--slots", "1", "--grammar", path]);
    let body = r#"{"prompt": "In the beginning", "max_tokens": 20, "temperature": 0}"#;
    let answer = ask(&address, "POST", "/v1/completions", body);
    let text = answer
        .split("\"text\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let text = text.unwrap_or_else(|| panic!("{answer}"));
    assert!(
        text == "yes" || text.len() == 7 && text.starts_with("no, "),
        "{answer}"
    );
    assert_eq!(end(child), Some(0));
    std::fs::write(path, "root ::= \"yes\" |\n  no\n").unwrap();
    let message = graver(&format!("serve --port 0 --grammar {path}")).refused();
    assert!(
        message.contains("line 2, column 3: no rule named `no`"),
        "{message}"
    );
}

#[test]
fn what_cannot_be_served_is_refused_at_once() {
    let message = graver("serve llama --port 0").refused();
    assert!(message.contains("no tokenizer"), "{message}");
    let message = graver("serve --host 192.0.2.1 --port 0").refused();
    assert!(
        message.contains("cannot listen on 192.0.2.1:0"),
        "{message}"
    );
    let readme = repository("README.md");
    let message = graver(&format!(
        "serve --port 0 --json-schema {}",
        readme.display()
    ))
    .refused();
    assert!(message.contains("expected a JSON schema"), "{message}");
    let message = graver("serve --port 0 --slots 2 --context 0").refused();
    assert!(message.contains("--context 0"), "{message}");
}

/// 64 clients over 16 slots, a third of which hang up: for `GRAVER_LOAD_SECONDS`, or a few, in which memory says nothing yet.
#[test]
fn many_clients_that_come_and_go_are_answered_as_if_alone() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: many_clients_that_come_and_go_are_answered_as_if_alone: no python3");
        return;
    }
    let (child, _said, address) = start(&["--slots", "16", "-t", "2"]);
    let seconds = std::env::var("GRAVER_LOAD_SECONDS").unwrap_or_else(|_| "4".into());
    let mut load = Command::new("python3");
    load.arg(repository("tests/load/load.py"));
    load.args([
        &format!("http://{address}/v1"),
        "--clients",
        "64",
        "--seconds",
        &seconds,
    ]);
    if seconds.parse::<f64>().is_ok_and(|seconds| seconds >= 30.0) {
        load.args(["--pid", &child.id().to_string(), "--flat", "2"]);
    }
    let output = load.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(end(child), Some(0));
    eprintln!("{said}");
}

/// Ten thousand connections that ask nothing, of which the server knows as little as it can.
#[test]
fn ten_thousand_idle_connections_are_no_burden() {
    const IDLE: usize = 10_000;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is this function's own; the second call asks for what the first one said may be had.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    if limit.rlim_max < IDLE as u64 + 500 {
        eprintln!(
            "skipped: ten_thousand_idle_connections_are_no_burden: {} files at once",
            limit.rlim_max
        );
        return;
    }
    let (child, _said, address) = start(&["--slots", "1", "--header-timeout", "300"]);
    let memory = |child: &Child| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let body = r#"{"prompt": "In the beginning", "max_tokens": 3, "temperature": 0}"#;
    let alone = ask(&address, "POST", "/v1/completions", body);
    let before = memory(&child);
    let idle: Vec<TcpStream> = (0..IDLE)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    let start = std::time::Instant::now();
    let beside = ask(&address, "POST", "/v1/completions", body);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    let text = |answer: &str| {
        answer
            .split("\"text\":")
            .nth(1)
            .map(|rest| rest.split(',').next().unwrap().to_owned())
    };
    assert!(
        text(&beside).is_some() && text(&beside) == text(&alone),
        "{beside}"
    );
    let grown = memory(&child).saturating_sub(before);
    assert!(
        grown < 20 * IDLE as u64,
        "{grown} kB for {IDLE} connections"
    );
    drop(idle);
    assert_eq!(end(child), Some(0));
}

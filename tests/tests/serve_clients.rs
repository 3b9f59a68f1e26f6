//! Clients of the server of all kinds: none that hangs up, crawls, sends nonsense or asks for too much holds others up; the official
//! one works.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use graver_serve::http::Server;
use graver_tests::http::{
    Answer, chat, connect, get, greedy, post, raw, read_answer, request, run, server, wait_idle,
};
use serde_json::{Map, Value, json};

/// That the next one is served as if nothing had happened.
fn still_answers(server: &Server) {
    let answer = post(server, "/v1/completions", &greedy(json!({})));
    assert_eq!(answer.status, 200);
}

#[test]
fn clients_that_hang_up_free_their_slots() {
    let server = server(2, |_| {});
    for stream in [true, false] {
        let endless = greedy(
            json!({"max_tokens": 480, "n": 2, "ignore_eos": true, "stream": stream, "logprobs": 20}),
        );
        let mut connection = connect(server.address());
        let text = request("POST", "/v1/completions", "", &endless.to_string());
        connection.write_all(text.as_bytes()).unwrap();
        let before = server.engine().counts().steps.get();
        while server.engine().counts().steps.get() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(connection);
        wait_idle(&server);
    }
    let counts = server.engine().counts();
    assert_eq!(counts.abandoned.get() + counts.finished.get(), 4);
    still_answers(&server);
}

#[test]
fn too_many_are_told_to_come_again() {
    let server = server(1, |o| o.engine.queue = 1);
    let endless =
        greedy(json!({"max_tokens": 480, "ignore_eos": true, "stream": true, "logprobs": 20}));
    let text = request("POST", "/v1/completions", "", &endless.to_string());
    let mut held: Vec<TcpStream> = vec![];
    for _ in 0..2 {
        let mut connection = connect(server.address());
        connection.write_all(text.as_bytes()).unwrap();
        connection.read_exact(&mut [0; 12]).unwrap();
        held.push(connection);
    }
    // The first may be complete before this comes, or the second be under way: then there is room.
    let answers: Vec<Answer> = (0..6)
        .map(|_| {
            let mut connection = connect(server.address());
            connection.write_all(text.as_bytes()).unwrap();
            let mut start = [0; 12];
            connection.read_exact(&mut start).unwrap();
            let status = String::from_utf8_lossy(&start)[9..12].parse().unwrap();
            match status {
                429 => {
                    let mut rest = String::new();
                    connection.read_to_string(&mut rest).unwrap();
                    Answer {
                        status,
                        headers: rest.to_lowercase(),
                        body: String::new(),
                    }
                }
                _ => {
                    held.push(connection);
                    Answer {
                        status,
                        headers: String::new(),
                        body: String::new(),
                    }
                }
            }
        })
        .collect();
    let refused = answers
        .iter()
        .find(|a| a.status == 429)
        .expect("one of six at once was too many");
    let after = refused.headers.split("retry-after: ").nth(1);
    let after = after.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    assert!(matches!(after, Some(1..=120)), "{refused:?}");
    assert!(refused.headers.contains("queue_full"), "{refused:?}");
}

#[test]
fn bodies_that_are_no_requests_are_refused() {
    let server = server(1, |o| o.max_body = 4096);
    let send = |body: &[u8]| {
        let mut bytes = format!("POST /v1/completions HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend(body);
        raw(server.address(), &bytes)
    };
    assert_eq!(send(b"{\"prompt\": \"\xff\xfe\"}").status, 400);
    assert_eq!(send(b"").status, 400);
    assert_eq!(send("[".repeat(4000).as_bytes()).status, 400);
    let deep = format!(
        "{{\"prompt\": \"a\", \"x\": {}{}}}",
        "[".repeat(1500),
        "]".repeat(1500)
    );
    assert_eq!(send(deep.as_bytes()).status, 400);
    assert_eq!(send(&[b' '; 5000]).status, 413);
    assert_eq!(
        get(&server, &format!("/{}", "a".repeat(100_000))).status / 100,
        4
    );
    let many: String = (0..200).map(|i| format!("X-{i}: a\r\n")).collect();
    assert_eq!(
        raw(
            server.address(),
            request("GET", "/health", &many, "").as_bytes()
        )
        .status,
        431
    );
    assert_eq!(
        raw(server.address(), b"not HTTP at all\r\n\r\n").status,
        400
    );
    still_answers(&server);
}

#[test]
fn slow_and_half_closed_clients_are_given_up() {
    let server = server(1, |o| {
        (o.header_time, o.read_time) = (Duration::from_millis(300), Duration::from_millis(300));
    });
    let start = Instant::now();
    let mut headers = connect(server.address());
    headers.write_all(b"GET /health HTTP/1.1\r\nHost:").unwrap();
    let mut body = connect(server.address());
    body.write_all(b"POST /v1/completions HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{\"pro").unwrap();
    let half = connect(server.address());
    half.shutdown(Shutdown::Write).unwrap();
    let mut kept = connect(server.address());
    kept.write_all(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")
        .unwrap();
    // Others do not notice.
    assert_eq!(get(&server, "/health").status, 200);
    assert_eq!(read_answer(body).status, 408);
    for mut connection in [headers, half, kept] {
        let mut rest = vec![];
        connection.read_to_end(&mut rest).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(20));
}

/// Each byte in time does not make a request in time.
#[test]
fn clients_that_drip_are_given_up() {
    let server = server(1, |o| {
        (o.header_time, o.read_time) = (Duration::from_millis(400), Duration::from_millis(400));
    });
    for begun in [
        "GET /health HTTP/1.1\r\nX: ",
        "POST /tokenize HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n ",
        "POST /tokenize HTTP/1.1\r\nHost: here\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let start = Instant::now();
        let mut connection = connect(server.address());
        connection.write_all(begun.as_bytes()).unwrap();
        let piece = if begun.ends_with("chunked\r\n\r\n") {
            "1\r\n \r\n"
        } else {
            "a"
        };
        while connection.write_all(piece.as_bytes()).is_ok() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{begun:?} goes on"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(get(&server, "/health").status, 200);
}

/// A client that takes nothing of its answer leaves the slot to others.
#[test]
fn clients_that_do_not_read_hold_nobody_up() {
    let server = server(1, |_| {});
    let long =
        json!({"max_tokens": 480, "ignore_eos": true, "stream": true, "logprobs": 20, "n": 8});
    let text = request("POST", "/v1/completions", "", &greedy(long).to_string());
    let deaf: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut connection = connect(server.address());
            connection.write_all(text.as_bytes()).unwrap();
            connection
        })
        .collect();
    let start = Instant::now();
    let answer = post(&server, "/v1/completions", &greedy(json!({})));
    assert_eq!(answer.status, 200);
    assert!(start.elapsed() < Duration::from_secs(60));
    wait_idle(&server);
    drop(deaf);
}

/// Who has said everything and closes that half is answered or closed, and leaves no slot busy.
#[test]
fn half_closed_requests_leave_no_slot_busy() {
    let server = server(1, |_| {});
    for stream in [true, false] {
        let asked = greedy(json!({"max_tokens": 200, "ignore_eos": true, "stream": stream}));
        let mut connection = connect(server.address());
        let text = request("POST", "/v1/completions", "", &asked.to_string());
        connection.write_all(text.as_bytes()).unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
        let mut rest = vec![];
        connection.read_to_end(&mut rest).unwrap();
        wait_idle(&server);
    }
    still_answers(&server);
}

#[test]
fn draining_answers_what_was_asked_and_then_ends() {
    let server = server(1, |_| {});
    let long = greedy(json!({"max_tokens": 200, "ignore_eos": true, "stream": true}));
    let text = request("POST", "/v1/completions", "", &long.to_string());
    let mut connection = connect(server.address());
    connection.write_all(text.as_bytes()).unwrap();
    while server.engine().counts().steps.get() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    server.drain();
    let events = read_answer(connection).events();
    assert_eq!(
        events.last().unwrap()["choices"][0]["finish_reason"],
        "length"
    );
    server.wait().unwrap();
    assert!(TcpStream::connect(server.address()).is_err());
}

/// The official client, where a virtual environment with it can be made: see `tests/openai/run`.
#[test]
fn the_official_python_client_works_unchanged() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("openai/run");
    let server = server(4, |o| o.key = Some("secret".into()));
    let url = format!("http://{}/v1", server.address());
    match run(Command::new("bash").arg(script).args([&url, "secret"])) {
        (Some(0), _) => {}
        (Some(77), text) => {
            eprintln!("skipped: the_official_python_client_works_unchanged: {text}");
        }
        (code, text) => panic!("{code:?}: {text}"),
    }
}

/// What cannot be followed, and what takes too much, is refused, and others do not wait for it.
#[test]
fn schemas_that_explode_are_refused() {
    let server = server(1, |_| {});
    let start = Instant::now();
    let nested = (0..400).fold(
        json!({"type": "string"}),
        |inner, _| json!({"anyOf": [inner, {"type": "null"}]}),
    );
    let huge = json!({"type": "string", "pattern": "^((a{1,500}b{1,500}){1,500}c){1,500}$"});
    let loops = json!({"$ref": "#"});
    let many: Vec<Value> = (0..60).map(|i| json!({"anyOf": [{"required": [format!("a{i}")]}, {"required": [format!("b{i}")]}]})).collect();
    let product = json!({"type": "object", "allOf": many});
    // Definitions that each lead to the next, through fields and at once.
    let chained = |next: &dyn Fn(Value) -> Value| {
        let definition = |i: usize| {
            (
                format!("a{i}"),
                next(json!({"$ref": format!("#/$defs/a{}", i + 1)})),
            )
        };
        let mut all: Map<String, Value> = (0..20_000).map(definition).collect();
        all.insert("a20000".into(), json!({"type": "string"}));
        json!({"$ref": "#/$defs/a0", "$defs": all})
    };
    let fields =
        chained(&|next| json!({"type": "object", "properties": {"x": next}, "required": ["x"]}));
    let (direct, either) = (
        chained(&|next| next),
        chained(&|next| json!({"anyOf": [next, {"type": "null"}]})),
    );
    for schema in [
        nested,
        huge,
        loops,
        product,
        fields,
        direct,
        either,
        json!({"type": "nonsense"}),
    ] {
        let wanted = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        let answer = post(
            &server,
            "/v1/chat/completions",
            &chat(json!({"response_format": wanted, "max_tokens": 5})),
        );
        assert!(
            answer.status == 400 || answer.status == 200,
            "{:.99}: {answer:?}",
            schema.to_string()
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    still_answers(&server);
}

#[test]
fn grammars_that_explode_are_refused() {
    let server = server(1, |_| {});
    let start = Instant::now();
    // Rules that each lead to the next, as many as a grammar has room for.
    let chain = |between: &str| -> String {
        let rule = |i: usize| format!("a{i}{between} a{}\n", i + 1);
        (0..40_000).map(rule).collect()
    };
    let lark = format!("start: a0\n{}a40000: \"x\"\n", chain(":"));
    let gbnf = format!("root ::= a0\n{}a40000 ::= \"x\"\n", chain(" ::="));
    // As many rules as there may be, each within as many parentheses: followed, or refused.
    let deep = |depth: usize, between: &str| -> String {
        let rule = |i: usize| {
            let (open, close) = ("(\"x\" | \"y\" ".repeat(depth), ")".repeat(depth));
            format!("a{i}{between} {open}a{}{close}\n", i + 1)
        };
        (0..2040).map(rule).collect()
    };
    let deepest = [
        format!("start: a0\n{}a2040: \"z\"\n", deep(25, ":")),
        format!(
            "root ::= a0\n{}a2040 ::= \"z\" | a2040 \"y\"\n",
            deep(40, " ::=")
        ),
        format!(
            "root ::= a0\n{}a2040 ::= \"z\" | a2040 \"y\"\n",
            deep(3, " ::=")
        ),
    ];
    for grammar in &deepest {
        assert!(grammar.len() < 1 << 20, "{}", grammar.len());
        let asked = greedy(json!({"grammar": grammar, "max_tokens": 4}));
        let status = post(&server, "/v1/completions", &asked).status;
        assert!([200, 400].contains(&status), "{grammar:.99}");
    }
    let parentheses = format!("start: {}\"x\"{}", "(".repeat(100_000), ")".repeat(100_000));
    for (grammar, expected) in [
        ("start: missing", "grammar"),
        ("", "grammar"),
        ("start: /(/", "grammar"),
        (&lark, "more than 2048 rules"),
        (&gbnf, "more than 2048 rules"),
        (&parentheses, "grammar"),
        (
            "root ::= \"a\"\n  | \"b",
            "line 2, column 5: an unterminated string",
        ),
    ] {
        let answer = post(
            &server,
            "/v1/completions",
            &greedy(json!({"grammar": grammar})),
        );
        assert_eq!(answer.status, 400, "{grammar:.99}: {answer:?}");
        assert!(
            answer.error().contains(expected),
            "{grammar:.99}: {answer:?}"
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    still_answers(&server);
}

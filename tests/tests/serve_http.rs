//! The server from outside: what it answers, and that nothing a client does holds others up.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use graver::driver::{self, CompileOptions, ModelSource, Purpose};
use graver::embedded;
use graver_runtime::session::SessionOptions;
use graver_runtime::tokenizer::Tokenizer;
use graver_serve::http::{ServedModel, Server, ServerOptions};
use graver_serve::template::TemplateFiles;
use serde_json::{Map, Value, json};

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
    {% if tools %}tools: {{ tools | length }} <tool_call></tool_call>\n{% endif %}assistant:";

fn server(slots: usize, change: impl FnOnce(&mut ServerOptions)) -> Server {
    let loaded = driver::load(&ModelSource::Embedded, Purpose::Run, None, &|_, _, _| {}).unwrap();
    let session = SessionOptions {
        threads: Some(2),
        slots,
        alone: true,
        ..SessionOptions::default()
    };
    let session = driver::open(loaded, &CompileOptions::native().unwrap(), session).unwrap();
    let tokenizer = Tokenizer::load(&embedded::tokenizer()).unwrap();
    let templates = TemplateFiles::of(TEMPLATE, Map::new());
    let eos = vec![tokenizer.id_of("</s>").unwrap()];
    let model = ServedModel::new("scripture", session, tokenizer, &templates, eos).unwrap();
    let mut options = ServerOptions::default();
    change(&mut options);
    Server::start(model, options).unwrap()
}

/// An answer: its status, its headers as they came, its body.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn error(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    /// Server-sent events, all but the last, which says that it is the last.
    fn events(&self) -> Vec<Value> {
        let lines: Vec<&str> = self
            .body
            .lines()
            .filter(|l| l.starts_with("data: "))
            .collect();
        assert_eq!(lines.last(), Some(&"data: [DONE]"), "{self:?}");
        let events = lines[..lines.len() - 1].iter();
        events
            .map(|line| serde_json::from_str(&line[6..]).unwrap())
            .collect()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

fn read_answer(mut stream: TcpStream) -> Answer {
    let mut bytes = vec![];
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (headers, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = headers.split(' ').nth(1).unwrap_or("0").parse().unwrap();
    let headers = headers.to_lowercase();
    let body = match headers.contains("transfer-encoding: chunked") {
        true => unchunked(body),
        false => body.to_owned(),
    };
    Answer {
        status,
        headers,
        body,
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
}

fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    read_answer(stream)
}

fn request(method: &str, path: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{more}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn get(server: &Server, path: &str) -> Answer {
    raw(server.address(), request("GET", path, "", "").as_bytes())
}

fn post(server: &Server, path: &str, body: &Value) -> Answer {
    raw(
        server.address(),
        request("POST", path, "", &body.to_string()).as_bytes(),
    )
}

fn greedy(more: Value) -> Value {
    let mut body = json!({"model": "scripture", "prompt": "In the beginning", "temperature": 0, "max_tokens": 12});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn chat(more: Value) -> Value {
    let mut body = json!({"model": "scripture", "messages": [{"role": "user", "content": "Who was Moses?"}],
        "temperature": 0, "max_tokens": 12});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn completions_whole_and_in_pieces_are_the_same() {
    let server = server(4, |_| {});
    let whole = post(&server, "/v1/completions", &greedy(json!({"logprobs": 3}))).json();
    let choice = &whole["choices"][0];
    let text = choice["text"].as_str().unwrap();
    assert!(!text.is_empty());
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 12);
    let logprobs = &choice["logprobs"];
    assert_eq!(logprobs["tokens"].as_array().unwrap().len(), 12);
    let joined: String = logprobs["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_str().unwrap())
        .collect();
    assert_eq!(joined, text);
    for (logprob, top) in logprobs["token_logprobs"]
        .as_array()
        .unwrap()
        .iter()
        .zip(logprobs["top_logprobs"].as_array().unwrap())
    {
        let best = top
            .as_object()
            .unwrap()
            .values()
            .map(|v| v.as_f64().unwrap())
            .fold(f64::MIN, f64::max);
        assert_eq!(top.as_object().unwrap().len(), 3);
        assert_eq!(logprob.as_f64().unwrap(), best);
    }
    let asked = greedy(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let pieces = post(&server, "/v1/completions", &asked).events();
    let joined: String = pieces
        .iter()
        .filter_map(|p| p["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(joined, text);
    assert_eq!(pieces.last().unwrap()["usage"]["completion_tokens"], 12);
    assert_eq!(
        pieces[pieces.len() - 2]["choices"][0]["finish_reason"],
        "length"
    );
}

#[test]
fn several_prompts_and_choices_are_numbered_through() {
    let server = server(4, |_| {});
    let asked = greedy(json!({"prompt": ["And God said", [10, 20, 30]], "n": 2, "echo": true}));
    let answer = post(&server, "/v1/completions", &asked);
    assert_eq!(answer.status, 400, "{answer:?}");
    let asked = greedy(json!({"prompt": ["And God said", "The king"], "n": 2, "echo": true}));
    let answer = post(&server, "/v1/completions", &asked).json();
    let texts: Vec<&str> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts.len(), 4);
    assert!(
        texts[0].starts_with("And God said") && texts[2].starts_with("The king"),
        "{texts:?}"
    );
    assert_eq!((texts[0], texts[2]), (texts[1], texts[3]));
    let ids = post(
        &server,
        "/v1/completions",
        &greedy(json!({"prompt": [[10, 20, 30], [40]]})),
    )
    .json();
    assert_eq!(ids["usage"]["prompt_tokens"], 4);
}

#[test]
fn conversations_whole_and_in_pieces_are_the_same() {
    let server = server(4, |_| {});
    let asked = chat(json!({"logprobs": true, "top_logprobs": 2, "n": 2}));
    let whole = post(&server, "/v1/chat/completions", &asked).json();
    assert_eq!(whole["object"], "chat.completion");
    let message = &whole["choices"][1]["message"];
    let text = message["content"].as_str().unwrap();
    assert_eq!(message["role"], "assistant");
    let content = whole["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    assert_eq!(content.len(), 12);
    assert_eq!(content[0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(whole["usage"]["completion_tokens"], 24);
    let pieces = post(
        &server,
        "/v1/chat/completions",
        &chat(json!({"stream": true})),
    )
    .events();
    assert_eq!(pieces[0]["choices"][0]["delta"]["role"], "assistant");
    let joined: String = pieces
        .iter()
        .filter_map(|p| p["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(joined, text);
    // The same again, with another turn, is read once.
    let longer = chat(
        json!({"messages": [{"role": "user", "content": "Who was Moses?"},
        {"role": "assistant", "content": text}, {"role": "user", "content": [{"type": "text", "text": "And?"}]}]}),
    );
    let again = post(&server, "/v1/chat/completions", &longer).json();
    let cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .unwrap();
    assert!(cached > 8, "{again}");
}

#[test]
fn what_is_asked_wrongly_is_told_where() {
    let server = server(1, |_| {});
    let completion = |more| post(&server, "/v1/completions", &greedy(more));
    for (more, status, expected) in [
        (json!({"model": "other"}), 404, "`other` is not served"),
        (json!({"temperature": -1}), 400, "temperature: found -1"),
        (json!({"temperature": "hot"}), 400, "hot"),
        (json!({"top_p": 0}), 400, "top_p"),
        (json!({"n": 0}), 400, "0 choices"),
        (json!({"n": 1000}), 400, "1000 choices"),
        (json!({"logprobs": 21}), 400, "21 alternatives"),
        (json!({"logit_bias": {"x": 1}}), 400, "logit_bias: x"),
        (json!({"logit_bias": {"70000": 1}}), 400, "70000"),
        (json!({"prompt": []}), 400, "prompt: 0 of them"),
        (json!({"prompt": 5}), 400, "prompt"),
        (json!({"prompt": [99999]}), 400, "99999"),
        (
            json!({"prompt": "word ".repeat(3000)}),
            400,
            "context has room for 512",
        ),
        (json!({"suffix": "end"}), 400, "suffix"),
        (json!({"best_of": 3}), 400, "best_of"),
        (json!({"stop": vec!["x"; 17]}), 400, "17 texts"),
    ] {
        let answer = completion(more.clone());
        assert_eq!(answer.status, status, "{more}: {answer:?}");
        assert!(answer.error().contains(expected), "{more}: {answer:?}");
    }
    for (more, expected) in [
        (json!({"messages": []}), "found none"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            "image_url",
        ),
        (json!({"tools": "none"}), "tools"),
        (json!({"tool_choice": "required"}), "tool_choice"),
    ] {
        let answer = post(&server, "/v1/chat/completions", &chat(more.clone()));
        assert_eq!(answer.status, 400, "{more}: {answer:?}");
        assert!(answer.error().contains(expected), "{more}: {answer:?}");
    }
    assert_eq!(get(&server, "/v1/nothing").status, 404);
    assert_eq!(get(&server, "/v1/completions").status, 405);
}

#[test]
fn the_smaller_paths_answer() {
    let server = server(2, |_| {});
    assert_eq!(get(&server, "/health").json()["status"], "ok");
    let models = get(&server, "/v1/models").json();
    assert_eq!(models["data"][0]["id"], "scripture");
    assert_eq!(
        get(&server, "/v1/models/scripture").json()["max_model_len"],
        512
    );
    assert_eq!(get(&server, "/v1/models/other").status, 404);
    let ids = post(&server, "/tokenize", &json!({"content": "And God said"})).json();
    let text = post(&server, "/detokenize", &json!({"tokens": ids["tokens"]})).json();
    assert_eq!(text["content"], "And God said");
    let plain = post(
        &server,
        "/tokenize",
        &json!({"content": "And God said", "add_special": false, "with_pieces": true}),
    )
    .json();
    assert_eq!(plain["tokens"][0]["piece"], "And");
    post(&server, "/v1/completions", &greedy(json!({})));
    let metrics = get(&server, "/metrics").body;
    for line in [
        "graver_generated_tokens_total 12",
        "graver_slots 2",
        "graver_choices_finished_total 1",
        "# TYPE graver_slots_busy gauge",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn a_key_is_asked_for_and_pages_of_others_only_where_that_is_wanted() {
    let guarded = server(1, |o| o.key = Some("secret".into()));
    let ask = |more: &str| {
        raw(
            guarded.address(),
            request("GET", "/v1/models", more, "").as_bytes(),
        )
    };
    for wrong in [
        "",
        "Authorization: Bearer secre\r\n",
        "Authorization: Basic secret\r\n",
    ] {
        let answer = ask(wrong);
        assert_eq!(answer.status, 401, "{wrong}");
        assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
    }
    let answer = ask("Authorization: Bearer secret\r\nOrigin: https://elsewhere\r\n");
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains("access-control"), "{answer:?}");
    assert_eq!(get(&guarded, "/health").status, 200);
    assert_eq!(get(&guarded, "/metrics").status, 401);
    let open = server(1, |o| {
        (o.key, o.cors) = (Some("secret".into()), Some("*".parse().unwrap()));
    });
    let first = raw(
        open.address(),
        request("OPTIONS", "/v1/models", "", "").as_bytes(),
    );
    assert_eq!(first.status, 204);
    assert!(first.headers.contains("access-control-allow-origin: *"));
}

/// Waits until nothing is computed any more.
fn wait_idle(server: &Server) {
    let start = Instant::now();
    while server.engine().gauges().slots_busy.get() > 0 {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
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
    assert_eq!(
        post(&server, "/v1/completions", &greedy(json!({}))).status,
        200
    );
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
    assert!(refused.headers.contains("retry-after: 1"), "{refused:?}");
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
    assert_eq!(
        post(&server, "/v1/completions", &greedy(json!({}))).status,
        200
    );
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

/// Ten thousand, or as many as this process may have both ends of.
#[test]
fn thousands_of_idle_connections_are_no_burden() {
    let server = server(1, |o| o.header_time = Duration::from_secs(300));
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let files = files.split_whitespace().nth(3).unwrap();
    let most = files.parse().map_or(10_000, |files: usize| files / 2 - 400);
    let idle: Vec<TcpStream> = (0..most.min(10_000))
        .map(|_| connect(server.address()))
        .collect();
    let start = Instant::now();
    let answer = post(&server, "/v1/completions", &greedy(json!({})));
    assert_eq!(answer.status, 200);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "beside {} connections",
        idle.len()
    );
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
    let output = Command::new("bash")
        .arg(script)
        .args([&url, "secret"])
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    match output.status.code() {
        Some(0) => {}
        Some(77) => eprintln!("skipped: the_official_python_client_works_unchanged: {text}"),
        code => panic!("{code:?}: {text}"),
    }
}

/// 64 clients over 16 slots, a third of which hang up: for $GRAVER_LOAD_SECONDS, or a few.
#[test]
fn many_clients_that_come_and_go_are_answered_as_if_alone() {
    let runs = Command::new("python3").arg("--version").output().is_ok();
    if !runs {
        eprintln!("skipped: many_clients_that_come_and_go_are_answered_as_if_alone: no python3");
        return;
    }
    let server = server(16, |_| {});
    let seconds = std::env::var("GRAVER_LOAD_SECONDS").unwrap_or_else(|_| "5".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("load/load.py");
    let url = format!("http://{}/v1", server.address());
    let output = Command::new("python3")
        .arg(script)
        .args([
            &url,
            "--clients",
            "64",
            "--seconds",
            &seconds,
            "--same",
            "8",
        ])
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
}

#[test]
fn answers_follow_schemas_and_grammars() {
    let server = server(2, |_| {});
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8},
        "kind": {"enum": ["king", "prophet"]}}, "required": ["name", "kind"], "additionalProperties": false});
    let wanted =
        json!({"type": "json_schema", "json_schema": {"name": "person", "schema": schema}});
    for temperature in [0.0, 1.5] {
        let asked = chat(
            json!({"response_format": wanted, "max_tokens": 200, "temperature": temperature, "n": 2}),
        );
        let answer = post(&server, "/v1/chat/completions", &asked).json();
        for choice in answer["choices"].as_array().unwrap() {
            assert_eq!(choice["finish_reason"], "stop", "{answer}");
            let text = choice["message"]["content"].as_str().unwrap();
            let person: Value =
                serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert!(
                ["king", "prophet"].contains(&person["kind"].as_str().unwrap()),
                "{text}"
            );
        }
    }
    let grammar = "start: \"yes\" | \"no, \" /[a-z]{3}/";
    let answer = post(
        &server,
        "/v1/completions",
        &greedy(json!({"grammar": grammar})),
    )
    .json();
    let text = answer["choices"][0]["text"].as_str().unwrap();
    assert!(
        text == "yes" || text.len() == 7 && text.starts_with("no, "),
        "{text}"
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let object = json!({"response_format": {"type": "json_object"}, "max_tokens": 3});
    let answer = post(&server, "/v1/chat/completions", &chat(object)).json();
    assert!(
        answer["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .starts_with('{')
    );
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
    for schema in [nested, huge, loops, product, json!({"type": "nonsense"})] {
        let wanted = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        let answer = post(
            &server,
            "/v1/chat/completions",
            &chat(json!({"response_format": wanted, "max_tokens": 5})),
        );
        assert!(
            answer.status == 400 || answer.status == 200,
            "{schema}: {answer:?}"
        );
    }
    for (grammar, expected) in [
        ("start: missing", "grammar"),
        ("", "grammar"),
        ("start: /(/", "grammar"),
    ] {
        let answer = post(
            &server,
            "/v1/completions",
            &greedy(json!({"grammar": grammar})),
        );
        assert_eq!(answer.status, 400, "{grammar}: {answer:?}");
        assert!(answer.error().contains(expected), "{answer:?}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        post(&server, "/v1/completions", &greedy(json!({}))).status,
        200
    );
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let server = server(1, |o| o.key = Some("secret".into()));
    let page = get(&server, "/");
    assert_eq!(page.status, 200);
    assert!(
        page.headers
            .contains("content-security-policy: default-src 'none'")
    );
    assert!(page.body.contains("v1/chat/completions"));
    for elsewhere in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.body.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn calls_can_be_forced() {
    let server = server(2, |_| {});
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}},
        "required": ["name"], "additionalProperties": false});
    let tool = |name| json!({"type": "function", "function": {"name": name, "parameters": schema}});
    let tools = [tool("look_up"), tool("forget")];
    let named = json!({"type": "function", "function": {"name": "forget"}});
    for (choice, names) in [
        (json!("required"), &["look_up", "forget"][..]),
        (named, &["forget"]),
    ] {
        let mut asked = chat(json!({"tools": tools, "tool_choice": choice, "max_tokens": 200}));
        let whole = post(&server, "/v1/chat/completions", &asked).json();
        let found = &whole["choices"][0];
        assert_eq!(found["finish_reason"], "tool_calls", "{whole}");
        assert_eq!(found["message"]["content"], Value::Null);
        let function = &found["message"]["tool_calls"][0]["function"];
        assert!(
            names.contains(&function["name"].as_str().unwrap()),
            "{whole}"
        );
        let arguments = function["arguments"].as_str().unwrap();
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        assert!(arguments["name"].is_string());
        asked["stream"] = json!(true);
        let events = post(&server, "/v1/chat/completions", &asked).events();
        let calls = events
            .iter()
            .map(|e| &e["choices"][0]["delta"]["tool_calls"][0]["function"]);
        let calls: Vec<&Value> = calls.filter(|call| !call.is_null()).collect();
        assert_eq!(calls, [function]);
    }
    let unknown = chat(
        json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "x"}}}),
    );
    let answer = post(&server, "/v1/chat/completions", &unknown);
    assert!(
        answer.error().contains("no tool is called `x`"),
        "{answer:?}"
    );
}

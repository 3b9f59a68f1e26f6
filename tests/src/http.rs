//! A server over the small model that `graver` carries, and a client that sends what it is told, byte for byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use graver::driver::{self, CompileOptions, ModelSource, Purpose};
use graver::embedded;
use graver_runtime::session::SessionOptions;
use graver_runtime::tokenizer::Tokenizer;
use graver_serve::embeddings::{Embedder, Pooling};
use graver_serve::http::{ServedModel, Server, ServerOptions};
use graver_serve::template::TemplateFiles;
use serde_json::{Map, Value, json};

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
    {% if tools %}tools: {{ tools | length }} <tool_call></tool_call>\n{% endif %}assistant:";

/// A server with so many slots, whose options `change` may change.
///
/// # Panics
/// Where it does not work: this is for tests.
pub fn server(slots: usize, change: impl FnOnce(&mut ServerOptions)) -> Server {
    server_with(TEMPLATE, slots, change)
}

/// A server whose model has this chat template.
///
/// # Panics
/// Where it does not work: this is for tests.
pub fn server_with(
    template: &str,
    slots: usize,
    change: impl FnOnce(&mut ServerOptions),
) -> Server {
    let loaded = driver::load(&ModelSource::Embedded, Purpose::Run, None, &|_, _, _| {}).unwrap();
    let session = SessionOptions {
        threads: Some(2),
        slots,
        alone: true,
        ..SessionOptions::default()
    };
    let compile = CompileOptions::native().unwrap();
    let (session, hidden) = driver::open_with_hidden(loaded, &compile, session).unwrap();
    let hidden = hidden.unwrap();
    let tokenizer = Tokenizer::load(&embedded::tokenizer()).unwrap();
    let templates = TemplateFiles::of(template, Map::new());
    let eos = vec![tokenizer.id_of("</s>").unwrap()];
    let mut model = ServedModel::new("scripture", session, tokenizer, &templates, eos).unwrap();
    let start = move || Ok(hidden.start(SessionOptions::default())?);
    model.embedder = Some(Embedder::new(Pooling::Mean, Box::new(start)));
    let mut options = ServerOptions::default();
    change(&mut options);
    Server::start(model, options).unwrap()
}

/// An answer: its status, its headers as they came, its body.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers, in lower case.
    pub headers: String,
    /// Body, put together.
    pub body: String,
}

impl Answer {
    /// The body.
    ///
    /// # Panics
    /// Where it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The message of an error.
    ///
    /// # Panics
    /// Where there is none.
    pub fn error(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    /// Server-sent events, all but the last, which says that it is the last.
    ///
    /// # Panics
    /// Where they are not such.
    pub fn events(&self) -> Vec<Value> {
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

/// A connection that gives up after a minute.
///
/// # Panics
/// Where it does not work: this is for tests.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

/// All that comes, as one answer.
///
/// # Panics
/// Where it does not work: this is for tests.
pub fn read_answer(mut stream: TcpStream) -> Answer {
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

/// Sends bytes and reads the answer.
///
/// # Panics
/// Where it does not work: this is for tests.
pub fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    read_answer(stream)
}

/// A request as text; `more` are further headers.
///
/// # Panics
/// Where it does not work: this is for tests.
pub fn request(method: &str, path: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{more}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// GET.
///
/// # Panics
/// Where it does not work: this is for tests.
pub fn get(server: &Server, path: &str) -> Answer {
    raw(server.address(), request("GET", path, "", "").as_bytes())
}

/// POST of JSON.
///
/// # Panics
/// Where it does not work: this is for tests.
pub fn post(server: &Server, path: &str, body: &Value) -> Answer {
    raw(
        server.address(),
        request("POST", path, "", &body.to_string()).as_bytes(),
    )
}

/// A completion at temperature 0, changed by `more`.
///
/// # Panics
/// Where it does not work: this is for tests.
pub fn greedy(more: Value) -> Value {
    let mut body = json!({"model": "scripture", "prompt": "In the beginning", "temperature": 0, "max_tokens": 12});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

/// A conversation at temperature 0, changed by `more`.
///
/// # Panics
/// Where it does not work: this is for tests.
pub fn chat(more: Value) -> Value {
    let mut body = json!({"model": "scripture", "messages": [{"role": "user", "content": "Who was Moses?"}],
        "temperature": 0, "max_tokens": 12});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

/// Waits until nothing is computed any more.
///
/// # Panics
/// After 20 seconds.
pub fn wait_idle(server: &Server) {
    let start = Instant::now();
    while server.engine().gauges().slots_busy.get() > 0 {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a program to its end; gives its exit code and what it printed.
///
/// # Panics
/// Where it cannot be run.
pub fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("the program runs");
    let printed = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&printed).into_owned(),
    )
}

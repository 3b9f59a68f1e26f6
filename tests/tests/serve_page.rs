//! The page of `graver serve` in a browser: it says which model it talks to, sends, and shows the answer as it comes.
//!
//! Needs Chromium; where there is none, the test says so and passes.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::process::Command;

use graver::driver::{self, CompileOptions, ModelSource, Purpose};
use graver::embedded;
use graver_runtime::session::SessionOptions;
use graver_runtime::tokenizer::Tokenizer;
use graver_serve::http::{ServedModel, Server, ServerOptions};
use graver_serve::template::TemplateFiles;
use serde_json::Map;

const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}{% endfor %}";

fn server() -> Server {
    let loaded = driver::load(&ModelSource::Embedded, Purpose::Run, None, &|_, _, _| {}).unwrap();
    let options = SessionOptions {
        threads: Some(2),
        alone: true,
        ..SessionOptions::default()
    };
    let session = driver::open(loaded, &CompileOptions::native().unwrap(), options).unwrap();
    let tokenizer = Tokenizer::load(&embedded::tokenizer()).unwrap();
    let templates = TemplateFiles::of(TEMPLATE, Map::new());
    let model = ServedModel::new("scripture", session, tokenizer, &templates, vec![]).unwrap();
    Server::start(model, ServerOptions::default()).unwrap()
}

fn browser() -> Option<&'static str> {
    let runs = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(runs)
}

/// The document after a while, and what its scripts logged.
fn browse(browser: &str, url: &str) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
        ])
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr))
}

#[test]
fn the_page_sends_and_shows_what_comes() {
    let Some(browser) = browser() else {
        eprintln!("skipped: the_page_sends_and_shows_what_comes: no chromium on this machine");
        return;
    };
    let server = server();
    let url = format!("http://{}/#say=In%20the%20beginning", server.address());
    let (dom, log) = browse(browser, &url);
    let wrong: Vec<&str> = log
        .lines()
        .filter(|line| {
            line.contains("CONSOLE") && (line.contains("Error") || line.contains("Refused"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(dom.contains("scripture · 512 tokens of context"), "{dom}");
    assert!(
        dom.contains("<div class=\"turn user\">In the beginning</div>"),
        "{dom}"
    );
    assert!(
        dom.contains("data-done=\"yes\"") && dom.contains("tokens/s"),
        "{dom}"
    );
    let answer = dom
        .split("<div class=\"turn assistant\"><div class=\"\">")
        .nth(1);
    let answer = answer.or_else(|| dom.split("<div class=\"turn assistant\"><div>").nth(1));
    let answer = answer.unwrap_or_else(|| panic!("no answer: {dom}"));
    assert!(
        answer.split("</div>").next().unwrap().len() > 20,
        "{answer}"
    );
    assert!(!dom.contains("class=\"error\""), "{dom}");
}

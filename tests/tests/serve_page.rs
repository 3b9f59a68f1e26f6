//! The page of `graver serve` in a browser: it says which model it talks to, sends, and shows the answer as it comes.
//!
//! Needs Chromium; where there is none, the test says so and passes.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use graver_tests::browser::{browse, browser};
use graver_tests::http::server;

#[test]
fn the_page_sends_and_shows_what_comes() {
    let Some(browser) = browser() else {
        eprintln!("skipped: the_page_sends_and_shows_what_comes: no chromium on this machine");
        return;
    };
    let server = server(2, |_| {});
    let url = format!("http://{}/#say=In%20the%20beginning", server.address());
    let open = || browse(browser, &["--virtual-time-budget=20000"], &url);
    let (mut dom, mut log) = open();
    // The browser's time may have run out before an answer in real time is complete.
    for _ in 0..9 {
        if dom.contains("data-done=\"yes\"") {
            break;
        }
        (dom, log) = open();
    }
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

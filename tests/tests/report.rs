//! `graver report` in a browser: the page opens without errors, both graphs show, a node can be clicked.
//!
//! Needs Chromium; where there is none, the test says so and passes.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use graver::driver::CompileOptions;
use graver::report::{Measured, page};
use graver::spec::{self, SpecSource};
use graver::summary::{Machine, summarize};
use graver_tests::browser::{browse, browser};
use graver_tests::load_shapes;

/// What a reader does: waits for the page, and clicks a node of the fused graph.
const READER: &str =
    "<script>document.querySelector('[data-side=after] .node').click();</script></body>";

fn made(name: &str, preset: &str) -> String {
    let spec = spec::load(SpecSource::Builtin(name)).unwrap();
    let config = spec.preset(preset).unwrap();
    let loaded = load_shapes(&spec, &config, None).unwrap();
    let options = CompileOptions::native().unwrap();
    let machine = Some(Machine {
        gbps: 20.0,
        gflops: 100.0,
    });
    let other = spec::load(SpecSource::Builtin("llama4")).unwrap();
    let other = load_shapes(&other, &other.preset("scout").unwrap(), None).unwrap();
    let measured = Measured {
        machine,
        beside: Some(summarize("llama4 scout", &other, &options, machine)),
        ..Measured::default()
    };
    page(&format!("{name} {preset}"), &loaded, &options, measured)
}

fn check(name: &str, preset: &str) {
    let Some(browser) = browser() else {
        eprintln!("skipped: report of {name} {preset}: no chromium on this machine");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    std::fs::write(&file, made(name, preset).replace("</body>", READER)).unwrap();
    for size in ["1400,2000", "390,840"] {
        opens(browser, name, size, &format!("file://{}", file.display()));
    }
}

fn opens(browser: &str, name: &str, size: &str, url: &str) {
    let window = format!("--window-size={size}");
    let (dom, log) = browse(browser, &[&window, "--virtual-time-budget=10000"], url);
    let errors: Vec<_> = log.lines().filter(|l| l.contains("CONSOLE")).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}");
    assert!(
        dom.contains("data-ready=\"yes\""),
        "{name}: the page was not drawn\n{log}"
    );
    for side in ["before", "after"] {
        let graph = dom.split(&format!("data-side=\"{side}\"")).nth(1);
        let graph = graph.unwrap_or_else(|| panic!("{name}: no graph {side}"));
        let graph = graph.split("</div>").next().unwrap();
        assert!(graph.matches("class=\"node").count() >= 5, "{name} {side}");
    }
    assert!(
        dom.contains("class=\"node selected\""),
        "{name}: nothing is selected"
    );
    assert!(dom.contains("detail open"), "{name}: no details show");
    assert!(
        dom.matches("class=\"hue on\"").count() > 1,
        "{name}: the clicked kernel is not led to its operations"
    );
    let dots = dom.matches("class=\"dotno").count();
    assert!(dots > 2, "{name}: {dots} dots of the roofline are labelled");
    assert!(
        dom.contains("Beside llama4 scout") && dom.contains("chunks of 8192"),
        "{name}: the other model does not show"
    );
}

#[test]
fn the_page_of_a_dense_model_opens_in_chromium() {
    check("llama", "3.1-8b");
}

#[test]
fn the_page_of_a_large_mixture_of_experts_opens_in_chromium() {
    check("deepseek_v3", "671b");
}

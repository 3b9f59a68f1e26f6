//! `graver perplexity` and `graver verify --text`.

use std::fs;

use serde_json::Value;

use super::{graver_with, repository};

fn text(folder: &tempfile::TempDir) -> (String, Value) {
    let golden = fs::read(repository("tests/fixtures/perplexity.json")).expect("the fixture");
    let golden: Value = serde_json::from_slice(&golden).expect("JSON");
    let path = folder.path().join("text.txt");
    fs::write(&path, golden["text"].as_str().expect("a text")).expect("a file");
    (path.display().to_string(), golden)
}

/// The number is that of `transformers`, for windows that overlap by much, by little and not at all.
#[test]
fn perplexity_is_that_of_the_reference() {
    let folder = tempfile::tempdir().expect("a folder");
    let (text, golden) = text(&folder);
    for case in golden["cases"].as_array().expect("cases") {
        let (length, stride) = (case["max_length"].to_string(), case["stride"].to_string());
        let args = [
            "perplexity",
            "--text",
            &text,
            "--max-length",
            &length,
            "--stride",
            &stride,
            "--json",
        ];
        let found: Value = serde_json::from_str(&graver_with(&args).ok()).expect("JSON");
        let number = |of: &Value| of["perplexity"].as_f64().expect("a number");
        let difference = number(&found) / number(case) - 1.0;
        assert!(difference.abs() < 1e-5, "{case}: {found}");
        assert_eq!(found["tokens"], golden["tokens"]);
    }
}

/// Rounded for a text, a model loses less of it; what has no tokenizer cannot read one.
#[test]
fn a_text_to_be_rounded_for_is_read_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let (text, _) = text(&folder);
    let verify = ["verify", "--quantize", "q4", "--text", &text, "--json"];
    let ratio = |more: &[&str]| {
        let found = graver_with(&[&verify[..], more].concat()).ok();
        let found: Value = serde_json::from_str(&found).expect("JSON");
        found["ratio"].as_f64().expect("a number")
    };
    let (blind, aware) = (ratio(&[]), ratio(&["--calibrate", &text]));
    assert!(aware < blind, "{aware} against {blind}");
    let run = "run llama --tokens 1 -n 1 --quantize q4 --calibrate";
    let run: Vec<&str> = run.split(' ').chain([&*text]).collect();
    let said = graver_with(&run).refused();
    assert!(said.starts_with("--calibrate "), "{said}");
    let short = folder.path().join("short.txt");
    std::fs::write(&short, "Once").expect("a file");
    let short = short.display().to_string();
    let said = graver_with(&["verify", "--quantize", "q4", "--calibrate", &short]).refused();
    assert!(said.contains("expected at least 32"), "{said}");
}

/// What rounding costs stands beside the model that rounds nothing.
#[test]
fn a_rounded_model_is_set_beside_the_exact_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (text, golden) = text(&folder);
    let args = ["verify", "--quantize", "q4", "--text", &text, "--json"];
    let found: Value = serde_json::from_str(&graver_with(&args).ok()).expect("JSON");
    let number = |of: &str| found[of]["perplexity"].as_f64().expect("a number");
    let expected = golden["cases"][0]["perplexity"].as_f64().expect("a number");
    assert!(
        (number("unrounded") / expected - 1.0).abs() < 1e-5,
        "{found}"
    );
    let ratio = found["ratio"].as_f64().expect("a number");
    assert!(ratio > 1.0 && ratio < 1.5, "{found}");
    assert_eq!(ratio, number("rounded") / number("unrounded"));
}

#[test]
fn texts_and_windows_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (text, _) = text(&folder);
    let refused =
        |more: &[&str]| graver_with(&[&["perplexity", "--text", &text], more].concat()).refused();
    let still = refused(&["--stride", "0"]);
    assert!(
        still.contains("expected a length of 2 to 512 and a stride of 1 to that length"),
        "{still}"
    );
    let gaps = refused(&["--max-length", "20", "--stride", "30"]);
    assert!(
        gaps.contains("windows of 20 tokens that move by 30"),
        "{gaps}"
    );
    let none = refused(&["--max-length", "1"]);
    assert!(none.contains("windows of 1 tokens"), "{none}");
    let short = folder.path().join("short.txt");
    fs::write(&short, "").expect("a file");
    let short = short.display().to_string();
    let short = graver_with(&["perplexity", "--text", &short]).refused();
    assert!(short.contains("expected at least 2"), "{short}");
}

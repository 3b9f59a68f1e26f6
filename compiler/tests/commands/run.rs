//! `graver run` without a model.

use serde_json::Value;

use super::{graver, graver_with, repository};

/// The model that the program carries writes what `transformers` writes, word for word, fused and unfused.
#[test]
fn the_embedded_model_writes_the_published_words() {
    let file = repository("tests/fixtures/embedded-model.json");
    let cases: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for case in cases.as_array().unwrap() {
        let (prompt, text) = (
            case["prompt"].as_str().unwrap(),
            case["text"].as_str().unwrap(),
        );
        let n = case["greedy_ids"].as_array().unwrap().len().to_string();
        for more in [&["--threads", "2"][..], &["--threads", "1", "--no-fuse"]] {
            let args = [
                &["run", "-p", prompt, "-n", &n, "--temp", "0", "--quiet"][..],
                more,
            ]
            .concat();
            assert_eq!(graver_with(&args).ok().trim_end(), text, "{args:?}");
        }
    }
}

#[test]
fn random_weights_come_from_the_seed() {
    let ids = |seed: &str| {
        graver(&format!(
            "run llama --seed {seed} --tokens 1,2,3 --print-tokens -n 8 --temp 0"
        ))
        .ok()
    };
    assert_eq!(ids("1"), ids("1"));
    assert_ne!(ids("1"), ids("2"));
    assert_eq!(
        ids("2 --weights-seed 1"),
        ids("1"),
        "weights may have a seed of their own"
    );
}

#[test]
fn closing_line_has_both_speeds() {
    let run = graver("run -n 5 --temp 0");
    assert!(
        run.err.contains("prompt: 1 tokens, ") && run.err.contains("; generation: 5 tokens, "),
        "{}",
        run.err
    );
}

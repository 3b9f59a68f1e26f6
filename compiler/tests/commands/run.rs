//! `graver run` without a model.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{graver, graver_with, repository};

/// The model that the program carries writes what `transformers` writes, word for word, fused and unfused.
#[test]
fn the_embedded_model_writes_the_published_words() {
    let file = repository("tests/fixtures/embedded-model.json");
    let cases: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
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

/// `address size name`, one function after the other, in the file that `perf` looks for.
#[test]
fn perf_finds_the_names_of_compiled_kernels() {
    let child = Command::new(env!("CARGO_BIN_EXE_graver"))
        .args(["run", "llama", "--tokens", "1,2", "-n", "1", "--quiet"])
        .env("GRAVER_PERF_MAP", "1")
        .stdout(Stdio::null())
        .spawn()
        .expect("graver runs");
    let map = PathBuf::from(format!("/tmp/perf-{}.map", child.id()));
    let done = child.wait_with_output().expect("graver ends");
    assert!(done.status.success());
    let text = fs::read_to_string(&map).expect("a map");
    fs::remove_file(map).expect("the map goes");
    let mut end = 0;
    for line in text.lines() {
        let mut parts = line.splitn(3, ' ');
        let mut number = || u64::from_str_radix(parts.next().unwrap_or(""), 16).expect(line);
        let (start, size) = (number(), number());
        assert!(start >= end && size > 0, "{line}");
        end = start + size;
    }
    for name in ["decode.dense.0.attention.q_k_v.matmul", "prefill.dense"] {
        let is_named = |line: &str| line.ends_with(&format!(" {name}"));
        assert!(text.lines().any(is_named), "no {name} in {text}");
    }
}

#[test]
fn random_weights_come_from_the_seed() {
    let ids = |seed: &str| {
        graver(&format!(
            "run llama {seed} --tokens 1,2,3 --print-tokens -n 8 --temp 0"
        ))
        .ok()
    };
    assert_eq!(ids("--seed 1"), ids("--seed 1"));
    assert_ne!(ids("--seed 1"), ids("--seed 2"));
    assert_eq!(
        ids("--weights-seed 1"),
        ids("--seed 1"),
        "weights may have a seed of their own"
    );
}

#[test]
fn closing_line_has_both_speeds() {
    let run = graver("run -n 5 --temp 0");
    assert!(
        run.err.contains("prompt: 1 token, ") && run.err.contains("; generation: 5 tokens, "),
        "{}",
        run.err
    );
}

//! `graver verify`.

use serde_json::Value;

use super::{fixture, graver};

#[test]
fn without_a_golden_every_pass_is_compared_with_the_interpreter() {
    let text = graver("verify --tokens 20 --threads 1").ok();
    assert!(text.contains("\nnothing fused "), "{text}");
    assert!(text.contains("\none-pass-attention "), "{text}");
    assert!(
        text.lines()
            .last()
            .unwrap()
            .starts_with("passed: largest difference "),
        "{text}"
    );
}

#[test]
fn its_json_names_passes_and_paths() {
    let json = graver("verify qwen3 --tokens 20 --threads 1 --json").ok();
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["passed"], true);
    assert_eq!(report["first_difference"], Value::Null);
    assert_eq!(report["passes"][0]["pass"], "nothing fused");
    let paths: Vec<_> = report["passes"][0]["code"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["path"].clone())
        .collect();
    assert!(
        paths.contains(&"one by one".into()) && paths.contains(&"split at 10".into()),
        "{paths:?}"
    );
}

#[test]
fn goldens_are_compared_on_every_path() {
    let dir = fixture("qwen3-f32");
    let text = graver(&format!(
        "verify {dir} --golden {dir}/golden.safetensors --threads 2 --no-fuse"
    ))
    .ok();
    assert!(text.contains("whole "), "{text}");
    assert!(text.contains("greedy "), "{text}");
}

/// Another model's golden differs, and the message says where.
#[test]
fn a_difference_fails_with_row_and_token() {
    let (model, other) = (fixture("llama-yarn-f32"), fixture("qwen3-f32"));
    let run = graver(&format!(
        "verify {model} --golden {other}/golden.safetensors"
    ));
    assert_eq!(run.code, Some(1), "{}{}", run.out, run.err);
    assert!(run.out.contains("(row "), "{}", run.out);
    assert!(
        run.out.contains("\nFAILED: largest difference "),
        "{}",
        run.out
    );
}

/// What keys and values in fewer bits lose is a divergence, not a difference of logits.
#[test]
fn rounded_state_is_measured_by_what_it_loses() {
    let dir = fixture("llama-yarn-f32");
    for kv in ["f16", "bf16", "q8"] {
        let golden = format!("verify {dir} --golden {dir}/golden.safetensors --kv {kv} --json");
        let own_text = format!("verify {dir} --tokens 20 --kv {kv} --json");
        for args in [golden, own_text] {
            let report: Value = serde_json::from_str(&graver(&args).ok()).unwrap();
            assert_eq!(report["passed"], true, "{args}: {report}");
            let kl = report["paths"][0]["mean_kl"].as_f64().unwrap();
            assert!(kl > 0.0 && kl < 1e-4, "{args}: {report}");
        }
    }
}

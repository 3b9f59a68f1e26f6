//! `graver report`: which figures it shows beside a model.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Run, graver_in};

fn report(folder: &Path, args: &str) -> Run {
    let args: Vec<&str> = args.split_whitespace().collect();
    graver_in(folder, &args)
}

/// `bench.json` and `profile.json` of the tiny llama.
fn measured(folder: &Path) {
    let bench = report(
        folder,
        "bench llama --prompt 0 --gen 2 --rounds 1 --json -t 1",
    )
    .ok();
    fs::write(folder.join("bench.json"), bench).unwrap();
    report(
        folder,
        "run llama --tokens 1,2,3 --print-tokens -n 3 -t 1 --profile profile.json",
    )
    .ok();
}

#[test]
fn figures_of_another_model_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    measured(folder.path());
    for (option, of) in [
        ("--bench bench.json", "of llama tiny"),
        ("--profile profile.json", "of another model"),
    ] {
        let said = report(folder.path(), &format!("report qwen3 {option}")).refused();
        let expected = format!("contains measurements {of}, not of qwen3 tiny: model checksum ");
        assert!(said.contains(&expected), "{said}");
        assert!(!folder.path().join("report.html").exists());
        // The same shape with other weights in it would be held against the wrong bytes.
        let said = report(
            folder.path(),
            &format!("report llama --quantize q8 {option}"),
        )
        .refused();
        assert!(said.contains("measure this model"), "{said}");
    }
    let both = "report llama -t 1 --bench bench.json --profile profile.json";
    let said = report(folder.path(), both).ok();
    assert!(said.starts_with("report.html ("), "{said}");
    let other_passes = "report llama -t 1 --no-fuse --bench bench.json";
    report(folder.path(), other_passes).ok();
}

#[test]
fn figures_that_name_no_model_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    measured(folder.path());
    let file = folder.path().join("bench.json");
    let mut bench: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    bench
        .as_object_mut()
        .unwrap()
        .remove("model_checksum")
        .unwrap();
    fs::write(&file, bench.to_string()).unwrap();
    let said = report(folder.path(), "report llama --bench bench.json").refused();
    assert!(said.ends_with("measure llama tiny again"), "{said}");
}

#[test]
fn a_comparison_ends_with_what_fusion_is_worth() {
    let said = super::graver("bench llama --ab --prompt 0 --gen 4 --rounds 2 -t 1").ok();
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.contains("usion makes ") && last.contains("saves the most barriers"),
        "{said}"
    );
}

//! `graver inspect` and `graver specs`.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{graver, graver_in};

#[test]
fn every_stage_has_a_text() {
    let first_line = |args: &str| {
        let text = graver(&format!("inspect llama --emit {args}")).ok();
        text.lines().next().unwrap_or_default().to_string()
    };
    assert_eq!(first_line("spec"), "{");
    assert_eq!(first_line("graph"), "# decode.embed");
    assert_eq!(first_line("graph --program prefill"), "# prefill.embed");
    assert_eq!(first_line("graph:bias-epilogue"), "# decode.embed");
    assert!(first_line("schedule").starts_with("decode.embed: "));
    assert!(first_line("memory --program prefill").starts_with("prefill arena "));
    assert!(first_line("clif").starts_with("; decode.embed."));
    assert!(first_line("asm").starts_with("; decode.embed."));
    assert_eq!(first_line("dot"), "digraph program {");
}

#[test]
fn passes_show_in_the_graph() {
    let has_silu = |more: &str| {
        graver(&format!("inspect llama --emit graph {more}"))
            .ok()
            .contains(" = silu ")
    };
    assert!(!has_silu(""));
    assert!(has_silu("--no-fuse"));
    assert!(has_silu("--no-pass gated-activation"));
}

/// A preset of 8 billion parameters is only laid out, never drawn.
#[test]
fn a_large_preset_is_inspected_at_once() {
    let begun = Instant::now();
    let text = graver("inspect llama --preset 3.1-8b").ok();
    assert!(text.contains("8.03 billion"), "{text}");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "took {:?}",
        begun.elapsed()
    );
}

/// What the tutorial ends with is a spec that works.
#[test]
fn the_spec_of_the_tutorial_verifies() {
    let page = fs::read_to_string(super::repository("docs/new-architecture.md")).unwrap();
    let blocks = page.split("```json\n").skip(1);
    let blocks: Vec<&str> = blocks
        .filter_map(|b| Some(b.split_once("```")?.0))
        .collect();
    let with_presets = blocks.iter().find(|b| b.contains("presets")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("helium.json"), with_presets).unwrap();
    let said = graver_in(
        folder.path(),
        &["verify", "helium.json", "--preset", "tiny"],
    )
    .ok();
    assert!(said.contains("passed: largest difference"), "{said}");
}

/// The page is generated: `graver specs --markdown > docs/architectures.md`.
#[test]
fn the_page_of_architectures_is_that_of_the_specs() {
    let page = fs::read_to_string(super::repository("docs/architectures.md")).unwrap();
    assert_eq!(graver("specs --markdown").ok(), page);
}

#[test]
fn specs_are_listed_with_types_presets_and_mechanisms() {
    let json = graver("specs --json").ok();
    let list: Vec<Value> = serde_json::from_str(&json).unwrap();
    let llama = list.iter().find(|s| s["name"] == "llama").unwrap();
    assert_eq!(llama["model_types"], serde_json::json!(["llama"]));
    assert_eq!(llama["presets"][0], "tiny");
    let attention = llama["mechanisms"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["name"] == "attention");
    assert_eq!(
        attention.unwrap()["value"],
        "grouped-query, 8 key heads, 32 heads of 128"
    );
    let text = graver("specs").ok();
    assert!(
        list.iter()
            .all(|s| text.contains(s["name"].as_str().unwrap()))
    );
}

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

/// Every stage of one kernel, by any part of its place.
#[test]
fn a_kernel_is_followed_through_all_stages() {
    let emit = |args: &str| graver(&format!("inspect llama --emit {args} --kernel q+k+v")).ok();
    let graph = emit("graph");
    assert!(
        graph.starts_with("# decode.layers.dense.attention.q+k+v\nweight @"),
        "{graph}"
    );
    assert_eq!(graph.matches(" = ").count(), 1, "{graph}");
    let on_the_way = emit("graph:merge-projections");
    assert!(on_the_way.contains(" = rope "), "{on_the_way}");
    assert_eq!(emit("schedule").lines().count(), 2);
    assert!(emit("memory").contains("scratch "), "{}", emit("memory"));
    let dot = emit("dot");
    assert!(
        dot.contains("attention.q+k+v\\n") && dot.contains("qkv-epilogue"),
        "{dot}"
    );
    let whole = graver("inspect llama --emit clif").ok();
    let one = emit("clif");
    assert!(one.starts_with("; decode.dense.0.attention.q_k_v.matmul\n") && whole.contains(&one));
    assert_eq!(one.matches("\nfunction ").count(), 1);
}

/// What is not taken apart says which function and field it is all the same.
#[test]
fn code_names_what_it_reaches() {
    for name in ["llama", "qwen3_moe", "deepseek_v3", "kimi_linear"] {
        for program in ["decode", "prefill"] {
            let clif = graver(&format!("inspect {name} --emit clif --program {program}")).ok();
            let loads = clif
                .lines()
                .filter(|l| l.contains(" = load.") && l.contains(" v0+"));
            let unnamed: Vec<_> = loads.filter(|l| !l.contains("  ; ")).collect();
            assert!(unnamed.is_empty(), "{name}: {unnamed:#?}");
            let calls = clif.lines().filter(|l| l.contains("call_indirect"));
            let unnamed: Vec<_> = calls.filter(|l| !l.contains("  ; ")).collect();
            assert!(unnamed.is_empty(), "{name}: {unnamed:#?}");
        }
    }
    let clif = graver("inspect llama --emit clif --kernel q+k+v").ok();
    for named in [
        "; kernels.matmul_f32(",
        "; arena[h]",
        "; scratch[tile]",
        "; state[attention.kv.k]",
        "; @attention.q",
    ] {
        assert!(clif.contains(named), "{named}: {clif}");
    }
    let clif = graver("inspect llama --emit clif --kernel rope.rope").ok();
    assert!(
        clif.contains("; kernels.rope_angles(positions[…], "),
        "{clif}"
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn machine_code_has_addresses_bytes_loops_and_names() {
    let asm = graver("inspect llama --emit asm --kernel q+k+v").ok();
    let first = asm.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("; decode.dense.0.attention.q_k_v.matmul: ") && first.ends_with(" loops"),
        "{first}"
    );
    let second = asm.lines().nth(1).unwrap_or_default();
    assert!(
        second.trim_start().starts_with("0  55 ") && second.ends_with("push rbp"),
        "{second}"
    );
    for expected in [
        "┌",
        "│",
        "└",
        " ret\n",
        "; kernels.matmul_f32(",
        "; arena[h]",
    ] {
        assert!(asm.contains(expected), "{expected}: {asm}");
    }
    let block = graver("inspect llama --emit asm").ok();
    assert!(
        block.contains("call decode.dense.0.attention.q_k_v.matmul\n"),
        "{block}"
    );
}

#[test]
fn a_name_of_no_kernel_gets_the_nearest_one() {
    let said = graver("inspect llama --emit asm --kernel layers.dense.mlp.dwn").refused();
    let expected = "--kernel: no kernel named `layers.dense.mlp.dwn` (did you mean `layers.dense.mlp.down`?); there are embed";
    assert!(said.starts_with(expected), "{said}");
    let said = graver("inspect llama --emit spec --kernel mlp").refused();
    assert!(said.contains("drop it with --emit spec"), "{said}");
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
    // One that extends another and has no sizes has those of the other.
    let granite = blocks.iter().find(|b| b.contains("Granite")).unwrap();
    fs::write(folder.path().join("granite.json"), granite).unwrap();
    let said = graver_in(folder.path(), &["verify", "granite.json"]).ok();
    assert!(said.contains("passed: largest difference"), "{said}");
    // A mistake in it is what is complained about.
    let wrong = granite.replace("residual_multiplier ?? 1.0", "residual_multiplier ?? ");
    fs::write(folder.path().join("granite.json"), wrong).unwrap();
    let message = graver_in(folder.path(), &["verify", "granite.json"]).refused();
    assert!(
        message.starts_with("granite.json: params.residual_scale: "),
        "{message}"
    );
    // One that stands alone needs some.
    let text = fs::read_to_string(super::repository("specs/llama.json")).unwrap();
    let mut alone: Value = serde_json::from_str(&text).unwrap();
    alone.as_object_mut().unwrap().remove("presets");
    fs::write(folder.path().join("alone.json"), alone.to_string()).unwrap();
    let message = graver_in(folder.path(), &["inspect", "alone.json"]).refused();
    assert_eq!(
        message,
        "alone.json: presets: none in this spec or those it extends; pass sizes with --config FILE (a config.json), or add a preset"
    );
}

/// Words for what layers have, and none for what they have not.
#[test]
fn mechanisms_are_named_as_the_field_names_them() {
    let line = |model: &str, name: &str| {
        let text = graver(&format!("inspect {model}")).ok();
        let line = text.lines().find(|l| l.starts_with(name)).unwrap();
        line[name.len()..].trim_start().to_string()
    };
    assert_eq!(
        line("llama:3.2-1b", "positions"),
        "RoPE, θ = 500000, llama3 scaling, rotate-half"
    );
    assert_eq!(
        line("gemma3", "layers"),
        "6 × dense (window of 5), 1 × dense (full attention)"
    );
    assert!(line("llama:3.1-8b", "read per token").ends_with(" (without the embedding table)"));
    assert!(!line("gemma3", "read per token").contains("without"));
    assert!(!line("smollm3", "positions").contains("wavelength"));
    let llama4 = graver("inspect llama4 --json").ok();
    assert!(!llama4.contains("before RoPE"), "{llama4}");
}

/// Completions and manual pages are made of the same tables as the help.
#[test]
fn shells_and_man_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = graver(&format!("completions {shell}")).ok();
        assert!(
            script.contains("no-fuse") && script.contains("perplexity"),
            "{shell}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let listed = graver_in(folder.path(), &["man", "man1"]).ok();
    assert!(listed.lines().any(|l| l == "man1/graver-run.1"), "{listed}");
    let page = fs::read_to_string(pages.join("graver-run.1")).unwrap();
    assert!(
        page.contains("graver\\-run") && page.contains("\\-\\-prompt"),
        "{page}"
    );
    let top = fs::read_to_string(pages.join("graver.1")).unwrap();
    assert!(top.contains("graver\\-verify(1)"), "{top}");
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

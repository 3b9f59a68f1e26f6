//! The wording of messages: each says the place, what was found, what was expected, and what to do.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{fixture, graver, graver_with};

/// A copy of a fixture's checkpoint, to be damaged.
pub(super) fn copy(name: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

fn edit_config(dir: &Path, edit: impl FnOnce(&mut Value)) {
    let path = dir.join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

/// The message of running on ids in a folder.
pub(super) fn run_in(dir: &Path) -> String {
    let dir = dir.display().to_string();
    graver_with(&["run", &dir, "--tokens", "1", "--print-tokens", "-n", "1"]).refused()
}

/// A spec file with `edit` made to the built-in Llama.
fn spec_file(edit: impl FnOnce(&mut Value)) -> (TempDir, String) {
    let text = fs::read(super::repository("specs/llama.json")).unwrap();
    let mut spec = serde_json::from_slice(&text).unwrap();
    edit(&mut spec);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mine.json");
    fs::write(&path, spec.to_string()).unwrap();
    let path = path.display().to_string();
    (dir, path)
}

#[test]
fn model_that_is_neither_folder_nor_spec() {
    let message = graver("run llamma").refused();
    assert!(message.starts_with("llamma: neither a checkpoint folder nor a spec (did you mean `llama`?); expected a folder"), "{message}");
    assert!(
        message.ends_with("or a built-in spec, which `graver specs` lists"),
        "{message}"
    );
    let file = format!("{}/model.safetensors", fixture("qwen3-f32"));
    let message = graver(&format!("run {file}")).refused();
    assert!(
        message.ends_with("a weights file; expected its folder, with a config.json"),
        "{message}"
    );
}

#[test]
fn names_get_the_nearest_match() {
    let said = |args: &str| graver(args).refused();
    assert!(said("inspect llama --preset tinny").starts_with(
        "llama.json: presets: no preset `tinny` (did you mean `tiny`?); there are `tiny`, "
    ));
    assert!(
        said("verify llama --no-pass dead-node")
            .starts_with("no pass named `dead-node` (did you mean `dead-nodes`?); the passes are ")
    );
    assert!(
        said("specs lama")
            .starts_with("no built-in spec named `lama` (did you mean `llama`?); known are ")
    );
    let stage = graver("inspect llama --emit shedule");
    assert_eq!(stage.code, Some(2));
    assert!(
        stage
            .err
            .contains("no stage named `shedule` (did you mean `schedule`?)"),
        "{}",
        stage.err
    );
    let program = graver("inspect llama --emit graph --program prefil");
    assert!(
        program
            .err
            .contains("found `prefil`, expected `decode` or `prefill`"),
        "{}",
        program.err
    );
}

#[test]
fn presets_are_for_specs() {
    let dir = fixture("qwen3-f32");
    assert_eq!(
        graver(&format!("inspect {dir} --preset tiny")).refused(),
        "preset tiny: a checkpoint folder has sizes of its own; presets are for specs"
    );
}

#[test]
fn unknown_model_type() {
    let dir = copy("qwen3-f32");
    edit_config(dir.path(), |c| c["model_type"] = "qwen33".into());
    let message = run_in(dir.path());
    assert!(message.starts_with("config.json: model_type: no built-in spec takes `qwen33` (did you mean `qwen3`?); known are `"), "{message}");
    assert!(
        message.ends_with("`--spec FILE` takes a spec from a file"),
        "{message}"
    );
}

#[test]
fn config_that_is_no_config() {
    let dir = copy("qwen3-f32");
    fs::write(dir.path().join("config.json"), "{\"model_type\": ").unwrap();
    assert!(
        run_in(dir.path()).contains("config.json: not valid JSON"),
        "{}",
        run_in(dir.path())
    );
    fs::write(dir.path().join("config.json"), "[1, 2]").unwrap();
    assert!(
        run_in(dir.path()).contains("config.json: "),
        "{}",
        run_in(dir.path())
    );
    fs::remove_file(dir.path().join("config.json")).unwrap();
    let message = run_in(dir.path());
    assert!(
        message.contains("no config.json in this folder"),
        "{message}"
    );
}

#[test]
fn config_that_disagrees_with_the_weights() {
    let dir = copy("qwen3-f32");
    edit_config(dir.path(), |c| c["vocab_size"] = 81.into());
    let message = run_in(dir.path());
    assert!(
        message.contains("model.embed_tokens.weight")
            && message.contains("81")
            && message.contains("80"),
        "{message}"
    );
}

#[test]
fn config_that_does_not_add_up() {
    let dir = copy("qwen3-f32");
    edit_config(dir.path(), |c| c["num_key_value_heads"] = 3.into());
    let message = run_in(dir.path());
    assert_eq!(
        message,
        "llama.json: layers.dense.attention.n_kv_heads: 3 does not divide n_heads = 4"
    );
}

#[test]
fn truncated_weights() {
    let dir = copy("qwen3-f32");
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let message = run_in(dir.path());
    assert!(
        message.contains("model.safetensors: ") && message.contains("truncated"),
        "{message}"
    );
    fs::write(&path, &bytes[..5]).unwrap();
    assert!(
        run_in(dir.path()).contains("model.safetensors: "),
        "{}",
        run_in(dir.path())
    );
}

#[test]
fn header_that_lies_about_its_size() {
    let dir = copy("qwen3-f32");
    let path = dir.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let message = run_in(dir.path());
    assert!(
        message.contains("model.safetensors: ") && message.contains("18446744073709551615"),
        "{message}"
    );
}

/// Changes the name of a tensor in a file's header, the length kept.
fn rename(dir: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let path = dir.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(from.len())
        .position(|w| w == from.as_bytes())
        .expect("a tensor of that name");
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn missing_tensor() {
    let dir = copy("qwen3-f32");
    rename(
        dir.path(),
        "layers.1.mlp.down_proj",
        "layers.1.mlp.dovn_proj",
    );
    let message = run_in(dir.path());
    assert!(message.contains("layers.1.mlp.down.weight"), "{message}");
    assert!(
        message.contains("model.layers.1.mlp.down_proj.weight"),
        "{message}"
    );
    assert!(
        message.contains("model.layers.1.mlp.dovn_proj.weight"),
        "the nearest is not named: {message}"
    );
}

#[test]
fn prompt_longer_than_the_context() {
    let message = graver("run --tokens 1,2,3,4,5 --context 4").refused();
    assert_eq!(
        message,
        "the prompt has 5 tokens, but the context has room for 4; shorten it, or raise --context"
    );
    let message = graver("run --context 100000").refused();
    assert!(
        message.starts_with("--context 100000: this model takes 1 to 512 positions"),
        "{message}"
    );
}

#[test]
fn tokens_outside_the_vocabulary() {
    let message = graver("run --tokens 1,1024 -n 1").refused();
    assert_eq!(
        message,
        "token 1 of the prompt is 1024, expected an id below the vocabulary size 1024"
    );
}

#[test]
fn spec_with_an_unknown_key() {
    let (_dir, path) = spec_file(|s| s["layers"]["dense"][1]["residual"][1]["gates"] = "x".into());
    let message = graver(&format!("inspect {path}")).refused();
    assert!(message.contains("mine.json: layers.dense.mlp: unknown key `gates` (did you mean `gate`?); expected `op`, "), "{message}");
}

#[test]
fn spec_whose_widths_do_not_meet() {
    let (_dir, path) = spec_file(|s| s["head"][1]["out"] = "vocab + 1".into());
    let message = graver(&format!("inspect {path}")).refused();
    assert!(
        message.ends_with("mine.json: head: its output's width is 212, expected 211"),
        "{message}"
    );
}

#[test]
fn spec_that_reads_what_is_not_in_the_config() {
    let (_dir, path) = spec_file(|s| s["params"]["ffn"] = "intermediat_size".into());
    let message = graver(&format!("inspect {path}")).refused();
    assert!(message.ends_with("mine.json: params.ffn: config.json has no `intermediat_size` (did you mean `intermediate_size`?)"), "{message}");
}

#[test]
fn spec_that_is_no_json() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mine.json");
    fs::write(&path, "{ \"params\": { ").unwrap();
    let message = graver(&format!("inspect {}", path.display())).refused();
    assert!(message.contains("mine.json: not valid JSON: "), "{message}");
}

#[test]
fn golden_that_is_no_golden() {
    let dir = fixture("qwen3-f32");
    let message = graver(&format!("verify {dir} --golden {dir}/model.safetensors")).refused();
    assert!(
        message.ends_with("model.safetensors: input_ids: found nothing, expected a tensor of I64"),
        "{message}"
    );
    let other = fixture("gpt2-f32");
    let message = graver(&format!("verify {dir} --golden {other}/golden.safetensors")).refused();
    assert!(
        message.ends_with(
            "golden.safetensors: logits: found 89 columns, expected 80, the model's vocabulary"
        ),
        "{message}"
    );
}

#[test]
fn golden_longer_than_the_context() {
    let dir = copy("qwen3-f32");
    edit_config(dir.path(), |c| c["max_position_embeddings"] = json!(20));
    let path = dir.path().display();
    let message = graver(&format!("verify {path} --golden {path}/golden.safetensors")).refused();
    assert!(
        message.ends_with(
            "golden.safetensors: 16 tokens and 11 greedy steps need 27 positions, the model's context has 20; \
             use fewer tokens in the reference"
        ),
        "{message}"
    );
}

#[test]
fn benchmarks_that_do_not_fit() {
    let message = graver("bench --prompt 600").refused();
    assert!(
        message.starts_with("600 tokens after 0 others do not fit the model's context of 512: "),
        "{message}"
    );
}

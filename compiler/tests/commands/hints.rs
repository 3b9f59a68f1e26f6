//! A MODEL that is none: one clear sentence on what was found, and what to give instead.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{Run, fixture, graver_in};

/// The complaint about a MODEL, seen from a folder.
fn said(folder: &Path, model: &str) -> String {
    let run = graver_in(folder, &["inspect", model]);
    let message = run.refused();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn names_of_hubs_and_paths_that_lead_nowhere() {
    let folder = TempDir::new().unwrap();
    for model in [
        "meta-llama/Llama-3.2-1B",
        "./models/here",
        "/no/such/folder",
    ] {
        assert_eq!(
            said(folder.path(), model),
            format!(
                "{model}: no such file or folder; expected a checkpoint folder, a .gguf file or a spec's .json file. Graver downloads nothing: \
                 fetch a model from a hub first (hf download OWNER/NAME)"
            )
        );
    }
    assert_eq!(
        said(folder.path(), "llama:8b"),
        "llama.json: presets: no preset `8b`; there are `tiny`, `smollm2-135m`, `3.2-1b`, `3.1-8b`"
    );
    let message = said(folder.path(), "llamma:3.1-8b");
    assert!(
        message.contains("(did you mean `llama:3.1-8b`?)"),
        "{message}"
    );
    let message = said(folder.path(), "qwen33");
    assert!(message.contains("(did you mean `qwen3`?)"), "{message}");
}

#[test]
fn broken_links_and_what_cannot_be_opened() {
    let folder = TempDir::new().unwrap();
    symlink("gone", folder.path().join("link")).unwrap();
    assert_eq!(
        said(folder.path(), "link"),
        "link: a broken link to gone; use the folder or file itself"
    );
    symlink("loop", folder.path().join("loop")).unwrap();
    assert!(said(folder.path(), "loop").starts_with("loop: cannot be opened: "));
    fs::write(folder.path().join("file"), "").unwrap();
    let message = said(folder.path(), "file/model");
    assert!(
        message.starts_with("file/model: cannot be opened: Not a directory"),
        "{message}"
    );
    let made = Command::new("mkfifo")
        .arg(folder.path().join("pipe.json"))
        .status();
    assert!(made.unwrap().success());
    assert_eq!(
        said(folder.path(), "pipe.json"),
        "pipe.json: found a pipe, expected a regular file"
    );
}

#[test]
fn files_of_a_checkpoint_in_place_of_its_folder() {
    let folder = TempDir::new().unwrap();
    let dir = fixture("qwen3-f32");
    for (path, lies_in) in [
        (format!("{dir}/config.json"), dir.as_str()),
        ("config.json".into(), "."),
        ("renamed.json".into(), "."),
    ] {
        fs::copy(
            format!("{dir}/config.json"),
            folder.path().join("config.json"),
        )
        .unwrap();
        fs::copy(
            format!("{dir}/config.json"),
            folder.path().join("renamed.json"),
        )
        .unwrap();
        assert_eq!(
            said(folder.path(), &path),
            format!(
                "{path}: a checkpoint's configuration, not a spec; use its folder, {lies_in}, or, for these sizes with random \
                 weights, --config {path}"
            )
        );
    }
    fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    assert_eq!(
        said(folder.path(), "tokenizer.json"),
        "tokenizer.json: a file of a checkpoint, not a spec; use its folder: ."
    );
    let message = said(folder.path(), &format!("{dir}/model.safetensors"));
    assert!(
        message.contains("a weights file; expected its folder"),
        "{message}"
    );
}

#[test]
fn files_of_other_kinds() {
    let folder = TempDir::new().unwrap();
    let expected = "which cannot be read; expected a checkpoint folder with a config.json and .safetensors files";
    for (name, contents, what) in [
        ("model.bin", "", "a file of weights in PyTorch's own format"),
        (
            "model.pth",
            "x",
            "a file of weights in PyTorch's own format",
        ),
        ("model.onnx", "", "an ONNX model"),
    ] {
        fs::write(folder.path().join(name), contents).unwrap();
        assert_eq!(
            said(folder.path(), name),
            format!("{name}: {what}, {expected}")
        );
    }
    fs::write(folder.path().join("notes.txt"), "").unwrap();
    let message = said(folder.path(), "notes.txt");
    assert!(
        message.starts_with("notes.txt: a file, but neither a spec's .json file nor"),
        "{message}"
    );
}

#[test]
fn folders_without_a_config() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let end = "; expected a checkpoint folder, with a config.json and .safetensors files";
    fs::create_dir(path("empty")).unwrap();
    assert_eq!(
        said(folder.path(), "empty"),
        format!("empty: no config.json in this folder, which is empty{end}")
    );
    fs::create_dir(path("weights")).unwrap();
    fs::write(path("weights/model.safetensors"), "").unwrap();
    assert_eq!(
        said(folder.path(), "weights"),
        format!("weights: no config.json in this folder beside its .safetensors files{end}")
    );
    fs::create_dir(path("gguf")).unwrap();
    fs::write(path("gguf/model.gguf"), "").unwrap();
    assert_eq!(
        said(folder.path(), "gguf"),
        "gguf/model.gguf: found bytes [], expected a GGUF file, which begins with `GGUF`"
    );
    // The parts of one model, and what reads pictures, are no further models.
    for name in ["model-00002-of-00003.gguf", "mmproj-model.gguf"] {
        fs::write(path("gguf").join(name), "").unwrap();
        assert!(said(folder.path(), "gguf").starts_with("gguf/model.gguf: found"));
    }
    fs::write(path("gguf/another.gguf"), "").unwrap();
    assert_eq!(
        said(folder.path(), "gguf"),
        "gguf: several GGUF files; choose one: another.gguf, model.gguf"
    );
    // Known by its first bytes, whatever its name.
    fs::write(path("model.json"), "GGUF\u{3}").unwrap();
    assert_eq!(
        said(folder.path(), "model.json"),
        "model.json: version: found 1 bytes after byte 4, expected 4; the file is truncated or damaged, download it again"
    );
    // As fine-tuning leaves them: not weights to be renamed.
    fs::create_dir(path("adapter")).unwrap();
    fs::write(path("adapter/adapter_model.safetensors"), "").unwrap();
    let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "some/base"}"#;
    fs::write(path("adapter/adapter_config.json"), config).unwrap();
    assert_eq!(
        said(folder.path(), "adapter"),
        format!(
            "adapter: no config.json in this folder; adapter_model.safetensors is a LoRA adapter of \"some/base\", not a model: merge it into that model's weights{end}"
        )
    );
    // As caches of hubs are laid out.
    fs::create_dir_all(path("cache/snapshots/0a1b")).unwrap();
    fs::write(path("cache/snapshots/0a1b/config.json"), "{}").unwrap();
    assert_eq!(
        said(folder.path(), "cache"),
        format!("cache: no config.json in this folder{end} (did you mean cache/snapshots/0a1b?)")
    );
    // Every verb says the same.
    for verb in ["run", "compile", "verify", "explain", "report", "bench"] {
        let message = graver_in(folder.path(), &[verb, "empty"]).refused();
        assert!(
            message.starts_with("empty: no config.json in this folder"),
            "{verb}: {message}"
        );
    }
}

/// A folder whose name is no text is a folder like any other, and messages show what its name is.
#[test]
fn folders_whose_names_are_not_utf8() {
    let folder = TempDir::new().unwrap();
    let name = OsStr::from_bytes(b"caf\xE9");
    let dir = folder.path().join(name);
    fs::create_dir(&dir).unwrap();
    for file in fs::read_dir(fixture("qwen3-f32")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.join(file.file_name())).unwrap();
    }
    let with = |verb: &str, rest: &[&str]| -> Run {
        let args: Vec<&OsStr> = [verb.as_ref(), name]
            .into_iter()
            .chain(rest.iter().map(OsStr::new))
            .collect();
        graver_in(folder.path(), &args)
    };
    with(
        "run",
        &["--tokens", "1,2", "-n", "2", "--print-tokens", "-q"],
    )
    .ok();
    with("inspect", &[]).ok();
    let golden = dir.join("golden.safetensors");
    let args: [&OsStr; 4] = [
        "verify".as_ref(),
        name,
        "--golden".as_ref(),
        golden.as_ref(),
    ];
    graver_in(folder.path(), &args).ok();
    with("compile", &["-o", "out", "-q"]).ok();
    // The output would have that name, which an artifact cannot.
    let message = with("compile", &[]).refused();
    assert_eq!(
        message,
        "\"caf\\xE9\": expected an output name in UTF-8; choose another with -o"
    );
    fs::remove_file(dir.join("config.json")).unwrap();
    let message = with("run", &[]).refused();
    assert!(
        message.starts_with("\"caf\\xE9\": no config.json in this folder"),
        "{message}"
    );
}

/// Names come from outside; what a terminal would take for orders is written out.
#[test]
fn control_characters_in_names_do_not_reach_the_terminal() {
    let folder = TempDir::new().unwrap();
    let name = "a\u{1b}[2J\nerror: b";
    assert!(said(folder.path(), name).starts_with("\"a\\u{1b}[2J\\nerror: b\": "));
    let message = graver_in(folder.path(), &["specs", name]).refused();
    assert!(!message.contains('\u{1b}'), "{message}");
}

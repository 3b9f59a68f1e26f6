//! The tokenizer that an executable carries, or does not.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{GRAVER, bible, compile, complaint, fails, folder, listing, ok, output};

/// A copy of the committed model's folder.
fn copied() -> TempDir {
    let copy = folder();
    for name in listing(&bible()) {
        fs::copy(bible().join(&name), copy.path().join(name)).unwrap();
    }
    copy
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Ids of a prompt, as JSON says them.
fn ids(program: impl AsRef<std::ffi::OsStr>, before: &[&str], prompt: &str) -> Vec<u64> {
    let arguments = ["-p", prompt, "-n", "1", "--temp", "0", "--json", "-q"];
    let said = ok(program, &[before, &arguments[..]].concat());
    let said: Value = serde_json::from_str(&said).unwrap();
    serde_json::from_value(said["prompt_tokens"].clone()).unwrap()
}

/// Tokens that stand in other files than tokenizer.json are tokens in memory and in executables. Here three pieces of the
/// vocabulary become tokens of their own, one by each file, of which the first takes the blanks before it.
#[test]
fn tokens_of_every_file_go_into_an_executable() {
    let model = copied();
    let path = |name: &str| model.path().join(name);
    let tokenizer = read(&path("tokenizer.json"));
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap();
    let word = |least: usize| {
        let is_word =
            |text: &&String| text.len() >= least && text.chars().all(|c| c.is_ascii_lowercase());
        let found = vocabulary.keys().find(is_word).unwrap();
        (found.clone(), vocabulary[found].as_u64().unwrap())
    };
    let (word, id) = word(4);
    for (file, contents) in [
        (
            "tokenizer_config.json",
            json!({"extra_special_tokens": [{"__type": "AddedToken", "content": word, "lstrip": true}]}),
        ),
        (
            "special_tokens_map.json",
            json!({"mask_token": {"content": word, "lstrip": true}}),
        ),
        ("added_tokens.json", json!({(word.clone()): id})),
    ] {
        for name in [
            "tokenizer_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
        ] {
            let _ = fs::remove_file(path(name));
        }
        let prompt = format!("x {word}{word}");
        let dir = model.path().display().to_string();
        let before = ids(GRAVER, &["run", &dir], &prompt);
        fs::write(path(file), contents.to_string()).unwrap();
        let in_memory = ids(GRAVER, &["run", &dir], &prompt);
        assert_ne!(in_memory, before, "{file}");
        assert_eq!(in_memory[in_memory.len() - 2..], [id, id], "{file}");
        let out = folder();
        let program = out.path().join("bible");
        compile(model.path(), &program, &[]);
        assert_eq!(ids(&program, &[], &prompt), in_memory, "{file}");
    }
}

#[test]
fn a_model_without_a_tokenizer_takes_ids_and_says_so() {
    let model = copied();
    fs::remove_file(model.path().join("tokenizer.json")).unwrap();
    fs::write(model.path().join("vocab.json"), "{}").unwrap();
    let out = folder();
    let program = out.path().join("bible");
    let said = compile(model.path(), &program, &[]);
    let note = format!(
        "{}: found no tokenizer.json (only vocab.json, which must be converted): the executable accepts token ids only \
         (--tokens 1,2,3)\n",
        model.path().display()
    );
    assert!(said.contains(&note), "{said}");
    assert_eq!(compile(model.path(), &program, &["-q"]), "");
    let message = fails(&program, &["-p", "And"]);
    let expected = format!(
        "error: {}: compiled without a tokenizer; compile it again from a folder with a tokenizer.json, or \
         use token ids: --tokens 1,2,3 --print-tokens\n",
        program.display()
    );
    assert_eq!(message, expected);
    ok(
        &program,
        &["--tokens", "1,2,3", "--print-tokens", "-n", "1"],
    );

    let said = compile(Path::new("llama"), &out.path().join("llama"), &[]);
    let note = "llama: specs have no tokenizer: the executable accepts token ids only";
    assert!(said.contains(note), "{said}");
    let message = fails(GRAVER, &["run", "llama", "-p", "And"]);
    let expected = "error: llama: specs have no tokenizer; use a checkpoint folder";
    assert!(message.starts_with(expected), "{message}");
}

/// What would fail for whoever runs the executable fails while it is made.
#[test]
fn a_tokenizer_that_cannot_be_used_is_no_part_of_an_executable() {
    let model = copied();
    let path = |name: &str| model.path().join(name);
    let out = folder();
    let compilation = || {
        let mut command = Command::new(GRAVER);
        command.arg("compile").arg(model.path());
        command.arg("-o").arg(out.path().join("bible"));
        let message = complaint(&output(&mut command));
        assert_eq!(listing(out.path()), [""; 0]);
        message
    };
    let whole = fs::read(path("tokenizer.json")).unwrap();
    fs::write(path("tokenizer.json"), &whole[..whole.len() / 2]).unwrap();
    let message = compilation();
    assert!(message.contains("cannot load the tokenizer ("), "{message}");
    let file = fs::File::create(path("tokenizer.json")).unwrap();
    file.set_len(1 << 33).unwrap();
    let message = compilation();
    assert!(
        message.contains("tokenizer.json: 8589934592 bytes is too large for this file"),
        "{message}"
    );
    fs::remove_file(path("tokenizer.json")).unwrap();
    let made = output(Command::new("mkfifo").arg(path("tokenizer.json")));
    assert!(made.status.success());
    let message = compilation();
    assert!(
        message.contains("tokenizer.json: found a pipe"),
        "{message}"
    );
    // A library takes ids in any case.
    fs::remove_file(path("tokenizer.json")).unwrap();
    fs::write(path("tokenizer.json"), "{").unwrap();
    compile(
        model.path(),
        &out.path().join("bible.so"),
        &["--emit", "so"],
    );
}

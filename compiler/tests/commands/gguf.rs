//! GGUF files from outside: what is in them, and text in and out. With the tokenizer of a letter each, put into a converted
//! fixture; and with real models, where `GRAVER_MODELS` names a folder that has them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{graver, graver_with};

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name)[..], &kind.to_le_bytes(), value].concat()
}

fn list(name: &str, kind: u32, elements: &[Vec<u8>]) -> Vec<u8> {
    let count = (elements.len() as u64).to_le_bytes();
    let value = [&kind.to_le_bytes()[..], &count, &elements.concat()].concat();
    key(name, 9, &value)
}

/// A tokenizer of `tokens` pieces: three special ones, a blank, letters, and some that stand for nothing.
fn tokenizer(model: &str, tokens: usize) -> Vec<Vec<u8>> {
    let names = ["<unk>", "<s>", "</s>", "\u{2581}"].map(String::from);
    let letters = ('a'..='z').map(String::from);
    let rest = (30..tokens).map(|i| format!("[{i}]"));
    let names: Vec<String> = names.into_iter().chain(letters).chain(rest).collect();
    let types: Vec<i32> = (0..tokens)
        .map(|i| [2, 3, 3, 1].get(i).copied().unwrap_or(1))
        .collect();
    let each = |bytes: &dyn Fn(usize) -> Vec<u8>| (0..tokens).map(bytes).collect::<Vec<_>>();
    vec![
        key("tokenizer.ggml.model", 8, &text(model)),
        list("tokenizer.ggml.tokens", 8, &each(&|i| text(&names[i]))),
        list(
            "tokenizer.ggml.token_type",
            5,
            &each(&|i| types[i].to_le_bytes().into()),
        ),
        list(
            "tokenizer.ggml.scores",
            6,
            &each(&|i| (-(i as f32)).to_le_bytes().into()),
        ),
        key("tokenizer.ggml.unknown_token_id", 4, &0u32.to_le_bytes()),
        key("tokenizer.chat_template", 8, &text("{{ messages }}")),
    ]
}

/// The fixture with further keys, in a folder of its own. What is put in is as long as a multiple of the alignment.
fn with_keys(mut keys: Vec<Vec<u8>>) -> (tempfile::TempDir, String) {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let file = fs::read(fixtures.join("gguf/llama-mqa-odd-f16.gguf")).unwrap();
    let length: usize =
        keys.iter().map(Vec::len).sum::<usize>() + key("filling", 8, &text("")).len();
    let filling = " ".repeat(length.next_multiple_of(32) - length);
    keys.push(key("filling", 8, &text(&filling)));
    let count = u64::from_le_bytes(file[16..24].try_into().unwrap()) + keys.len() as u64;
    let whole = [
        &file[..16],
        &count.to_le_bytes(),
        &keys.concat(),
        &file[24..],
    ]
    .concat();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.gguf");
    fs::write(&path, whole).unwrap();
    let path = path.display().to_string();
    (dir, path)
}

#[test]
fn text_goes_in_and_out_and_into_executables() {
    let (dir, model) = with_keys(tokenizer("llama", 83));
    let run = |prompt: &str| {
        graver_with(&[
            "run",
            &model,
            "-p",
            prompt,
            "-n",
            "8",
            "--temp",
            "0",
            "--print-tokens",
        ])
        .ok()
    };
    let ids = run("abc");
    let of_ids = graver(&format!(
        "run {model} --tokens 3,4,5,6 -n 8 --temp 0 --print-tokens"
    ))
    .ok();
    assert_eq!(ids, of_ids);
    let out = dir.path().join("small").display().to_string();
    graver_with(&["compile", &model, "-o", &out]).ok();
    let mut made = Command::new(&out);
    let made = made.args(["-p", "abc", "-n", "8", "--temp", "0", "--print-tokens"]);
    let made = made.output().unwrap();
    assert_eq!(String::from_utf8(made.stdout).unwrap(), ids);
}

#[test]
fn a_tokenizer_of_another_kind_is_named_and_ids_work() {
    let (_dir, model) = with_keys(tokenizer("rwkv", 83));
    let refused = graver(&format!("run {model} -p x -n 1"));
    assert_eq!(refused.code, Some(1));
    let expected =
        format!("{model}: its tokenizer is of the kind `rwkv`, and known are gpt2, llama and t5");
    assert!(refused.err.contains(&expected), "{}", refused.err);
    graver(&format!("run {model} --tokens 1,3 -n 1 --print-tokens")).ok();
}

#[test]
fn inspect_says_what_is_in_a_file() {
    let (_dir, model) = with_keys(tokenizer("llama", 83));
    let shown = graver(&format!("inspect {model}")).ok();
    let words: Vec<String> = shown
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for expected in [
        "stored as F32 3 tensors, 720 B",
        "tokenizer `llama`, 83 tokens, with a chat template",
        "general.architecture = \"llama\"",
        "tokenizer.ggml.tokens = a list of 83 elements",
    ] {
        assert!(
            words.iter().any(|line| line == expected),
            "{expected}: {shown}"
        );
    }
    let json: serde_json::Value =
        serde_json::from_str(&graver(&format!("inspect {model} --json")).ok()).unwrap();
    assert_eq!(json["file"]["types"][0]["name"], "F16");
}

/// A model in the folder that `GRAVER_MODELS` names.
fn real(name: &str) -> Option<String> {
    let path = std::env::var_os("GRAVER_MODELS").map(|dir| PathBuf::from(dir).join(name));
    match path.filter(|path| path.is_file()) {
        Some(path) => Some(path.display().to_string()),
        None => {
            eprintln!("skipped: GRAVER_MODELS names no folder with {name}");
            None
        }
    }
}

/// What a model makes of the beginning of a sentence.
fn continued(model: &str) -> String {
    let prompt = ["-p", "The capital of France is"];
    graver_with(&[&["run", model], &prompt[..], &["-n", "6", "--temp", "0"]].concat()).ok()
}

#[test]
fn a_real_model_of_byte_pairs_writes_text() {
    let Some(model) = real("SmolLM2-135M-Instruct.Q4_1.gguf") else {
        return;
    };
    let out = continued(&model);
    assert!(out.starts_with("The capital of France is Paris"), "{out}");
    let shown = graver(&format!("inspect {model}")).ok();
    assert!(
        shown.contains("`gpt2`, 49152 tokens, cut as `smollm`, with a chat template"),
        "{shown}"
    );
}

#[test]
fn a_real_model_of_pieces_writes_text() {
    let Some(model) = real("gemma-3-270m.Q4_K_M.gguf") else {
        return;
    };
    let out = continued(&model);
    assert!(out.starts_with("The capital of France is "), "{out}");
    assert!(out.len() > 40, "{out}");
}

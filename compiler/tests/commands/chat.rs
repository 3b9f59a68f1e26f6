//! `graver chat` through a pipe: a line in, an answer out.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Run, graver, repository};

/// A template for models that were made for none: what was said, one after the other.
const PLAIN: &str = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";

/// Says lines to `graver chat`.
fn chat(args: &[&str], lines: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_graver"))
        .arg("chat")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("RUST_BACKTRACE")
        .spawn()
        .expect("graver runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(lines.as_bytes()).expect("it listens");
    drop(stdin);
    Run::of(child.wait_with_output().expect("it ends"))
}

fn template(folder: &TempDir, text: &str) -> String {
    let path = folder.path().join("template.jinja");
    fs::write(&path, text).expect("a template");
    path.display().to_string()
}

/// A turn is what `run` writes after the same text, and the second one after all that was said before.
#[test]
fn each_turn_goes_on_from_all_that_was_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let (template, saved) = (template(&folder, PLAIN), folder.path().join("chat.json"));
    let args = ["--template", &template, "--temp", "0", "-n", "12"];
    let lines = format!("In the beginning\n and the\n/save {}\n", saved.display());
    let out = chat(&args, &lines).ok();
    let saved: Value = serde_json::from_slice(&fs::read(&saved).expect("saved")).expect("JSON");
    let said = |at: usize| saved["messages"][at]["content"].as_str().expect("text");
    assert_eq!(saved["messages"].as_array().map(Vec::len), Some(4));
    assert_eq!(out, format!("{}\n{}\n", said(1), said(3)));
    let mut before = String::new();
    for turn in [0, 2] {
        before += said(turn);
        let run = super::graver_with(&["run", "-p", &before, "--temp", "0", "-n", "12", "-q"]).ok();
        let answer = run.strip_prefix(&before).expect("the prompt first").trim();
        assert_eq!(said(turn + 1).trim(), answer);
        before += said(turn + 1);
    }
}

/// `/undo` and `/load` lead back to where the same answers come.
#[test]
fn a_conversation_can_go_back_and_be_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let template = template(&folder, PLAIN);
    let saved = folder.path().join("chat.json").display().to_string();
    let args = ["--template", &template, "--temp", "0", "-n", "9"];
    let lines = format!(
        "And God said\n/save {saved}\n unto him\n/undo\n unto him\n/load {saved}\n unto him\n"
    );
    let out = chat(&args, &lines).ok();
    let answers: Vec<&str> = out.lines().collect();
    let again = chat(
        &args,
        &format!("/load {saved}\n unto him\n/reset\nAnd God said\n"),
    )
    .ok();
    let again: Vec<&str> = again.lines().collect();
    assert_eq!(answers.len(), 4, "{out}");
    assert_eq!(answers[1..], [answers[1]; 3]);
    assert_eq!(again, [answers[1], answers[0]]);
}

/// What the model is told beforehand reaches the template, and so does what the command line says.
#[test]
fn templates_get_what_they_know() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "{{ raise_exception(messages[0].role ~ ' ' ~ messages[0].content ~ ' ' ~ depth ~ ' ' ~ name) }}";
    let template = template(&folder, text);
    let args = [
        "--template",
        &template,
        "--system",
        "Be terse.",
        "--template-arg",
        "depth=3",
        "--template-arg",
        "name=x",
    ];
    let message = chat(&args, "Hi\n").refused();
    assert_eq!(
        message,
        "the chat template refuses this conversation: system Be terse. 3 x"
    );
}

#[test]
fn a_full_context_ends_moves_or_drops() {
    let folder = tempfile::tempdir().expect("a folder");
    let template = template(&folder, PLAIN);
    let said = |on_full: &str, most: &str| {
        let args = [
            "--template",
            &template,
            "--temp",
            "0",
            "-n",
            most,
            "--context",
            "48",
            "--on-full",
            on_full,
        ];
        chat(
            &args,
            "And it came to pass\n and he said\n and he went\n/tokens\n",
        )
    };
    let stopped = said("stop", "0");
    assert_eq!(stopped.code, Some(1), "{}", stopped.err);
    assert!(
        stopped
            .out
            .contains("(stopped: the context of 48 tokens is full;"),
        "{}",
        stopped.out
    );
    assert!(
        stopped.err.contains("but the context has room for 48"),
        "{}",
        stopped.err
    );
    for on_full in ["shift", "drop-oldest"] {
        let out = said(on_full, "40").ok();
        assert!(out.contains("40 written"), "{on_full}: {out}");
    }
}

#[test]
fn mistakes_are_refused() {
    let without = graver("chat llama").refused();
    assert!(without.contains("has no chat template"), "{without}");
    let folder = tempfile::tempdir().expect("a folder");
    let broken = template(&folder, "{% if %}");
    let broken = chat(&["--template", &broken], "").refused();
    assert!(
        broken.starts_with("chat template, line 1: found %}"),
        "{broken}"
    );
    let fine = template(&folder, PLAIN);
    let unknown = chat(&["--template", &fine], "/nonsense\n").refused();
    assert_eq!(unknown, "unknown command \"/nonsense\"; /help lists all");
    let undo = chat(&["--template", &fine], "/undo\n").refused();
    assert_eq!(undo, "nothing to undo");
    let file = folder.path().join("not.json");
    fs::write(&file, json!([1]).to_string()).expect("a file");
    let loaded = chat(
        &["--template", &fine],
        &format!("/load {}\n", file.display()),
    )
    .refused();
    assert!(
        loaded.contains("expected a conversation as JSON"),
        "{loaded}"
    );
}

/// A published chat model knows what it was asked, and remembers the question before.
#[test]
fn a_published_model_knows_the_capital_of_france() {
    let models = std::env::var_os("GRAVER_MODELS").map(PathBuf::from);
    let path = models.map(|models| models.join("SmolLM2-135M-Instruct.Q4_1.gguf"));
    let Some(path) = path.filter(|path| path.is_file()) else {
        eprintln!("skipped: $GRAVER_MODELS/SmolLM2-135M-Instruct.Q4_1.gguf is not there");
        return;
    };
    let args = [path.to_str().expect("UTF-8"), "--temp", "0", "-n", "40"];
    let out = chat(
        &args,
        "What is the capital of France? Answer in one sentence.\n",
    )
    .ok();
    assert_eq!(out, "The capital of France is Paris.\n");
}

/// The file that a model's folder has for it is found without being named.
#[test]
fn a_folder_has_its_template_beside_the_tokenizer() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = repository("compiler/model");
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        let from: &Path = &model.join(file);
        fs::copy(from, folder.path().join(file)).expect("a copy");
    }
    fs::write(folder.path().join("chat_template.jinja"), PLAIN).expect("a template");
    let args = [
        folder.path().to_str().expect("UTF-8"),
        "--temp",
        "0",
        "-n",
        "5",
    ];
    let out = chat(&args, "In the beginning\n").ok();
    let given = template(&folder, PLAIN);
    let same = chat(
        &["--template", &given, "--temp", "0", "-n", "5"],
        "In the beginning\n",
    )
    .ok();
    assert_eq!(out, same);
}

//! Whole runs on a model that says what it is told to: what is printed, and where.

use std::io::{self, Write};

use clap::Parser;
use serde_json::{Value, json};

use super::{RunArgs, SpecialIds, run};
use crate::generate::fake::Fake;
use crate::tokenizer::fixtures::{self, byte_fallback, byte_level, load, source, stories260k};
use crate::tokenizer::{Pending, Source, Tokenizer};

mod options;

#[derive(Parser, Debug)]
struct Command {
    #[command(flatten)]
    run: RunArgs,
}

fn parse(line: &[&str]) -> Result<RunArgs, String> {
    let line = [&["model"], line].concat();
    Command::try_parse_from(line)
        .map(|command| command.run)
        .map_err(|error| error.to_string())
}

fn pending(tokenizer: &Value) -> Pending {
    Tokenizer::load_in_background(source(tokenizer, None)).unwrap()
}

fn missing() -> Pending {
    Tokenizer::load_in_background(fixtures::missing("folder", None)).unwrap()
}

/// What a run prints, on both writers.
fn outcome(
    line: &[&str],
    tokenizer: Pending,
    model: &mut Fake,
    special: &SpecialIds,
) -> Result<(String, String), String> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = parse(line).expect("the options are fine");
    run(&args, model, tokenizer, special, &mut out, &mut err).map_err(|error| error.to_string())?;
    Ok((
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    ))
}

/// The same with the byte-fallback tokenizer and no special ids.
fn printed(line: &[&str], model: &mut Fake) -> Result<(String, String), String> {
    outcome(
        line,
        pending(&byte_fallback()),
        model,
        &SpecialIds::default(),
    )
}

fn stdout(line: &[&str], tokenizer: Pending, script: &[u32]) -> String {
    outcome(
        line,
        tokenizer,
        &mut Fake::new(script, 100, 600),
        &SpecialIds::default(),
    )
    .unwrap()
    .0
}

/// The ids of a text's end, to be generated after its start.
fn continuation(tokenizer: &Value, start: &str, whole: &str) -> Vec<u32> {
    let tokenizer = load(tokenizer);
    let (start, whole) = (
        tokenizer.encode(start).unwrap(),
        tokenizer.encode(whole).unwrap(),
    );
    whole
        .strip_prefix(start.as_slice())
        .expect("the text tokenizes alike")
        .to_vec()
}

#[test]
fn the_prompt_is_followed_by_the_text() {
    for tokenizer in [byte_fallback(), byte_level()] {
        let whole = "the and, \n😀 the end";
        let script = continuation(&tokenizer, "the", whole);
        let n = script.len().to_string();
        let out = stdout(
            &["-p", "the", "-n", &n, "--temp", "0"],
            pending(&tokenizer),
            &script,
        );
        assert_eq!(out, format!("{whole}\n"));
    }
}

#[test]
fn the_closing_line_has_counts_and_speeds() {
    let mut model = Fake::new(&[262, 263], 100, 600);
    let line = ["-p", "the", "-n", "4", "--temp", "0"];
    let (_, err) = printed(&line, &mut model).unwrap();
    let (prompt, generation) = err.trim_end().split_once("; ").unwrap();
    let rate = |part: &str, start: &str| -> f64 {
        part.strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(" tok/s"))
            .expect(part)
            .parse()
            .expect(part)
    };
    assert!(rate(prompt, "prompt: 2 tokens, ") > 0.0);
    assert!(rate(generation, "generation: 4 tokens, ") > 0.0);
    assert_eq!(err.lines().count(), 1);
}

#[test]
fn quiet_leaves_the_notes_out() {
    let mut model = Fake::new(&[262], 4, 600);
    let line = ["-p", "the", "--temp", "0", "--quiet"];
    let (out, err) = printed(&line, &mut model).unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("theOOO\n", ""));
}

#[test]
fn a_full_context_is_said() {
    let mut model = Fake::new(&[262], 4, 600);
    let line = ["-p", "the", "--temp", "0"];
    let (_, err) = printed(&line, &mut model).unwrap();
    assert!(
        err.starts_with("stopped: the context of 4 tokens is full\nprompt: 2 tokens, "),
        "{err}"
    );
}

#[test]
fn an_end_token_stops_and_is_not_printed() {
    let special = SpecialIds {
        bos: None,
        eos: vec![263, 264],
    };
    let generate = |extra: &[&str]| {
        let line = [&["-p", "the", "-n", "3", "--temp", "0"], extra].concat();
        let mut model = Fake::new(&[262, 264, 262], 100, 600);
        outcome(&line, pending(&byte_fallback()), &mut model, &special)
            .unwrap()
            .0
    };
    assert_eq!(generate(&[]), "theO\n");
    assert_eq!(generate(&["--ignore-eos"]), "theObO\n");
    assert_eq!(generate(&["--print-tokens"]), "262,264\n");
}

#[test]
fn ids_in_and_out_need_no_tokenizer() {
    let line = [
        "--tokens",
        "1, 2,3",
        "--print-tokens",
        "-n",
        "3",
        "--temp",
        "0",
    ];
    let mut model = Fake::new(&[7, 8, 9], 100, 600);
    let tokenizer = pending(&json!("broken"));
    let (out, _) = outcome(&line, tokenizer, &mut model, &SpecialIds::default()).unwrap();
    assert_eq!(out, "7,8,9\n");
    assert_eq!(model.fed[0], [1, 2, 3]);
}

#[test]
fn ids_can_become_text_and_text_ids() {
    let tokenizer = byte_fallback();
    assert_eq!(
        stdout(
            &["--tokens", "1,262,263", "-n", "2", "--temp", "0"],
            pending(&tokenizer),
            &[264, 2]
        ),
        "Oab\n"
    );
    assert_eq!(
        stdout(
            &["-p", "O", "--print-tokens", "-n", "2", "--temp", "0"],
            pending(&tokenizer),
            &[264, 2]
        ),
        "264,2\n"
    );
}

#[test]
fn without_a_tokenizer_text_is_an_error_and_ids_are_printed() {
    let mut model = Fake::new(&[7, 8], 100, 600);
    let error = outcome(
        &["-p", "the"],
        missing(),
        &mut model,
        &SpecialIds::default(),
    )
    .unwrap_err();
    assert!(
        error.starts_with("folder: found no tokenizer.json;"),
        "{error}"
    );
    assert!(error.contains("--tokens"), "{error}");
    let line = ["--tokens", "1", "-n", "2", "--temp", "0"];
    let (out, err) = outcome(&line, missing(), &mut model, &SpecialIds::default()).unwrap();
    assert_eq!(out, "7,8\n");
    assert!(
        err.starts_with(
            "folder: found no tokenizer.json, so token ids are printed instead of text\n"
        ),
        "{err}"
    );
}

#[test]
fn nothing_given_starts_at_the_beginning_of_a_sequence() {
    let special = SpecialIds {
        bos: Some(5),
        eos: vec![],
    };
    let start = |tokenizer: Pending, special: &SpecialIds| {
        let mut model = Fake::new(&[262], 100, 600);
        outcome(&["-n", "1", "--temp", "0"], tokenizer, &mut model, special)
            .map(|(out, _)| (model.fed[0].clone(), out))
    };
    assert_eq!(
        start(pending(&byte_fallback()), &special),
        Ok((vec![1], "O\n".into())),
        "the tokenizer's own"
    );
    assert_eq!(
        start(pending(&byte_level()), &special).unwrap().0,
        [5],
        "the model's where the tokenizer adds none"
    );
    assert_eq!(start(missing(), &special), Ok((vec![5], "262\n".into())));
    let error = start(pending(&byte_level()), &SpecialIds::default()).unwrap_err();
    assert!(error.starts_with("the prompt is empty"), "{error}");
}

#[test]
fn json_has_everything() {
    let special = SpecialIds {
        bos: None,
        eos: vec![264],
    };
    let mut model = Fake::new(&[262, 261, 264], 100, 600);
    let line = ["-p", "O", "--json", "--temp", "0", "--seed", "3"];
    let (out, _) = outcome(&line, pending(&byte_fallback()), &mut model, &special).unwrap();
    let mut object: Value = serde_json::from_str(&out).unwrap();
    for rate in ["prompt_tokens_per_second", "generation_tokens_per_second"] {
        assert!(object[rate].take().as_f64().unwrap() > 0.0);
    }
    let expected = json!({"prompt_tokens": [1, 259, 262], "tokens": [262, 261, 264], "text": "O.", "stop": "eos", "seed": 3,
        "prompt_tokens_per_second": null, "generation_tokens_per_second": null});
    assert_eq!(object, expected);
}

#[test]
fn a_prompt_can_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prompt.txt");
    std::fs::write(&path, "the\nand\n").unwrap();
    let file = path.to_str().unwrap();
    assert_eq!(
        stdout(
            &["-f", file, "-n", "1", "--temp", "0"],
            pending(&byte_fallback()),
            &[262]
        ),
        "the\nandO\n"
    );
    std::fs::write(&path, b"\xFF").unwrap();
    let mut model = Fake::new(&[7], 100, 600);
    let error = printed(&["-f", file], &mut model).unwrap_err();
    assert!(
        error.starts_with(&format!("{file}: cannot read the prompt: ")),
        "{error}"
    );
    assert!(error.ends_with("expected UTF-8 text"), "{error}");
}

#[test]
fn a_bad_prompt_prints_nothing() {
    let mut model = Fake::new(&[7], 3, 600);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = parse(&["-p", "the and the"]).unwrap();
    let special = SpecialIds::default();
    let error = run(
        &args,
        &mut model,
        pending(&byte_fallback()),
        &special,
        &mut out,
        &mut err,
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("but the context has room for 3"),
        "{error}"
    );
    assert!(out.is_empty() && err.is_empty());
}

/// Fails after a number of writes; counts flushes.
struct Pipe {
    writes_left: usize,
    error: io::ErrorKind,
    unflushed: bool,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.unflushed, "the last token was not flushed");
        self.writes_left = self.writes_left.checked_sub(1).ok_or(self.error)?;
        self.unflushed = true;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unflushed = false;
        Ok(())
    }
}

#[test]
fn a_reader_that_has_gone_ends_the_run_quietly_and_a_full_disk_does_not() {
    let args = parse(&["-p", "the", "-n", "50", "--temp", "0"]).unwrap();
    let until = |error| {
        let mut model = Fake::new(&[262], 100, 600);
        let (mut out, mut err) = (
            Pipe {
                writes_left: 3,
                error,
                unflushed: false,
            },
            Vec::new(),
        );
        let result = run(
            &args,
            &mut model,
            pending(&byte_fallback()),
            &SpecialIds::default(),
            &mut out,
            &mut err,
        );
        assert_eq!((model.fed.len(), err.len()), (3, 0), "it goes no further");
        result.map_err(|error| error.to_string())
    };
    assert_eq!(until(io::ErrorKind::BrokenPipe), Ok(()));
    let error = until(io::ErrorKind::StorageFull).unwrap_err();
    assert_eq!(
        error,
        "cannot write the output: no storage space; free some space, or redirect it elsewhere"
    );
}

#[test]
fn a_prompt_without_an_end_is_refused() {
    let mut model = Fake::new(&[7], 100, 600);
    let error = printed(&["-f", "/dev/zero"], &mut model).unwrap_err();
    assert!(
        error.contains("/dev/zero: cannot read the prompt: it is longer than 67108864 bytes"),
        "{error}"
    );
}

#[test]
fn a_prompt_may_begin_with_a_dash() {
    assert_eq!(
        parse(&["-p", "- one"]).unwrap().prompt.as_deref(),
        Some("- one")
    );
}

#[test]
fn a_published_story_is_printed_word_for_word() {
    let Some(folder) = stories260k("a_published_story_is_printed_word_for_word") else {
        return;
    };
    let story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a \
                 big, red ball. She wanted to play with it, but it was too high.\nLily's mom said, \"Lily, let's go to the park.\"";
    let files = Source::in_folder(&folder);
    let ids = Tokenizer::load(&files).unwrap().encode(story).unwrap();
    let n = (ids.len() - 5).to_string();
    let mut model = Fake::new(&ids[5..], 512, 512);
    let tokenizer = Tokenizer::load_in_background(files).unwrap();
    let line = ["-p", "Once upon a time", "-n", &n, "--temp", "0"];
    let (out, _) = outcome(&line, tokenizer, &mut model, &SpecialIds::default()).unwrap();
    assert_eq!(out, format!("{story}\n"));
    assert_eq!(model.fed[0], [1, 403, 407, 261, 378]);
}

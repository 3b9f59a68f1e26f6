//! What is found in a checkpoint folder.

use std::fs;
use std::path::Path;

use super::LoadedText;
use crate::tokenizer::fixtures::missing;
use crate::tokenizer::{Files, Source};

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn eos(generation_config: &str) -> Vec<u32> {
    LoadedText::find(folder(&[("generation_config.json", generation_config)]).path())
        .unwrap()
        .eos
}

fn error(folder: &Path) -> String {
    LoadedText::find(folder)
        .expect_err("a bad file")
        .to_string()
}

#[test]
fn tokenizer_files_are_found() {
    let all = folder(&[
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "{}"),
        ("special_tokens_map.json", "{}"),
        ("added_tokens.json", "{}"),
    ]);
    let path = |name| all.path().join(name);
    let expected = Source::Files(Files {
        tokenizer: path("tokenizer.json"),
        config: Some(path("tokenizer_config.json")),
        special_tokens_map: Some(path("special_tokens_map.json")),
        added_tokens: Some(path("added_tokens.json")),
        table: None,
    });
    assert_eq!(
        LoadedText::find(all.path()).unwrap(),
        LoadedText {
            tokenizer: expected,
            eos: vec![]
        }
    );
    let one = folder(&[("tokenizer.json", "{}")]);
    let expected = Source::Files(Files {
        tokenizer: one.path().join("tokenizer.json"),
        config: None,
        special_tokens_map: None,
        added_tokens: None,
        table: None,
    });
    assert_eq!(LoadedText::find(one.path()).unwrap().tokenizer, expected);
}

#[test]
fn a_folder_without_a_tokenizer_is_fine_and_says_what_it_has_instead() {
    let empty = folder(&[("tokenizer_config.json", "{}")]);
    let place = empty.path().display().to_string();
    assert_eq!(
        LoadedText::find(empty.path()).unwrap().tokenizer,
        missing(&place, None)
    );
    let other = folder(&[("vocab.json", "{}"), ("merges.txt", "")]);
    let place = other.path().display().to_string();
    assert_eq!(
        LoadedText::find(other.path()).unwrap().tokenizer,
        missing(&place, Some("vocab.json"))
    );
}

#[test]
fn end_of_sequence_ids_are_none_one_or_several() {
    assert!(eos("{}").is_empty());
    assert!(eos(r#"{"eos_token_id": null}"#).is_empty());
    assert_eq!(eos(r#"{"eos_token_id": 2, "temperature": 0.6}"#), [2]);
    assert_eq!(
        eos(r#"{"eos_token_id": [128001, 128009]}"#),
        [128001, 128009]
    );
}

#[test]
fn end_of_sequence_ids_add_to_the_model_s() {
    let folder = folder(&[("generation_config.json", r#"{"eos_token_id": [5, 2, 9]}"#)]);
    let text = LoadedText::find(folder.path()).unwrap();
    assert_eq!(text.eos_with(&[2, 3]), [2, 3, 5, 9]);
    assert_eq!(text.eos_with(&[]), [5, 2, 9]);
}

#[test]
fn a_bad_generation_config_is_named() {
    for text in [
        "",
        "[",
        r#"{"eos_token_id": "end"}"#,
        r#"{"eos_token_id": -1}"#,
        r#"{"eos_token_id": [4294967296]}"#,
    ] {
        let folder = folder(&[("generation_config.json", text)]);
        let path = folder.path().join("generation_config.json");
        let error = error(folder.path());
        let start = format!(
            "{}: expected JSON with eos_token_id as a token id, a list of them or null: ",
            path.display()
        );
        assert!(error.starts_with(&start), "{error}");
        assert!(error.ends_with("; fix or remove the file"), "{error}");
    }
}

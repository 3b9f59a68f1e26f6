//! Files beside `tokenizer.json`, one by one and together, do to it what they do in `transformers`.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::super::fixtures::{bytes, files};
use super::super::{Files, Source, Tokenizer};

/// What `tests/golden/make_added_tokens.py` wrote.
#[derive(Deserialize)]
struct Answers {
    tokenizer: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    files: Beside,
    texts: Vec<Answer>,
}

#[derive(Deserialize)]
struct Beside {
    tokenizer_config: Option<Value>,
    special_tokens_map: Option<Value>,
    added_tokens: Option<Value>,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
    ids: Vec<u32>,
    /// Where it is known.
    decoded: Option<String>,
}

fn answers() -> Answers {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/added-tokens.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn tokens_that_stand_elsewhere_are_those_of_the_reference() {
    let Answers { tokenizer, cases } = answers();
    assert!(cases.len() > 50);
    for case in &cases {
        let beside = |file: &Option<Value>| file.as_ref().map(bytes);
        let source = Source::Bytes {
            place: case.name.clone(),
            files: Files {
                config: beside(&case.files.tokenizer_config),
                special_tokens_map: beside(&case.files.special_tokens_map),
                added_tokens: beside(&case.files.added_tokens),
                ..files(&tokenizer)
            },
        };
        let loaded = Tokenizer::load(&source).unwrap();
        for Answer { text, ids, decoded } in &case.texts {
            assert_eq!(&loaded.encode(text).unwrap(), ids, "{}: {text}", case.name);
            if let Some(decoded) = decoded {
                let back = loaded.decode(ids).unwrap();
                assert_eq!(&back, decoded, "{}: {text}: {ids:?}", case.name);
            }
        }
    }
}

/// The cases are different: what they ask of the files cannot be had by leaving the files out.
#[test]
fn every_kind_of_file_matters_to_some_case() {
    let Answers { cases, .. } = answers();
    let bare = &cases[0].texts;
    let differs = |case: &&Case| {
        let same = |a: &Answer| bare.iter().any(|b| b.text == a.text && b.ids == a.ids);
        !case.texts.iter().all(same)
    };
    let different: Vec<&Case> = cases.iter().filter(differs).collect();
    assert!(different.len() > 40, "{}", different.len());
    assert!(different.iter().any(|c| c.files.tokenizer_config.is_some()));
    assert!(
        different
            .iter()
            .any(|c| c.files.special_tokens_map.is_some())
    );
    assert!(different.iter().any(|c| c.files.added_tokens.is_some()));
}

//! What the files say about special tokens is done, and nothing bad in them gets past as anything but an error.

use serde_json::{Value, json};

use super::fixtures::{FIRST_BYTE, byte_fallback, byte_level, load, source, stories260k};
use super::{Source, Tokenizer, TokenizerError};

const BOS: u32 = 1;

fn load_with(tokenizer: &Value, config: &Value) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::load(&source(tokenizer, Some(config)))
}

fn message(result: Result<impl std::fmt::Debug, TokenizerError>) -> String {
    result.expect_err("this is an error").to_string()
}

/// The fixture with no post-processor.
fn bare() -> Value {
    let mut tokenizer = byte_fallback();
    tokenizer["post_processor"] = Value::Null;
    tokenizer
}

#[test]
fn the_post_processor_adds_bos() {
    assert_eq!(load(&byte_fallback()).encode(" and").unwrap()[0], BOS);
    assert_eq!(load(&byte_fallback()).encode("").unwrap(), [BOS]);
    assert_ne!(load(&bare()).encode("and").unwrap()[0], BOS);
}

#[test]
fn the_configuration_adds_bos_that_the_post_processor_leaves_out() {
    let without = load(&bare()).encode("and then").unwrap();
    let with = [&[BOS], without.as_slice()].concat();
    for bos in [
        json!("<s>"),
        json!({"__type": "AddedToken", "content": "<s>", "lstrip": false}),
    ] {
        let config = json!({"add_bos_token": true, "bos_token": bos});
        assert_eq!(
            load_with(&bare(), &config)
                .unwrap()
                .encode("and then")
                .unwrap(),
            with
        );
    }
    for config in [
        json!({"add_bos_token": false, "bos_token": "<s>"}),
        json!({"bos_token": "<s>"}),
        json!({}),
    ] {
        assert_eq!(
            load_with(&bare(), &config)
                .unwrap()
                .encode("and then")
                .unwrap(),
            without,
            "{config}"
        );
    }
    let null = json!({"add_bos_token": true, "bos_token": null});
    assert_eq!(
        load_with(&bare(), &null)
            .unwrap()
            .encode("and then")
            .unwrap(),
        without
    );
}

#[test]
fn bos_never_stands_twice() {
    let config = json!({"add_bos_token": true, "bos_token": "<s>"});
    for tokenizer in [byte_fallback(), bare()] {
        let tokenizer = load_with(&tokenizer, &config).unwrap();
        for text in ["and", "<s>and"] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(
                ids.iter().filter(|&&id| id == BOS).count(),
                1,
                "{text}: {ids:?}"
            );
        }
    }
}

#[test]
fn a_post_processor_that_only_appends_does_not_count_as_adding_bos() {
    let mut tokenizer = byte_fallback();
    tokenizer["post_processor"]["single"]
        .as_array_mut()
        .unwrap()
        .reverse();
    let config = json!({"add_bos_token": true, "bos_token": "<s>"});
    let ids = load_with(&tokenizer, &config)
        .unwrap()
        .encode("and")
        .unwrap();
    assert_eq!((ids[0], ids[ids.len() - 1]), (BOS, BOS));
    assert_ne!(load(&tokenizer).encode("and").unwrap()[0], BOS);
}

#[test]
fn bos_that_is_no_token_is_an_error() {
    let config = json!({"add_bos_token": true, "bos_token": "<start>"});
    assert_eq!(
        message(load_with(&byte_fallback(), &config)),
        "tokenizer.json (configuration): bos_token \"<start>\" is to be added (add_bos_token) but is no token of \
         tokenizer.json; the files do not belong together"
    );
    let unwanted = json!({"bos_token": "<start>"});
    assert_eq!(
        load_with(&byte_fallback(), &unwanted)
            .unwrap()
            .encode("")
            .unwrap(),
        [BOS]
    );
}

#[test]
fn special_tokens_are_no_text() {
    let tokenizer = load(&byte_fallback());
    let ids = tokenizer.encode("and<s>on</s>").unwrap();
    assert!(ids.ends_with(&[2]), "{ids:?}");
    assert_eq!(tokenizer.decode(&ids).unwrap(), "and on");
    assert_eq!(tokenizer.decode(&[1, 2, 0, 100_000]).unwrap(), "");
}

#[test]
fn special_tokens_of_the_configuration_are_special_too() {
    let mut tokenizer = byte_fallback();
    let plain = tokenizer["added_tokens"].as_array().unwrap()[..2].to_vec();
    tokenizer["added_tokens"] = Value::Array(plain);
    assert_eq!(load(&tokenizer).decode(&[262, 2]).unwrap(), "O</s>");
    for config in [
        json!({"eos_token": "</s>"}),
        json!({"additional_special_tokens": [{"content": "</s>"}, "<none>"]}),
    ] {
        let tokenizer = load_with(&tokenizer, &config).unwrap();
        assert_eq!(tokenizer.decode(&[262, 2]).unwrap(), "O");
        assert_eq!(tokenizer.encode("</s>").unwrap(), [BOS, 2]);
    }
}

#[test]
fn truncation_and_padding_are_off() {
    let mut tokenizer = byte_fallback();
    let expected = load(&tokenizer).encode("the and the").unwrap();
    assert!(expected.len() > 3);
    tokenizer["truncation"] =
        json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
    tokenizer["padding"] = json!({"strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"});
    assert_eq!(load(&tokenizer).encode("the and the").unwrap(), expected);
}

#[test]
fn byte_pieces_are_known() {
    let tokenizer = load(&byte_fallback());
    assert_eq!(tokenizer.byte_of(FIRST_BYTE + 0xF0), Some(0xF0));
    assert_eq!(tokenizer.byte_of(262), None);
    assert_eq!(tokenizer.byte_of(u32::MAX), None);
    assert_eq!(load(&byte_level()).byte_of(5), None);
}

#[test]
fn text_survives_both_ways() {
    for tokenizer in [byte_fallback(), byte_level()] {
        let tokenizer = load(&tokenizer);
        for text in [
            "the and, then.",
            "  two",
            "a\nb",
            "né 😀 the 你好",
            "<unk",
            "",
        ] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
    }
}

#[test]
fn a_missing_tokenizer_says_what_to_do() {
    let source = Source::Missing {
        place: "models/a".into(),
        instead: Some("vocab.json".into()),
    };
    assert_eq!(
        message(Tokenizer::load(&source)),
        "models/a: found no tokenizer.json (only vocab.json, which has to be converted to it), which text needs; put one \
         there, or work on ids: --tokens 1,2,3 --print-tokens"
    );
}

#[test]
fn an_unreadable_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    let text = message(Tokenizer::load(&Source::Files {
        tokenizer: tokenizer.clone(),
        config: None,
    }));
    assert!(
        text.starts_with(&format!("{}: cannot be read: ", tokenizer.display())),
        "{text}"
    );
    assert!(text.contains("--tokens"), "{text}");
}

#[test]
fn damaged_files_are_errors() {
    let good = byte_fallback().to_string();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = r#"{"version":"1.0","normalizer":"#.to_owned()
        + &r#"{"type":"Sequence","normalizers":["#.repeat(100)
        + &"]}".repeat(100)
        + "}";
    for bytes in [
        "",
        "{",
        "[]",
        "{}",
        &good[..good.len() / 2],
        &deep,
        &nested,
        "\u{0}\u{1}",
    ] {
        let tokenizer = bytes.as_bytes().to_vec().into();
        let text = message(Tokenizer::load(&Source::Bytes {
            name: "t.json".into(),
            tokenizer,
            config: None,
        }));
        assert!(
            text.starts_with("t.json: found no tokenizer this program can load ("),
            "{text}"
        );
    }
    let config = json!({"bos_token": 7});
    let text = message(load_with(&byte_fallback(), &config));
    assert!(
        text.starts_with(
            "tokenizer.json (configuration): expected a tokenizer configuration in JSON"
        ),
        "{text}"
    );
}

/// The library's `Strip` looks before the start of an empty token.
#[test]
fn a_panic_in_the_library_is_an_error() {
    let mut tokenizer = byte_fallback();
    tokenizer["decoder"] = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "O"}, "content": ""},
        {"type": "Strip", "content": " ", "start": 0, "stop": 1}]});
    let text = message(load(&tokenizer).decode(&[262]));
    assert!(
        text.starts_with("tokenizer.json: the tokenizer failed decoding 1 tokens: it panicked: "),
        "{text}"
    );
    assert!(
        text.ends_with("; ids can be given with --tokens and printed with --print-tokens"),
        "{text}"
    );
}

#[test]
fn loading_in_the_background_gives_the_same() {
    let pending = Tokenizer::load_in_background(source(&byte_fallback(), None)).unwrap();
    let expected = load(&byte_fallback()).encode("the and").unwrap();
    assert_eq!(pending.wait().unwrap().encode("the and").unwrap(), expected);
    let missing = Source::Missing {
        place: "here".into(),
        instead: None,
    };
    let pending = Tokenizer::load_in_background(missing).unwrap();
    assert!(matches!(
        pending.wait(),
        Err(TokenizerError::Missing { .. })
    ));
}

#[test]
fn a_published_tokenizer_gives_the_published_ids() {
    let Some(folder) = stories260k("a_published_tokenizer_gives_the_published_ids") else {
        return;
    };
    let (tokenizer, config) = (
        folder.join("tokenizer.json"),
        Some(folder.join("tokenizer_config.json")),
    );
    let tokenizer = Tokenizer::load(&Source::Files { tokenizer, config }).unwrap();
    assert_eq!(
        tokenizer.encode("Once upon a time").unwrap(),
        [1, 403, 407, 261, 378]
    );
    let text = tokenizer
        .decode(&[432, 383, 286, 261, 376, 298, 315, 421, 395, 317])
        .unwrap();
    assert!(
        ", there was a little girl named Lily.".starts_with(&text) && text.len() > 20,
        "{text}"
    );
}

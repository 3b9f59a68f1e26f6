//! What the files say about special tokens is done, and nothing bad in them gets past as anything but an error.

use serde_json::{Value, json};

use super::fixtures::{
    FIRST_BYTE, byte_fallback, byte_level, bytes, files, load, missing, source, stories260k,
};
use super::{Files, Missing, Source, Tokenizer, TokenizerError, names};

mod added;
mod limits;
mod table;

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
        "tokenizer_config.json of memory: bos_token \"<start>\" is to be added (add_bos_token) but is not a token of \
         tokenizer.json of memory; the files do not belong together"
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
    assert_eq!(
        message(Tokenizer::load(&missing("models/a", Some("vocab.json")))),
        "models/a: found no tokenizer.json (only vocab.json, which must be converted); put one \
         there, or use token ids: --tokens 1,2,3 --print-tokens"
    );
    let artifact = Missing::Artifact {
        place: "./lily".into(),
    };
    assert_eq!(
        message(Tokenizer::load(&Source::Missing(artifact))),
        "./lily: compiled without a tokenizer; compile it again from a folder with a tokenizer.json, or use \
         token ids: --tokens 1,2,3 --print-tokens"
    );
    let spec = Missing::Spec {
        name: "llama".into(),
    };
    let text = message(Tokenizer::load(&Source::Missing(spec)));
    let start = "llama: specs have no tokenizer; use a checkpoint folder";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    let load = || message(Tokenizer::load(&Source::in_folder(folder.path())));
    let at = path(names::TOKENIZER).display().to_string();
    std::os::unix::fs::symlink("nowhere", path(names::TOKENIZER)).unwrap();
    assert!(load().starts_with(&format!("{at}: a broken link to nowhere")));
    assert!(load().contains("--tokens"), "{}", load());

    std::fs::remove_file(path(names::TOKENIZER)).unwrap();
    pipe(&path(names::TOKENIZER));
    let text = load();
    let start = format!("{at}: found a pipe, expected a regular file");
    assert!(text.starts_with(&start), "{text}");

    std::fs::remove_file(path(names::TOKENIZER)).unwrap();
    let large = std::fs::File::create(path(names::TOKENIZER)).unwrap();
    large.set_len(1 << 40).unwrap();
    assert!(load().contains("is too large for this file"), "{}", load());

    std::fs::write(path(names::TOKENIZER), byte_fallback().to_string()).unwrap();
    for name in [
        names::CONFIG,
        names::SPECIAL_TOKENS_MAP,
        names::ADDED_TOKENS,
    ] {
        pipe(&path(name));
        let text = load();
        let start = format!("{}: found a pipe", path(name).display());
        assert!(text.starts_with(&start), "{text}");
        std::fs::remove_file(path(name)).unwrap();
    }
}

fn pipe(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
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
        let text = message(Tokenizer::load(&Source::Bytes {
            place: "memory".into(),
            files: Files {
                tokenizer: bytes.as_bytes().to_vec().into(),
                ..files(&json!(0))
            },
        }));
        assert!(
            text.starts_with("tokenizer.json of memory: cannot load the tokenizer ("),
            "{text}"
        );
    }
    for (config, expected) in [
        (
            json!([]),
            "expected a JSON object: invalid type: sequence, expected a map",
        ),
        (
            json!({"bos_token": 7}),
            "bos_token: found 7, expected a token: a text, or an object with its `content`",
        ),
        (
            json!({"eos_token": {"lstrip": true}}),
            "eos_token: found {\"lstrip\":true}, expected a token: an object with its `content`",
        ),
        (
            json!({"pad_token": {"content": "a", "lstrip": 1}}),
            "pad_token.lstrip: found 1, expected true or false",
        ),
        (
            json!({"added_tokens_decoder": {"-1": {"content": "a"}}}),
            "added_tokens_decoder.-1: found {\"content\":\"a\"}, expected a token with an id as its key",
        ),
        (
            json!({"added_tokens_decoder": {"5": "a"}}),
            "added_tokens_decoder.5: found \"a\", expected a token: an object with its `content`",
        ),
        (
            json!({"added_tokens_decoder": []}),
            "added_tokens_decoder: found [], expected an object of tokens by their ids",
        ),
        (
            json!({"extra_special_tokens": "a"}),
            "extra_special_tokens: found \"a\", expected a list of tokens, or an object of named ones",
        ),
        (
            json!({"additional_special_tokens": ["a", 5]}),
            "additional_special_tokens[1]: found 5, expected a token: a text, or an object with its `content`",
        ),
    ] {
        let text = message(load_with(&byte_fallback(), &config));
        let start = format!("tokenizer_config.json of memory: {expected}");
        assert!(text.starts_with(&start), "{text}");
    }
    let Source::Bytes { place, files } = source(&byte_fallback(), None) else {
        unreachable!("it is of bytes")
    };
    let files = Files {
        added_tokens: Some(bytes(&json!({"a": -3}))),
        ..files
    };
    let text = message(Tokenizer::load(&Source::Bytes { place, files }));
    let start = "added_tokens.json of memory: a: found -3, expected a token id";
    assert!(text.starts_with(start), "{text}");
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
        text.starts_with(
            "tokenizer.json of memory: the tokenizer failed decoding 1 tokens: it panicked: "
        ),
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
    let pending = Tokenizer::load_in_background(missing("here", None)).unwrap();
    assert!(matches!(pending.wait(), Err(TokenizerError::Missing(_))));
}

#[test]
fn a_published_tokenizer_gives_the_published_ids() {
    let Some(folder) = stories260k("a_published_tokenizer_gives_the_published_ids") else {
        return;
    };
    let tokenizer = Tokenizer::load(&Source::in_folder(&folder)).unwrap();
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

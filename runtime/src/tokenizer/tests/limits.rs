//! No file makes the library take memory or time without limit, and none that is real is refused for that.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::{Source, Tokenizer, TokenizerError};
use super::{byte_fallback, load, load_with, message, source};

mod steps;

/// The fixture with one part in the place of its own.
fn with(part: &str, value: Value) -> Result<Tokenizer, TokenizerError> {
    let mut tokenizer = byte_fallback();
    tokenizer[part] = value;
    Tokenizer::load(&source(&tokenizer, None))
}

fn starts(text: &str, start: &str) {
    let start = format!("tokenizer.json of memory: {start}");
    assert!(text.starts_with(&start), "{text}");
}

fn added(id: usize, content: &str, normalized: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": normalized, "special": false})
}

/// The library's memory grows with a thousand times the length of added tokens.
#[test]
fn added_tokens_of_any_length_are_refused() {
    let long = "x".repeat(5000);
    let mut tokenizer = byte_fallback();
    tokenizer["added_tokens"][0]["content"] = long.clone().into();
    let text = message(Tokenizer::load(&source(&tokenizer, None)));
    let start =
        "tokenizer.json of memory: an added token is 5000 bytes long, expected at most 4096";
    assert!(text.starts_with(start), "{text}");
    let config = json!({"extra_special_tokens": [long]});
    let text = message(load_with(&byte_fallback(), &config));
    assert!(text.starts_with(start), "{text}");
    let many: Vec<String> = (0..1500).map(|i| format!("{i:4000}")).collect();
    let text = message(load_with(
        &byte_fallback(),
        &json!({"extra_special_tokens": many}),
    ));
    assert!(
        text.contains("added tokens are at least 4196012 bytes long, expected at most 4194304"),
        "{text}"
    );
}

/// `t0`, `t1`, … take the library the square of their number; others of that number take no time.
#[test]
fn added_tokens_of_the_slow_kind_are_refused() {
    let load = |n: usize, normalized, text: &dyn Fn(usize) -> String| {
        let tokens = (0..n).map(|i| added(i, &text(i), normalized));
        let began = Instant::now();
        let loaded = with("added_tokens", tokens.collect());
        let took = began.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?}");
        loaded
    };
    let slow = |i| format!("t{i}");
    for normalized in [false, true] {
        let text = message(load(60_000, normalized, &slow));
        starts(&text, "added_tokens: found 60000 tokens that take ");
        assert!(
            text.contains(
                " steps to be prepared for a search, expected tokens that take at most 268435456"
            ),
            "{text}"
        );
        load(5000, normalized, &slow).unwrap();
    }
    for text in [
        |i| format!("<|visual token {i:06}|>"),
        |i| format!("<audio_{i}>"),
    ] {
        let tokenizer = load(65_536, false, &text).unwrap();
        assert_eq!(tokenizer.encode_plain(&text(60_000)).unwrap().len(), 1);
    }
}

/// A normalizer makes of tokens what the library searches for.
#[test]
fn added_tokens_count_as_they_are_normalized() {
    let mut tokenizer = byte_fallback();
    tokenizer["normalizer"] = json!({"type": "Prepend", "prepend": "x".repeat(4000)});
    let tokens = |n, normalized| -> Value {
        let token = |i| added(i, &format!("<{i}>"), normalized);
        (0..n).map(token).collect()
    };
    tokenizer["added_tokens"] = tokens(2000, true);
    let text = message(Tokenizer::load(&source(&tokenizer, None)));
    starts(&text, "added tokens are at least 419");
    tokenizer["added_tokens"] = tokens(2000, false);
    load(&tokenizer);
    // All of them are the same after that.
    tokenizer["normalizer"] =
        json!({"type": "Replace", "pattern": {"Regex": "[0-9]+"}, "content": ""});
    tokenizer["added_tokens"] = tokens(40_000, true);
    let text = message(Tokenizer::load(&source(&tokenizer, None)));
    starts(&text, "added_tokens: found 40000 tokens that take ");
}

/// A Unigram has a map for each beginning of a token, which those that begin alike share.
#[test]
fn beginnings_of_tokens_are_counted() {
    let vocab = |text: &dyn Fn(usize) -> String| -> Vec<Value> {
        (0..12_000).map(|i| json!([text(i), -1.0])).collect()
    };
    let model = |vocab: Vec<Value>| {
        let model = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": vocab});
        with("model", model)
    };
    let long = "x".repeat(800);
    let text = message(model(vocab(&|i| format!("{i:05}{long}"))));
    starts(
        &text,
        "cannot load the tokenizer (model: vocab: beginnings of tokens: found 9613334 bytes, expected at most 8388608",
    );
    model(vocab(&|i| format!("{long}{i:05}"))).unwrap();
}

/// The library takes words apart in time that grows with the cube, and copies what stands before each part.
#[test]
fn models_that_take_long_are_refused() {
    let piece = |key: &str, value: Value| {
        let mut model = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "##a": 2}});
        model[key] = value;
        with("model", model)
    };
    let pairs = |key: &str, value: Value| {
        let mut tokenizer = byte_fallback();
        tokenizer["model"][key] = value;
        Tokenizer::load(&source(&tokenizer, None))
    };
    let likely = |vocab: Vec<Value>| {
        with(
            "model",
            json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": vocab}),
        )
    };
    let long = |n| Value::from("x".repeat(n));
    let unknown = || vec![json!(["<unk>", 0.0])];
    let mut vocab = unknown();
    vocab.extend((1..500).map(|n| json!(["x".repeat(n), -1.0])));
    for (loaded, expected) in [
        (
            piece("max_input_chars_per_word", u64::MAX.into()),
            "max_input_chars_per_word: found 18446744073709551615, expected at most 1024",
        ),
        (
            piece("continuing_subword_prefix", long(100)),
            "continuing_subword_prefix: found 100 bytes, expected at most 64",
        ),
        (
            piece("unk_token", long(5000)),
            "unk_token: found 5000 bytes, expected at most 4096",
        ),
        (
            piece("vocab", json!({"x".repeat(20_000): 0})),
            "vocab: a token: found 20000 bytes, expected at most 16384",
        ),
        (
            pairs("continuing_subword_prefix", long(100)),
            "continuing_subword_prefix: found 100 bytes, expected at most 64",
        ),
        (
            pairs("end_of_word_suffix", long(100)),
            "end_of_word_suffix: found 100 bytes, expected at most 64",
        ),
        (
            pairs("vocab", json!({"x".repeat(20_000): 0})),
            "vocab: a token: found 20000 bytes, expected at most 16384",
        ),
        (
            pairs("continuing_subword_prefix", "##########".into()),
            "merges: found \"t\", expected a token with \"##########\" (continuing_subword_prefix) before it",
        ),
        (
            likely([unknown(), vec![json!([long(2000), -1.0])]].concat()),
            "vocab: a token: found 2000 bytes, expected at most 1024",
        ),
        (
            likely(vocab),
            "vocab: tokens of each length: found 124750 bytes, expected at most 65536",
        ),
    ] {
        let text = message(loaded);
        starts(
            &text,
            &format!("cannot load the tokenizer (model: {expected}"),
        );
    }
    piece("max_input_chars_per_word", 1000.into()).unwrap();
    let tokenizer = likely([unknown(), vec![json!([long(1000), -1.0])]].concat()).unwrap();
    assert_eq!(
        tokenizer.encode_plain(&"x".repeat(2000)).unwrap(),
        [0, 1, 1]
    );
}

#[test]
fn words_of_no_length_are_refused() {
    let cut = |length: u64| {
        with(
            "pre_tokenizer",
            json!({"type": "FixedLength", "length": length}),
        )
    };
    starts(
        &message(cut(0)),
        "pre_tokenizer: FixedLength: length: found 0, expected at least 1; fix",
    );
    cut(1).unwrap();
}

/// The tokenizer that the program carries.
#[test]
fn the_small_model_is_fine() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../compiler/model");
    let tokenizer = Tokenizer::load(&Source::in_folder(std::path::Path::new(folder))).unwrap();
    let text = "Once upon a time";
    assert_eq!(
        tokenizer
            .decode(&tokenizer.encode(text).unwrap())
            .unwrap()
            .trim(),
        text
    );
}

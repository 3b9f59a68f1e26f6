//! Tokenizers in the metadata of GGUF files, against the ids that llama.cpp gives for the same files
//! (`tests/golden/make_gguf_text.py`).

use std::fs;

use graver::text::gguf_text;
use graver_runtime::text::LoadedText;
use graver_runtime::tokenizer::{Files, Source, Tokenizer};
use graver_tests::fixtures;
use graver_tests::gguf::{Writer, kind, text};
use serde_json::{Value, json};

fn golden() -> Value {
    let file = fs::read(fixtures().join("gguf-text.json")).unwrap();
    serde_json::from_slice(&file).unwrap()
}

fn strings(values: &Value) -> Vec<&str> {
    let values = values.as_array().unwrap().iter();
    values.map(|value| value.as_str().unwrap()).collect()
}

trait TextKeys {
    fn texts(self, key: &str, values: &Value) -> Self;
    fn vocabulary(self, golden: &Value) -> Self;
}

impl TextKeys for Writer {
    fn texts(self, key: &str, values: &Value) -> Writer {
        let values = strings(values).into_iter().map(|t| text(t.as_bytes()));
        self.list(key, kind::TEXT, &values.collect::<Vec<_>>())
    }

    /// Tokens, types and, where there are any, scores.
    fn vocabulary(self, golden: &Value) -> Writer {
        let numbers = |values: &Value, bytes: &dyn Fn(&Value) -> Vec<u8>| -> Vec<Vec<u8>> {
            values.as_array().unwrap().iter().map(bytes).collect()
        };
        let types = numbers(&golden["types"], &|n| {
            (n.as_i64().unwrap() as i32).to_le_bytes().into()
        });
        let file = self.texts("tokenizer.ggml.tokens", &golden["tokens"]).list(
            "tokenizer.ggml.token_type",
            kind::I32,
            &types,
        );
        if golden["scores"].is_null() {
            return file;
        }
        let scores = numbers(&golden["scores"], &|x| {
            (x.as_f64().unwrap() as f32).to_le_bytes().into()
        });
        file.list("tokenizer.ggml.scores", kind::F32, &scores)
    }
}

fn pairs(golden: &Value, pre: &str) -> Writer {
    let last = golden["tokens"].as_array().unwrap().len() as u32 - 1;
    Writer::default()
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", pre)
        .vocabulary(golden)
        .texts("tokenizer.ggml.merges", &golden["merges"])
        .whole("tokenizer.ggml.bos_token_id", last)
        .whole("tokenizer.ggml.eos_token_id", last - 2)
}

fn read(file: &Writer) -> LoadedText {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    fs::write(&path, file.bytes()).unwrap();
    gguf_text(&path).unwrap()
}

fn load(file: &Writer) -> Tokenizer {
    Tokenizer::load(&read(file).tokenizer).unwrap()
}

/// Message of a file whose tokenizer cannot be read or loaded.
fn refused(file: &Writer) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    fs::write(&path, file.bytes()).unwrap();
    let message = match gguf_text(&path) {
        Ok(found) => Tokenizer::load(&found.tokenizer).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    message.replace(&dir.path().display().to_string(), "DIR")
}

#[track_caller]
fn assert_ids(tokenizer: &Tokenizer, texts: &[&str], expected: &Value, what: &str) {
    for (text, expected) in texts.iter().zip(expected.as_array().unwrap()) {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(json!(ids), *expected, "{what}: {text:?}");
    }
}

#[test]
fn byte_pairs_are_cut_as_the_reference_does() {
    let golden = golden();
    let (texts, pairs_golden) = (strings(&golden["texts"]), &golden["pairs"]);
    let by_name = pairs_golden["ids"].as_object().unwrap();
    assert!(by_name.len() > 40);
    let mut all_alike = true;
    for (pre, expected) in by_name {
        let tokenizer = load(&pairs(pairs_golden, pre));
        assert_ids(&tokenizer, &texts, expected, pre);
        all_alike &= expected == &by_name["gpt-2"];
        for text in texts.iter().filter(|text| !text.contains("<|end|>")) {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), *text, "{pre}");
        }
    }
    assert!(!all_alike, "the texts do not show where they are cut");
}

/// One that the reference cuts differently from the tokenizer it comes from is at least loaded.
#[test]
fn every_name_of_the_table_loads() {
    let golden = golden();
    let table = fs::read(fixtures().join("../../compiler/src/text/table.json")).unwrap();
    let table: Value = serde_json::from_slice(&table).unwrap();
    let rows = table["cuts"].as_array().unwrap().iter();
    for name in rows.flat_map(|row| strings(&row["names"])) {
        let tokenizer = load(&pairs(&golden["pairs"], name));
        let text = "it's 1234567 été";
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{name}");
    }
}

fn pieces(golden: &Value, prefix: bool, bos: bool) -> Writer {
    Writer::default()
        .text("tokenizer.ggml.model", "llama")
        .vocabulary(golden)
        .whole("tokenizer.ggml.unknown_token_id", 0)
        .whole("tokenizer.ggml.bos_token_id", 1)
        .whole("tokenizer.ggml.eos_token_id", 2)
        .flag("tokenizer.ggml.add_space_prefix", prefix)
        .flag("tokenizer.ggml.add_bos_token", bos)
}

#[test]
fn pieces_are_joined_by_score_as_the_reference_does() {
    let golden = &golden()["pieces"];
    let texts = strings(&golden["texts"]);
    for prefix in [true, false] {
        for bos in [true, false] {
            let tokenizer = load(&pieces(golden, prefix, bos));
            let what = format!("{prefix} {bos}");
            assert_ids(&tokenizer, &texts, &golden["ids"][&what], &what);
            // A blank is put before what follows a token of its own, such as two blanks, as well.
            let is_kept = |text: &&&str| !(text.contains("<s>") || prefix && text.contains("  "));
            for text in texts.iter().filter(is_kept) {
                let ids = tokenizer.encode(text).unwrap();
                assert_eq!(tokenizer.decode(&ids).unwrap(), *text, "{what}");
            }
        }
    }
}

#[test]
fn the_likeliest_pieces_are_those_of_the_reference() {
    let golden = &golden()["likeliest"];
    let file = Writer::default()
        .text("tokenizer.ggml.model", "t5")
        .vocabulary(golden)
        .whole("tokenizer.ggml.unknown_token_id", 2)
        .whole("tokenizer.ggml.eos_token_id", 1)
        .flag("tokenizer.ggml.add_space_prefix", true)
        .flag("tokenizer.ggml.remove_extra_whitespaces", true);
    let tokenizer = load(&file);
    assert_ids(&tokenizer, &strings(&golden["texts"]), &golden["ids"], "t5");
}

/// The id of each token that ends a text, and what the configuration says.
#[test]
fn special_tokens_and_the_chat_template_are_handed_on() {
    let golden = &golden()["pairs"];
    let file = pairs(golden, "llama-bpe").text("tokenizer.chat_template", "{{ x }}");
    let found = read(&file);
    let tokens = strings(&golden["tokens"]);
    let id = |token| tokens.iter().position(|t| *t == token).unwrap() as u32;
    assert_eq!(found.eos, [id("<|end|>")]);
    let Source::Bytes {
        files: Files {
            config: Some(config),
            ..
        },
        ..
    } = found.tokenizer.clone().made().unwrap()
    else {
        panic!("no configuration");
    };
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["chat_template"], "{{ x }}");
    assert_eq!(config["bos_token"], "<s>");
    assert_eq!(config["eos_token"], "<|end|>");
    // A text of this name begins with BOS, where the file does not say.
    let tokenizer = Tokenizer::load(&found.tokenizer).unwrap();
    assert_eq!(tokenizer.encode("").unwrap(), [id("<s>")]);
    let without = load(&file.flag("tokenizer.ggml.add_bos_token", false));
    assert!(without.encode("").unwrap().is_empty());
    assert!(without.is_silent(id("<|end|>")) && !without.is_silent(id("<tool>")));
}

#[test]
fn tokens_end_a_text_by_what_they_are_called() {
    let ends = |tokens: &[(&str, i32)]| -> Vec<u32> {
        let (names, types): (Vec<&str>, Vec<i32>) = tokens.iter().copied().unzip();
        let golden = json!({"tokens": names, "types": types, "merges": []});
        let file = Writer::default()
            .text("tokenizer.ggml.model", "gpt2")
            .vocabulary(&golden)
            .texts("tokenizer.ggml.merges", &golden["merges"]);
        read(&file).eos
    };
    assert_eq!(
        ends(&[("a", 1), ("<|im_end|>", 3), ("<|im_start|>", 3)]),
        [1]
    );
    // Whatever type the file gives it.
    assert_eq!(
        ends(&[("a", 1), ("<|im_end|>", 4), ("<end_of_turn>", 1)]),
        [1, 2]
    );
    // It closes a tag in some vocabularies.
    assert!(ends(&[("</s>", 4), ("a", 1)]).is_empty());
    assert_eq!(ends(&[("</s>", 3), ("a", 1)]), [0]);
    // Where messages have several parts, each of which ends with it.
    let parts = [("<|end|>", 3), ("<|return|>", 3), ("<|call|>", 3)];
    assert_eq!(ends(&parts), [1, 2]);
    assert_eq!(ends(&parts[..2]), [0, 1]);
}

#[test]
fn what_is_not_known_is_named_where_text_is_asked_for() {
    let golden = golden();
    let message = refused(&pairs(&golden["pairs"], "viking"));
    let start =
        "DIR/x.gguf: its tokenizer cuts text as `viking` does, and known are default, gpt-2, ";
    assert!(message.starts_with(start), "{message}");
    let end =
        "falcon; use another file of the model, or use token ids: --tokens 1,2,3 --print-tokens";
    assert!(message.ends_with(end), "{message}");
    let file = Writer::default().text("tokenizer.ggml.model", "rwkv");
    let start =
        "DIR/x.gguf: its tokenizer is of the kind `rwkv`, and known are gpt2, llama and t5;";
    assert!(refused(&file).starts_with(start));
    let start = "DIR/x.gguf: the file has no tokenizer;";
    assert!(refused(&Writer::default()).starts_with(start));
}

#[test]
fn damaged_metadata_are_named() {
    let golden = golden();
    let whole = pairs(&golden["pairs"], "gpt-2");
    let set = |key: &str, kind: u32, value: &[u8]| {
        let mut file = whole.clone();
        file.keys.retain(|(name, _)| name != key);
        file.raw(key, kind, value)
    };
    let few = [
        &kind::I32.to_le_bytes()[..],
        &1u64.to_le_bytes(),
        &[1, 0, 0, 0],
    ]
    .concat();
    let message = refused(&set("tokenizer.ggml.token_type", kind::LIST, &few));
    let expected = "found a list of 1 elements, expected a number for each token";
    assert!(message.contains(expected), "{message}");
    let bad = [
        &kind::TEXT.to_le_bytes()[..],
        &1u64.to_le_bytes(),
        &text(b"\xFF"),
    ]
    .concat();
    let message = refused(&set("tokenizer.ggml.tokens", kind::LIST, &bad));
    assert!(message.contains("expected texts in UTF-8"), "{message}");
    let message = refused(&set("tokenizer.ggml.model", kind::FLAG, &[1]));
    assert!(message.contains("expected a text"), "{message}");
    for key in ["tokens", "merges"] {
        let key = format!("tokenizer.ggml.{key}");
        let mut file = whole.clone();
        file.keys.retain(|(name, _)| *name != key);
        assert!(refused(&file).contains(&key), "{}", refused(&file));
    }
    let golden = &golden["pieces"];
    let without = json!({"tokens": golden["tokens"], "types": golden["types"]});
    assert!(refused(&pieces(&without, true, true)).contains("tokenizer.ggml.scores"));
    // The number that stands for no token.
    let far = whole.whole("tokenizer.ggml.eot_token_id", u32::MAX);
    assert_eq!(read(&far).eos.len(), 1);
}

#[test]
fn tokens_and_scores_that_are_none_are_refused() {
    let golden = &golden()["pieces"];
    let whole = pieces(golden, true, true);
    let with = |name: &str, kind: u32, value: &[u8]| {
        let mut file = whole.clone();
        let key = format!("tokenizer.ggml.{name}");
        file.keys.retain(|(name, _)| *name != key);
        file.raw(&key, kind, value)
    };
    let tokens = golden["tokens"].as_array().unwrap().len() as u32;
    for name in ["bos", "eos", "unknown", "eot", "eom"] {
        let name = format!("{name}_token_id");
        let message = refused(&with(&name, kind::U32, &tokens.to_le_bytes()));
        let expected = format!(
            "DIR/x.gguf: key \"tokenizer.ggml.{name}\": found {tokens}, expected the number of one of the tokens"
        );
        assert_eq!(message, expected);
        let message = refused(&with(&name, kind::U64, &(1u64 << 40).to_le_bytes()));
        assert!(message.contains("found 1099511627776"), "{message}");
    }
    // None is no token to put first.
    let none = with("bos_token_id", kind::U32, &u32::MAX.to_le_bytes());
    assert!(refused(&none).contains("bos_token_id\": found 4294967295, expected"));
    let unused = none.clone().keys.into_iter();
    let keys = unused.filter(|(key, _)| key != "tokenizer.ggml.add_bos_token");
    let unused = Writer {
        keys: keys.collect(),
        ..none
    };
    load(&unused.flag("tokenizer.ggml.add_bos_token", false));
    for odd in [f32::NAN, f32::INFINITY] {
        let scores = (0..tokens).map(|i| if i == 5 { odd } else { 0.0 }.to_le_bytes());
        let scores: Vec<u8> = scores.flatten().collect();
        let count = u64::from(tokens).to_le_bytes();
        let value = [&kind::F32.to_le_bytes()[..], &count, &scores].concat();
        let message = refused(&with("scores", kind::LIST, &value));
        let expected = format!(
            "DIR/x.gguf: key \"tokenizer.ggml.scores\": found {odd}, expected a finite number for each token"
        );
        assert_eq!(message, expected);
    }
}

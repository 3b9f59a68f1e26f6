//! Small tokenizers for tests, made in memory; and a published one, where the environment says that it is there.

use std::borrow::Cow;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Files, Missing, Source, Tokenizer};

/// Ids of the byte pieces `<0x00>` … `<0xFF>` of [`byte_fallback`] start here.
pub(crate) const FIRST_BYTE: u32 = 3;

/// A BPE over characters with byte fallback: 0 `<unk>`, 1 `<s>`, 2 `</s>`, 3 to 258 the bytes, then `▁`, `,`, `.`, `O`, the
/// small letters, and what is merged of them. Spaces are `▁`, one is put before the text and taken off again, and the
/// post-processor puts `<s>` before it.
pub(crate) fn byte_fallback() -> Value {
    let mut pieces: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    pieces.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    pieces.extend(["▁", ",", ".", "O"].map(String::from));
    pieces.extend(('a'..='z').map(String::from));
    let merges = [
        ["▁", "t"],
        ["h", "e"],
        ["▁t", "he"],
        ["▁", "a"],
        ["n", "d"],
        ["▁a", "nd"],
        ["▁", "▁"],
        ["o", "n"],
    ];
    let special = |id: u32, text: &str| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": bpe(pieces, &merges, true),
    })
}

/// A byte-level BPE: 0 `<|end|>`, then the 256 byte characters, then a few merges, among them the first half of many emoji.
pub(crate) fn byte_level() -> Value {
    let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
    let mut characters: Vec<char> = alphabet.into_iter().collect();
    characters.sort_unstable();
    let mut pieces = vec!["<|end|>".to_string()];
    pieces.extend(characters.into_iter().map(String::from));
    let merges = [
        ["Ġ", "t"],
        ["h", "e"],
        ["Ġt", "he"],
        ["ð", "Ł"],
        ["Ġ", "ðŁ"],
    ];
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 0, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": bpe(pieces, &merges, false),
    })
}

fn bpe(mut pieces: Vec<String>, merges: &[[&str; 2]], byte_fallback: bool) -> Value {
    pieces.extend(merges.iter().map(|pair| pair.concat()));
    let vocab: serde_json::Map<String, Value> =
        pieces.into_iter().zip((0..).map(Value::from)).collect();
    json!({"type": "BPE", "dropout": null, "unk_token": byte_fallback.then_some("<unk>"), "fuse_unk": true,
        "continuing_subword_prefix": null, "end_of_word_suffix": null, "byte_fallback": byte_fallback,
        "ignore_merges": false, "vocab": vocab, "merges": merges})
}

/// Files that exist in memory only.
pub(crate) fn files(tokenizer: &Value) -> Files<Cow<'static, [u8]>> {
    Files {
        tokenizer: bytes(tokenizer),
        config: None,
        special_tokens_map: None,
        added_tokens: None,
        table: None,
    }
}

/// The contents of a file.
pub(crate) fn bytes(value: &Value) -> Cow<'static, [u8]> {
    Cow::Owned(value.to_string().into_bytes())
}

/// A source of files that exist in memory only.
pub(crate) fn source(tokenizer: &Value, config: Option<&Value>) -> Source {
    Source::Bytes {
        place: "memory".into(),
        files: Files {
            config: config.map(bytes),
            ..files(tokenizer)
        },
    }
}

/// The tokenizer of a folder without one.
pub(crate) fn missing(place: &str, instead: Option<&str>) -> Source {
    Source::Missing(Missing::Folder {
        place: place.into(),
        instead: instead.map(String::from),
    })
}

/// Loads a tokenizer that is expected to be fine.
pub(crate) fn load(tokenizer: &Value) -> Tokenizer {
    Tokenizer::load(&source(tokenizer, None)).expect("the fixture loads")
}

/// The folder of the published model of 260 thousand parameters, `$GRAVER_MODELS/stories260k`. Without it the test that
/// asks says that it is skipped.
pub(crate) fn stories260k(test: &str) -> Option<PathBuf> {
    let folder =
        std::env::var_os("GRAVER_MODELS").map(|folder| PathBuf::from(folder).join("stories260k"));
    let folder = folder.filter(|folder| folder.join("tokenizer.json").exists());
    if folder.is_none() {
        let message =
            format!("{test}: skipped, $GRAVER_MODELS/stories260k/tokenizer.json is not there\n");
        std::io::Write::write_all(&mut std::io::stderr(), message.as_bytes())
            .expect("stderr can be written");
    }
    folder
}

//! Tokenizers: ids turned into text piece by piece give what decoding them at once gives; and a tokenizer file may say
//! whatever it likes.
//!
//! The first byte says which: ids for one of a few tokenizers, or `tokenizer.json`, `tokenizer_config.json`, a text,
//! `special_tokens_map.json` and `added_tokens.json`, with zero bytes between them. With decoders nobody ships, pieces need not add up, but nothing may panic.

use std::borrow::Cow;
use std::sync::OnceLock;

use graver_runtime::stream::{HELD_BYTES, TextStream};
use graver_runtime::tokenizer::{Files, Source, Tokenizer};
use serde_json::{Map, Value, json};

use super::Choices;

/// First byte of inputs that are files.
const FILES: u8 = b'j';
/// Most ids of a sequence.
const MAX_IDS: usize = 200;

/// See the module.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((&FILES, files)) => check_files(files),
        Some((_, ids)) => check_ids(ids),
        None => {}
    }
}

fn check_ids(data: &[u8]) {
    static KNOWN: OnceLock<Vec<Tokenizer>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        known()
            .iter()
            .map(|t| source(t.to_string().as_bytes(), [&[]; 3]))
            .map(|t| Tokenizer::load(&t).expect("loads"))
            .collect()
    });
    let mut choices = Choices::new(data);
    let tokenizer = &known[choices.below(known.len())];
    let split = choices.below(MAX_IDS);
    let mut ids = vec![];
    while !choices.is_empty() && ids.len() < MAX_IDS {
        ids.push(choices.below(300) as u32);
    }
    // A long run of bytes that is spoilt after a part of it was shown keeps what was shown.
    if has_long_spoilt_run(tokenizer, &ids) {
        stream(tokenizer, &[], &ids);
        return;
    }
    let text = tokenizer.decode(&ids).expect("known tokenizers decode");
    assert_eq!(stream(tokenizer, &[], &ids), text, "{ids:?}");
    let (prompt, rest) = ids.split_at(split.min(ids.len()));
    let shown = tokenizer.decode(prompt).expect("known tokenizers decode");
    let more = stream(tokenizer, prompt, rest);
    // What follows may complete or spoil the last character of the prompt, which has been shown as it was.
    if !shown.ends_with('\u{FFFD}')
        && let Some(rest) = text.strip_prefix(&shown)
    {
        assert_eq!(more, rest, "{ids:?} after {}", prompt.len());
    }
}

/// The pieces that follow a prompt; none ends inside a character, as they are strings.
fn stream(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) -> String {
    let mut stream = match prompt {
        [] => TextStream::new(tokenizer),
        _ => TextStream::after(tokenizer, prompt).expect("known tokenizers decode"),
    };
    let mut text: String = ids
        .iter()
        .map(|id| stream.push(*id).expect("known tokenizers decode"))
        .collect();
    text += &stream.finish().expect("known tokenizers decode");
    text
}

fn has_long_spoilt_run(tokenizer: &Tokenizer, ids: &[u32]) -> bool {
    let spoken = ids.iter().filter(|id| !tokenizer.is_silent(**id));
    let bytes: Vec<Option<u8>> = spoken.map(|id| tokenizer.byte_of(*id)).collect();
    let mut runs = bytes
        .split(Option::is_none)
        .map(|run| run.iter().flatten().copied().collect::<Vec<u8>>());
    runs.any(|run| run.len() > HELD_BYTES && std::str::from_utf8(&run).is_err())
}

fn check_files(data: &[u8]) {
    let mut parts = data.splitn(5, |b| *b == 0);
    let [tokenizer, config, text, map, added] = [(); 5].map(|()| parts.next().unwrap_or_default());
    let files = source(tokenizer, [config, map, added]);
    let tokenizer = match Tokenizer::load(&files) {
        Ok(tokenizer) => tokenizer,
        Err(message) => return drop(message.to_string()),
    };
    let text = String::from_utf8_lossy(text);
    let ids = match tokenizer.encode(&text) {
        Ok(ids) => {
            check_table(files, &tokenizer, &text, &ids);
            ids
        }
        Err(_) => (0..20).collect(),
    };
    drop(tokenizer.decode(&ids).map_err(|e| e.to_string()));
    let mut stream = TextStream::new(&tokenizer);
    for id in ids.iter().take(MAX_IDS) {
        if stream.push(*id).is_err() {
            return;
        }
    }
    drop(stream.finish());
    drop(TextStream::after(&tokenizer, &ids));
}

/// With a table of its vocabulary it is the same tokenizer.
fn check_table(files: Source, whole: &Tokenizer, text: &str, ids: &[u32]) {
    let table = files.prepared().expect("files in memory can be read");
    // Others are the same file, of which the library may make something else each time: one of two tokens that share an id.
    if !matches!(&table, Source::Bytes { files, .. } if files.table.is_some()) {
        return;
    }
    let table = Tokenizer::load(&table).expect("it loads without");
    assert_eq!(table.encode(text).expect("it did without"), ids, "{text:?}");
    let decoded = [whole, &table].map(|t| t.decode(ids).map_err(drop));
    assert_eq!(decoded[0], decoded[1], "{ids:?}");
}

/// Files beside `tokenizer.json` that are empty are not there.
fn source(tokenizer: &[u8], beside: [&[u8]; 3]) -> Source {
    let beside = beside.map(|file| (!file.is_empty()).then(|| Cow::Owned(file.to_vec())));
    let [config, special_tokens_map, added_tokens] = beside;
    Source::Bytes {
        place: "memory".into(),
        files: Files {
            tokenizer: Cow::Owned(tokenizer.to_vec()),
            config,
            special_tokens_map,
            added_tokens,
            table: None,
        },
    }
}

/// The two kinds that models come with, and the first with the decoders of others.
fn known() -> Vec<Value> {
    let decoders = [
        json!(null),
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true}),
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        json!({"type": "BPEDecoder", "suffix": "d"}),
        json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}),
    ];
    let other = decoders.map(|decoder| {
        let mut tokenizer = byte_fallback();
        tokenizer["decoder"] = decoder;
        tokenizer
    });
    [byte_fallback(), byte_level()]
        .into_iter()
        .chain(other)
        .collect()
}

/// Three special tokens, a piece for each byte, and a few letters and merges.
fn byte_fallback() -> Value {
    let mut pieces: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    pieces.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    pieces.extend(["▁", ",", ".", "##d", "é"].map(String::from));
    pieces.extend(('a'..='p').map(String::from));
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": bpe(pieces, &[["▁", "a"], ["▁", "▁"], ["▁a", "n"]], true),
    })
}

fn byte_level() -> Value {
    let mut pieces = vec!["<|end|>".to_string()];
    pieces.extend((0..=255).map(|b| byte_character(b).to_string()));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special(0, "<|end|>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": bpe(pieces, &[["Ġ", "t"], ["ð", "Ł"], ["Ġ", "ðŁ"]], false),
    })
}

/// The character that stands for a byte where every byte has one that can be seen: itself if it can be, else one from 256 on.
fn byte_character(byte: u8) -> char {
    let seen = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let unseen_before = (0..byte).filter(|b| !seen(*b)).count() as u32;
    let code = if seen(byte) {
        u32::from(byte)
    } else {
        256 + unseen_before
    };
    char::from_u32(code).expect("a small code")
}

fn special(id: u32, text: &str) -> Value {
    json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
}

fn bpe(mut pieces: Vec<String>, merges: &[[&str; 2]], byte_fallback: bool) -> Value {
    pieces.extend(merges.iter().map(|pair| pair.concat()));
    let vocab: Map<String, Value> = pieces.into_iter().zip((0..).map(Value::from)).collect();
    json!({"type": "BPE", "dropout": null, "unk_token": byte_fallback.then_some("<unk>"), "fuse_unk": true,
        "continuing_subword_prefix": null, "end_of_word_suffix": null, "byte_fallback": byte_fallback,
        "ignore_merges": false, "vocab": vocab, "merges": merges})
}

/// Ids for each of the tokenizers, and small files of each kind of model.
pub fn seeds() -> Vec<Vec<u8>> {
    let n = known().len() as u8;
    let ids = (0..n).flat_map(|t| {
        let bytes = |text: &str| {
            text.bytes()
                .flat_map(|b| (u16::from(b) + 3).to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let begin = vec![b'i', t, 3, 0];
        [
            bytes("a 😀 é"),
            bytes("漢字かな交じり文"),
            (0..60).collect(),
        ]
        .map(|ids| [begin.clone(), ids].concat())
    });
    ids.chain(files()).collect()
}

/// Small enough for a fuzzer to change every part of them.
fn files() -> impl Iterator<Item = Vec<u8>> {
    let config = json!({"add_bos_token": true, "bos_token": "<s>", "eos_token": {"content": "b"}, "additional_special_tokens": ["a"]});
    let base = |model: Value| json!({"version": "1.0", "added_tokens": [special(0, "<s>")], "model": model});
    let pieces = || ["<s>", "a", "b", "ab"].map(String::from).to_vec();
    let vocab = json!({"<s>": 0, "a": 1, "b": 2, "ab": 3, "##b": 4});
    let mut all = vec![
        base(bpe(pieces(), &[["a", "b"]], true)),
        base(
            json!({"type": "WordPiece", "unk_token": "<s>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9, "vocab": vocab}),
        ),
        base(json!({"type": "WordLevel", "unk_token": "<s>", "vocab": vocab})),
        base(
            json!({"type": "Unigram", "unk_id": 0, "vocab": [["<s>", 0.0], ["a", -1.0], ["ab", -2.5]], "byte_fallback": false}),
        ),
    ];
    all[0]["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": true, "strip_right": true}]});
    all[0]["truncation"] =
        json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    all[0]["padding"] = json!({"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>"});
    all[1]["pre_tokenizer"] = json!({"type": "Split", "pattern": {"Regex": "\\s+|a(?!b)"}, "behavior": "Isolated", "invert": false});
    all[1]["decoder"] = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
    all[2]["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "Digits", "individual_digits": true}]});
    all[2]["decoder"] =
        json!({"type": "CTC", "pad_token": "<s>", "word_delimiter_token": "a", "cleanup": true});
    all[3]["pre_tokenizer"] =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
    all[3]["decoder"] = json!({"type": "Sequence", "decoders": [{"type": "Strip", "content": "a", "start": 1, "stop": 1}, {"type": "Replace", "pattern": {"Regex": "b+"}, "content": ""}]});
    all.into_iter()
        .map(move |file| format!("j{file}\0{config}\0ab  <s> ba").into_bytes())
}

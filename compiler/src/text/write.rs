//! Writes a `tokenizer.json`, and what a `tokenizer_config.json` says of it.

use graver_runtime::tokenizer::{Ids, PairOptions, empty_model};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::base64;
use super::merges;
use super::table::{Cuts, TABLE};
use super::vocabulary::Vocabulary;

/// What stands for a blank in pieces.
pub(super) const BLANK: &str = "\u{2581}";

/// A kind of tokenizer, with what it has of its own.
pub(super) enum Kind<'a> {
    /// Pairs of bytes, with the pairs in the order in which they are joined.
    Bytes {
        cuts: &'static Cuts,
        merges: Vec<(&'a str, &'a str)>,
    },
    /// Pieces with scores.
    Pieces(Pieces<'a>),
}

/// What is done to a text of which pieces are made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pieces<'a> {
    /// The likeliest sequence of pieces is taken; pairs are joined otherwise.
    pub(super) likeliest: bool,
    /// Whether a text begins with a blank.
    pub(super) prefix: bool,
    /// Whether blanks go at both ends, and but one anywhere else.
    pub(super) squeeze: bool,
    /// A map of characters, as SentencePiece has it.
    pub(super) characters: Option<&'a [u8]>,
}

/// Parts of the file that are small.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
}

/// The file, and a table of its vocabulary and merges, which are not in it then.
pub(super) fn tokenizer(
    vocabulary: &Vocabulary<'_>,
    kind: &Kind<'_>,
) -> (Vec<u8>, Option<Vec<u8>>) {
    let parts = match kind {
        Kind::Bytes { cuts, .. } => bytes(cuts),
        Kind::Pieces(own) => pieces(own),
    };
    let added: Vec<Value> = vocabulary.added().into_iter().map(added).collect();
    let mut out = br#"{"version":"1.0","truncation":null,"padding":null"#.to_vec();
    field(&mut out, "added_tokens", &added);
    field(&mut out, "normalizer", &parts.normalizer);
    field(&mut out, "pre_tokenizer", &parts.pre_tokenizer);
    field(&mut out, "post_processor", &surround(vocabulary));
    field(&mut out, "decoder", &parts.decoder);
    let falls_back = vocabulary.falls_back_to_bytes();
    let mut options = PairOptions {
        fuse_unk: falls_back,
        byte_fallback: falls_back,
        ..PairOptions::default()
    };
    let table = match kind {
        Kind::Bytes { cuts, merges } => {
            options.ignore_merges = cuts.whole_words;
            pairs(&mut out, vocabulary, &vocabulary.ids(), merges, &options)
        }
        Kind::Pieces(own) if own.likeliest => {
            likeliest(&mut out, vocabulary);
            None
        }
        Kind::Pieces(_) => {
            let ids = vocabulary.ids();
            let merges = merges::of_scores(vocabulary, &ids);
            let unknown = vocabulary.unknown.map(|id| vocabulary.token(id));
            options.unk_token = unknown.map(String::from);
            pairs(&mut out, vocabulary, &ids, &merges, &options)
        }
    };
    out.push(b'}');
    (out, table)
}

/// What stands in a `tokenizer_config.json`.
pub(super) fn config(vocabulary: &Vocabulary<'_>, template: Option<&str>) -> Vec<u8> {
    let text = |id: Option<u32>| id.map(|id| vocabulary.token(id));
    let mut config =
        json!({"add_bos_token": vocabulary.adds_bos, "add_eos_token": vocabulary.adds_eos});
    for (key, value) in [
        ("bos_token", text(vocabulary.bos)),
        ("eos_token", text(vocabulary.eos)),
        ("unk_token", text(vocabulary.unknown)),
        ("chat_template", template),
    ] {
        if let Some(value) = value {
            config[key] = value.into();
        }
    }
    config.to_string().into_bytes()
}

fn bytes(cuts: &Cuts) -> Parts {
    Parts {
        normalizer: cuts.normalizer.clone(),
        pre_tokenizer: TABLE.pre_tokenizer(cuts),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
    }
}

fn pieces(own: &Pieces<'_>) -> Parts {
    let replace = |pattern: Value, content| json!({"type": "Replace", "pattern": pattern, "content": content});
    let mut decoders = vec![
        replace(json!({"String": BLANK}), " "),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    let mut normalizers = vec![];
    if let Some(map) = own.characters {
        normalizers
            .push(json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(map)}));
    }
    if own.squeeze {
        normalizers.push(json!({"type": "Strip", "strip_left": true, "strip_right": true}));
        normalizers.push(replace(json!({"Regex": " {2,}"}), " "));
    }
    if own.prefix {
        normalizers.push(json!({"type": "Prepend", "prepend": BLANK}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    normalizers.push(replace(json!({"String": " "}), BLANK));
    Parts {
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        pre_tokenizer: Value::Null,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
    }
}

/// A model that joins pairs, and the table of its vocabulary, if that can be one.
fn pairs(
    out: &mut Vec<u8>,
    vocabulary: &Vocabulary<'_>,
    ids: &Ids<'_>,
    merges: &[(&str, &str)],
    options: &PairOptions,
) -> Option<Vec<u8>> {
    let table = options.table(ids, merges.iter().copied());
    let mut model = empty_model(options);
    if table.is_none() {
        let tokens = vocabulary.tokens.iter().map(AsRef::as_ref);
        model["vocab"] = tokens
            .zip(0..)
            .map(|(token, id): (&str, u32)| (token.to_string(), id.into()))
            .collect::<Map<_, _>>()
            .into();
        model["merges"] = merges.iter().map(|(l, r)| json!([l, r])).collect();
    }
    field(out, "model", &model);
    table
}

/// A model that takes the likeliest sequence.
fn likeliest(out: &mut Vec<u8>, vocabulary: &Vocabulary<'_>) {
    out.extend(br#","model":{"type":"Unigram""#);
    field(out, "unk_id", &vocabulary.unknown);
    field(out, "byte_fallback", &vocabulary.falls_back_to_bytes());
    out.extend(br#","vocab":["#);
    let pieces = vocabulary.tokens.iter().zip(&vocabulary.scores);
    for (id, piece) in pieces.enumerate() {
        comma(out, id);
        put(out, &piece);
    }
    out.extend(b"]}");
}

fn added((id, content, special): (u32, &str, bool)) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": special})
}

/// What puts tokens before and behind every text.
fn surround(vocabulary: &Vocabulary<'_>) -> Option<Value> {
    let bos = vocabulary.bos.filter(|_| vocabulary.adds_bos);
    let eos = vocabulary.eos.filter(|_| vocabulary.adds_eos);
    let special = |id: u32| json!({"SpecialToken": {"id": vocabulary.token(id), "type_id": 0}});
    let around = |texts: &[&str]| -> Value {
        let texts = texts
            .iter()
            .map(|id| json!({"Sequence": {"id": id, "type_id": 0}}));
        bos.map(special)
            .into_iter()
            .chain(texts)
            .chain(eos.map(special))
            .collect()
    };
    let mut tokens = json!({});
    for id in bos.into_iter().chain(eos) {
        let token = vocabulary.token(id);
        tokens[token] = json!({"id": token, "ids": [id], "tokens": [token]});
    }
    let any = bos.or(eos).is_some();
    any.then(|| {
        json!({"type": "TemplateProcessing", "single": around(&["A"]), "pair": around(&["A", "B"]), "special_tokens": tokens})
    })
}

fn field(out: &mut Vec<u8>, key: &str, value: &impl Serialize) {
    out.extend(format!(",{key:?}:").bytes());
    put(out, value);
}

fn comma(out: &mut Vec<u8>, before: usize) {
    if before > 0 {
        out.push(b',');
    }
}

fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("memory takes all that is written");
}

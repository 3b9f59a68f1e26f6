//! Makes a `tokenizer.json` small and quick to load: its vocabulary and merges become a table.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::library::{BPE, Model};
use super::pairs::PairOptions;

/// A file without its vocabulary, and the table of the latter; nothing for files of which no table can be made.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn split(bytes: &[u8]) -> serde_json::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let Whole { mut parts, model } = serde_json::from_slice(bytes)?;
    let Some(Model::Pairs(pairs)) = model else {
        return Ok(None);
    };
    let Some(table) = pairs.table() else {
        return Ok(None);
    };
    parts.insert("model".into(), empty(&pairs.options));
    Ok(Some((serde_json::to_vec(&parts)?, table)))
}

/// A model of byte pairs without any.
pub fn empty(options: &PairOptions) -> Value {
    json!({
        "type": BPE,
        "dropout": options.dropout,
        "unk_token": options.unk_token,
        "continuing_subword_prefix": options.continuing_subword_prefix,
        "end_of_word_suffix": options.end_of_word_suffix,
        "fuse_unk": options.fuse_unk,
        "byte_fallback": options.byte_fallback,
        "ignore_merges": options.ignore_merges,
        "vocab": {},
        "merges": [],
    })
}

/// A file as it is, but for its model.
#[derive(Deserialize)]
struct Whole {
    model: Option<Model>,
    #[serde(flatten)]
    parts: Map<String, Value>,
}

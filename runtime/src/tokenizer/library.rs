//! Reads `tokenizer.json`: its large parts in one pass, without a copy between the text and the library's tables.
//!
//! The library's own reader holds a vocabulary three times before it has its model, which for a quarter of a million tokens takes half a
//! gigabyte and most of a second. Here a BPE goes from the text straight to the library's builder, or to a table (`table`). Everything else is small, or rare, and left
//! to the library.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tokenizers::models::bpe::Vocab;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper, TokenizerImpl,
};

use super::lazy::{Lazy, Vocabulary};
use super::limits::model as limits;
use super::pairs::{PairOptions, Pairs};
use super::table::Table;

/// The version of the format.
const VERSION: &str = "1.0";
/// The model that is read here.
pub(super) const BPE: &str = "BPE";

/// The library's tokenizer, with a vocabulary that need not be the library's.
pub(super) type Library = TokenizerImpl<
    Vocabulary,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// What `tokenizer.json` has. Truncation and padding are for training batches, and not read.
#[derive(Deserialize)]
pub(super) struct Parts {
    version: Option<String>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    /// Changes of a text before it is cut into tokens.
    pub(super) normalizer: Option<Value>,
    /// How it is cut into words.
    pub(super) pre_tokenizer: Option<Value>,
    /// What is put around tokens.
    pub(super) post_processor: Option<Value>,
    /// Changes of a text that is put together.
    pub(super) decoder: Option<Value>,
    model: Model,
}

/// A token with its number, which the library finds anew.
#[derive(Deserialize)]
struct Added {
    #[serde(flatten)]
    token: AddedToken,
}

impl Parts {
    pub(super) fn read(bytes: &[u8]) -> serde_json::Result<Parts> {
        let parts: Parts = serde_json::from_slice(bytes)?;
        match parts.version.as_deref() {
            Some(VERSION) | None => Ok(parts),
            Some(other) => Err(serde_json::Error::custom(format!(
                "unknown version {other:?}, expected {VERSION:?}"
            ))),
        }
    }

    /// The library's tokenizer, with the vocabulary of a table if there is one, and the tokens that the file adds itself, which it
    /// does not have yet.
    pub(super) fn into_tokenizer(
        self,
        table: Option<Cow<'static, [u8]>>,
    ) -> tokenizers::Result<(Library, Vec<AddedToken>)> {
        let mut tokenizer = Library::new(self.model.into_vocabulary(table)?);
        tokenizer.with_normalizer(part::<NormalizerWrapper>(self.normalizer)?);
        tokenizer.with_pre_tokenizer(part::<PreTokenizerWrapper>(self.pre_tokenizer)?);
        let post_processor = part::<PostProcessorWrapper>(self.post_processor)?;
        tokenizer.with_post_processor(post_processor);
        tokenizer.with_decoder(part::<DecoderWrapper>(self.decoder)?);
        let added = self.added_tokens.into_iter().map(|a| a.token).collect();
        Ok((tokenizer, added))
    }
}

fn part<T: for<'de> Deserialize<'de>>(value: Option<Value>) -> serde_json::Result<Option<T>> {
    value.map(serde_json::from_value).transpose()
}

/// What makes tokens of words.
pub(super) enum Model {
    /// Byte pairs, of which the library has made nothing yet.
    Pairs(Pairs),
    /// Something else, or byte pairs that do not say first that they are.
    Other(ModelWrapper),
}

impl Model {
    /// With the vocabulary from a table, if there is one, in the place of its own.
    fn into_vocabulary(self, table: Option<Cow<'static, [u8]>>) -> tokenizers::Result<Vocabulary> {
        match (self, table) {
            (Model::Pairs(pairs), Some(table)) => {
                let lazy = Lazy::new(Table::open(table)?, pairs.options);
                Ok(Vocabulary::Table(Arc::new(lazy)))
            }
            (Model::Pairs(pairs), None) => {
                let builder = pairs.options.builder();
                let built = builder
                    .vocab_and_merges(pairs.vocab, pairs.merges)
                    .build()?;
                Ok(Vocabulary::Whole(ModelWrapper::BPE(built)))
            }
            (Model::Other(model), None) => Ok(Vocabulary::Whole(model)),
            (Model::Other(_), Some(_)) => {
                Err("there is a table of byte pairs beside it, which it has none of".into())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Model, D::Error> {
        deserializer.deserialize_map(ModelVisitor)
    }
}

struct ModelVisitor;

impl<'de> Visitor<'de> for ModelVisitor {
    type Value = Model;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a model with its type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Model, A::Error> {
        let mut seen = Map::new();
        if let Some(key) = map.next_key::<String>()? {
            let value: Value = map.next_value()?;
            if key == "type" && value == BPE {
                let pairs = pairs(map)?;
                limits::check_pairs(&pairs).map_err(A::Error::custom)?;
                return Ok(Model::Pairs(pairs));
            }
            seen.insert(key, value);
        }
        while let Some((key, value)) = map.next_entry()? {
            seen.insert(key, value);
        }
        limits::check(&seen).map_err(A::Error::custom)?;
        let model = ModelWrapper::deserialize(Value::Object(seen)).map_err(A::Error::custom)?;
        Ok(Model::Other(model))
    }
}

/// Byte pairs, from the second entry on.
fn pairs<'de, A: MapAccess<'de>>(mut map: A) -> Result<Pairs, A::Error> {
    let mut options = PairOptions::default();
    let (mut vocab, mut merges) = (None, None);
    while let Some(key) = map.next_key::<String>()? {
        match key.as_str() {
            "vocab" => vocab = Some(map.next_value::<Vocab>()?),
            "merges" => merges = Some(map.next_value::<Merges>()?),
            "dropout" => options.dropout = map.next_value()?,
            "unk_token" => options.unk_token = map.next_value()?,
            "continuing_subword_prefix" => options.continuing_subword_prefix = map.next_value()?,
            "end_of_word_suffix" => options.end_of_word_suffix = map.next_value()?,
            flag @ ("fuse_unk" | "byte_fallback" | "ignore_merges") => {
                let Some(set) = map.next_value()? else {
                    continue;
                };
                match flag {
                    "fuse_unk" => options.fuse_unk = set,
                    "byte_fallback" => options.byte_fallback = set,
                    _ => options.ignore_merges = set,
                }
            }
            _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
        }
    }
    Ok(Pairs {
        options,
        vocab: vocab.ok_or_else(|| A::Error::missing_field("vocab"))?,
        merges: merges.ok_or_else(|| A::Error::missing_field("merges"))?.0,
    })
}

/// Pairs of tokens that become one, the first first.
struct Merges(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Merges, D::Error> {
        let pairs = Vec::<Merge>::deserialize(deserializer)?;
        Ok(Merges(
            pairs.into_iter().filter_map(|pair| pair.0).collect(),
        ))
    }
}

/// A pair as a list, or, in older files, as a text with a space between, of which the first may be a comment.
struct Merge(Option<(String, String)>);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Merge, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two tokens, as a list or with a space between")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Merge, E> {
        if text.starts_with("#version") {
            return Ok(Merge(None));
        }
        match text.split_once(' ') {
            Some((first, second)) if !second.contains(' ') => {
                Ok(Merge(Some((first.into(), second.into()))))
            }
            Some(_) | None => Err(E::custom(format!(
                "the merge {text:?}, expected two tokens with a space between"
            ))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
        let mut next = |have: usize| {
            let token = seq.next_element::<String>()?;
            token.ok_or_else(|| A::Error::invalid_length(have, &self))
        };
        let pair = (next(0)?, next(1)?);
        match seq.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(Merge(Some(pair))),
            Some(_) => Err(A::Error::invalid_length(3, &MergeVisitor)),
        }
    }
}

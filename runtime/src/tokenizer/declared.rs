//! Tokens that the files beside `tokenizer.json` add to it, or give a meaning to.
//!
//! In: `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`, as far as they are there. Out: a list of
//! tokens for the library to add, in the order in which `transformers` (5) adds them, since that order gives ids to those
//! that have none. A file cannot choose an id: the library gives the next free one, whatever `added_tokens_decoder` says.
//!
//! Tokens come in three kinds. Those of `added_tokens_decoder` (or, where the configuration has no such key, of
//! `added_tokens.json` and `tokenizer.json` itself) are added as they are. Named ones (`bos_token`, …, `image_token`, and a
//! dictionary in `extra_special_tokens`) are special, and are added unless they are there. Further ones (a list in
//! `extra_special_tokens`, once called `additional_special_tokens`) are added unless they are there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::TokenizerError;

mod collect;
mod value;

use collect::Collected;
use value::{Full, Token};

/// Names that every tokenizer knows, in order. Others that end with `_token` follow in the order of the file.
pub const SPECIAL_TOKENS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// A file beside `tokenizer.json`: its name for messages, and its contents.
pub(super) struct Beside<'a> {
    name: &'a str,
    values: Map<String, Value>,
}

/// All of them. Where one is missing, it is as if it had nothing in it.
#[derive(Default)]
pub(super) struct Declarations<'a> {
    pub(super) config: Option<Beside<'a>>,
    pub(super) special_tokens_map: Option<Beside<'a>>,
    pub(super) added_tokens: Option<Beside<'a>>,
}

/// What the files say.
pub(super) struct Declared {
    /// By the id that a file gives them.
    listed: BTreeMap<u32, Full>,
    named: Vec<(String, Token)>,
    extra: Vec<Token>,
}

type Result<T> = std::result::Result<T, TokenizerError>;

impl<'a> Beside<'a> {
    /// Reads a file's contents.
    pub(super) fn parse(name: &'a str, bytes: &[u8]) -> Result<Beside<'a>> {
        match serde_json::from_slice(bytes) {
            Ok(values) => Ok(Beside { name, values }),
            Err(source) => Err(TokenizerError::Json {
                name: name.into(),
                source,
            }),
        }
    }

    /// What messages call it.
    pub(super) fn name(&self) -> &'a str {
        self.name
    }

    /// Whether a value is the flag `true`.
    pub(super) fn is_on(&self, key: &str) -> bool {
        self.values.get(key) == Some(&Value::Bool(true))
    }

    fn bad(&self, place: &str, found: &Value, expected: &'static str) -> TokenizerError {
        TokenizerError::Value {
            name: self.name.into(),
            place: place.into(),
            found: found.to_string().chars().take(60).collect(),
            expected,
        }
    }
}

impl Declared {
    /// Reads what the files say; `in_tokenizer` are the tokens that `tokenizer.json` adds itself.
    pub(super) fn read(
        files: &Declarations<'_>,
        in_tokenizer: &BTreeMap<u32, AddedToken>,
    ) -> Result<Declared> {
        let mut collected = Collected::default();
        if let Some(config) = &files.config {
            collected.take_config(config)?;
        }
        let listed = match collected.listed.take() {
            Some(listed) => listed,
            None => {
                if let Some(map) = &files.special_tokens_map {
                    collected.take_special_tokens_map(map)?;
                }
                let mut listed = BTreeMap::new();
                if let Some(file) = &files.added_tokens {
                    listed = collected.added_tokens(file)?;
                }
                listed.extend(in_tokenizer.iter().map(|(&id, token)| (id, token.into())));
                listed
            }
        };
        let by_text: BTreeMap<&str, &Full> = listed.values().map(|t| (t.text(), t)).collect();
        let mut named = collected.named();
        // A name that every tokenizer knows may stand for a token whose properties are listed.
        for (_, token) in named
            .iter_mut()
            .filter(|(n, _)| SPECIAL_TOKENS.contains(&n.as_str()))
        {
            if let Some(full) = by_text.get(token.text()) {
                *token = Token::Full((*full).clone());
            }
        }
        Ok(Declared {
            named,
            extra: collected.extra.unwrap_or_default(),
            listed,
        })
    }

    /// The text of the token with this name, `bos_token`.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        let mut named = self.named.iter();
        named.find(|(n, _)| n == name).map(|(_, t)| t.text())
    }

    /// Whether a file lists a token, with an id.
    pub(super) fn lists(&self, text: &str) -> bool {
        self.listed.values().any(|token| token.text() == text)
    }

    /// What the library is to add, in order. `known` are the tokens that it has added already.
    pub(super) fn to_add(&self, known: &BTreeSet<&str>) -> Vec<AddedToken> {
        let listed = self.listed.values();
        let in_lists: BTreeSet<&str> = listed.clone().map(Full::text).collect();
        let names: BTreeSet<&str> = self.named.iter().map(|(_, token)| token.text()).collect();
        let mut tokens: Vec<Token> = listed.cloned().map(Token::Full).collect();
        let mut seen = BTreeSet::new();
        let named = self.named.iter().map(|(_, token)| token);
        for token in named.chain(&self.extra) {
            let is_there = known.contains(token.text()) || in_lists.contains(token.text());
            if !is_there && seen.insert(token) {
                tokens.push(token.clone());
            }
        }
        let added = |token: Token| {
            let is_named = names.contains(token.text());
            token.added(is_named)
        };
        tokens.into_iter().map(added).collect()
    }
}

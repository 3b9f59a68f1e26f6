//! Goes through the files beside `tokenizer.json` and sorts what they say by kind. Which file counts more than which, and
//! which key than which, is as in `transformers` (5).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::value::{Full, Token};
use super::{Beside, Result, SPECIAL_TOKENS};

const EXTRA: &str = "extra_special_tokens";
/// What [`EXTRA`] was called.
const ADDITIONAL: &str = "additional_special_tokens";
const LISTED: &str = "added_tokens_decoder";

/// What has been read so far.
#[derive(Default)]
pub(super) struct Collected {
    /// The configuration's list by ids; `None` where it has no such key.
    pub(super) listed: Option<BTreeMap<u32, Full>>,
    /// A list in [`EXTRA`] or [`ADDITIONAL`].
    pub(super) extra: Option<Vec<Token>>,
    common: BTreeMap<&'static str, Token>,
    /// Names that are this model's own.
    own: Names,
    /// Those of them that come first, and count less.
    own_first: Names,
}

/// Names with their tokens, in order.
#[derive(Clone, Default)]
struct Names {
    all: Vec<(String, Token)>,
    places: BTreeMap<String, usize>,
}

impl Names {
    /// Gives a name a token; one that had another keeps its place.
    fn put(&mut self, name: &str, token: Token) {
        match self.places.get(name) {
            Some(&i) => self.all[i].1 = token,
            None => {
                self.places.insert(name.into(), self.all.len());
                self.all.push((name.into(), token));
            }
        }
    }
}

impl Collected {
    pub(super) fn take_config(&mut self, config: &Beside<'_>) -> Result<()> {
        let values = &config.values;
        for (key, value) in values {
            self.take_common(config, key, value)?;
            // What is neither text nor object is a flag or number whose name only ends alike.
            match value {
                _ if !is_own(key) => {}
                Value::String(text) => self.own.put(key, Token::Plain(text.clone())),
                Value::Object(_) => self.own_first.put(key, Token::read(config, key, value)?),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
            }
        }
        if let Some(value) = values.get(EXTRA).filter(|value| !is_empty(value)) {
            self.take_extra(config, EXTRA, value)?;
        }
        if let Some(value) = values.get(ADDITIONAL)
            && self.extra.is_none()
        {
            self.take_extra(config, ADDITIONAL, value)?;
        }
        let listed = values.get(LISTED).map(|value| listed(config, value));
        self.listed = listed.transpose()?;
        Ok(())
    }

    /// A file that older folders have beside the configuration, or in its place: what it says counts more.
    pub(super) fn take_special_tokens_map(&mut self, map: &Beside<'_>) -> Result<()> {
        for (key, value) in &map.values {
            let mut value = value.clone();
            match key.as_str() {
                EXTRA => self.take_extra(map, key, &value)?,
                ADDITIONAL if self.extra.is_none() => self.take_extra(map, key, &value)?,
                ADDITIONAL => {}
                _ => {
                    // All in here are special.
                    if let Value::Object(fields) = &mut value {
                        fields.remove("special");
                    }
                    self.take_common(map, key, &value)?;
                    if is_own(key) && (value.is_string() || value.is_object()) {
                        self.own_first.put(key, Token::read(map, key, &value)?);
                    }
                }
            }
        }
        Ok(())
    }

    /// A name that every tokenizer knows; null takes it away.
    fn take_common(&mut self, file: &Beside<'_>, key: &str, value: &Value) -> Result<()> {
        let Some(name) = SPECIAL_TOKENS.into_iter().find(|name| *name == key) else {
            return Ok(());
        };
        match value {
            Value::Null => self.common.remove(name),
            value => self.common.insert(name, Token::read(file, key, value)?),
        };
        Ok(())
    }

    /// A list of tokens, or an object of named ones.
    fn take_extra(&mut self, file: &Beside<'_>, key: &str, value: &Value) -> Result<()> {
        match value {
            Value::Null => {}
            Value::Array(items) => {
                let extra = self.extra.get_or_insert_default();
                let mut seen: BTreeSet<Token> = extra.iter().cloned().collect();
                for (i, item) in items.iter().enumerate() {
                    let token = Token::read(file, &format!("{key}[{i}]"), item)?;
                    if seen.insert(token.clone()) {
                        extra.push(token);
                    }
                }
            }
            Value::Object(items) => {
                for (name, item) in items {
                    let token = Token::read(file, &format!("{key}.{name}"), item)?;
                    self.own.put(name, token);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                let expected = "a list of tokens, or an object of named ones";
                return Err(file.bad(key, value, expected));
            }
        }
        Ok(())
    }

    /// All names with their tokens, in the order in which they are added.
    pub(super) fn named(&self) -> Vec<(String, Token)> {
        let mut all = Names::default();
        for name in SPECIAL_TOKENS {
            if let Some(token) = self.common.get(name) {
                all.put(name, token.clone());
            }
        }
        for (name, token) in self.own_first.all.iter().chain(&self.own.all) {
            all.put(name, token.clone());
        }
        all.all
    }

    /// `added_tokens.json`: texts with ids. Those that have a meaning elsewhere are special.
    pub(super) fn added_tokens(&self, file: &Beside<'_>) -> Result<BTreeMap<u32, Full>> {
        let extra = self.extra.iter().flatten();
        let special: BTreeSet<&str> = self.common.values().chain(extra).map(Token::text).collect();
        let entry = |(text, value): (&String, &Value)| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| file.bad(text, value, "a token id"))?;
            Ok((id, Full::plain(text, special.contains(text.as_str()))))
        };
        file.values.iter().map(entry).collect()
    }
}

fn is_own(key: &str) -> bool {
    key.ends_with("_token") && !SPECIAL_TOKENS.contains(&key)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// `added_tokens_decoder`: an object of tokens by their ids.
fn listed(file: &Beside<'_>, value: &Value) -> Result<BTreeMap<u32, Full>> {
    let Value::Object(entries) = value else {
        return Err(file.bad(LISTED, value, "an object of tokens by their ids"));
    };
    let entry = |(key, value): (&String, &Value)| {
        let place = format!("{LISTED}.{key}");
        let id = key.trim().parse();
        let id = id.map_err(|_| file.bad(&place, value, "a token with an id as its key"))?;
        Ok((id, Full::read(file, &place, value, false)?))
    };
    entries.iter().map(entry).collect()
}

//! A token as a file writes it: a text, or an object with its `content` and flags.

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::{Beside, Result};

/// A token. One of each kind are never equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Token {
    /// Its text alone.
    Plain(String),
    /// With all its properties.
    Full(Full),
}

/// A token with its properties, which are the library's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Full {
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

const OBJECT: &str = "a token: an object with its `content`";
const EITHER: &str = "a token: a text, or an object with its `content`";

impl Token {
    /// Reads a text or an object; a token that does not say so is special.
    pub(super) fn read(file: &Beside<'_>, place: &str, value: &Value) -> Result<Token> {
        match value {
            Value::String(text) => Ok(Token::Plain(text.clone())),
            Value::Object(_) => Ok(Token::Full(Full::read(file, place, value, true)?)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err(file.bad(place, value, EITHER))
            }
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Token::Plain(text) => text,
            Token::Full(full) => full.text(),
        }
    }

    /// As the library takes it. One that has a name is special.
    pub(super) fn added(self, is_named: bool) -> AddedToken {
        match self {
            Token::Plain(text) => AddedToken::from(text, true),
            Token::Full(full) => AddedToken {
                content: full.content,
                single_word: full.single_word,
                lstrip: full.lstrip,
                rstrip: full.rstrip,
                normalized: full.normalized,
                special: full.special || is_named,
            },
        }
    }
}

impl Full {
    /// A text that is special or not, and has no other properties.
    pub(super) fn plain(text: &str, special: bool) -> Full {
        Full::from(&AddedToken::from(text, special))
    }

    /// Reads an object. Flags that it lacks are false, except that a token that is not special is normalised.
    pub(super) fn read(
        file: &Beside<'_>,
        place: &str,
        value: &Value,
        is_special: bool,
    ) -> Result<Full> {
        let none = Map::new();
        let fields = value.as_object().unwrap_or(&none);
        let Some(content) = fields.get("content").and_then(Value::as_str) else {
            return Err(file.bad(place, value, OBJECT));
        };
        let flag = |key: &str, usual| match fields.get(key) {
            None => Ok(usual),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(found) => Err(file.bad(&format!("{place}.{key}"), found, "true or false")),
        };
        let special = flag("special", is_special)?;
        Ok(Full {
            content: content.into(),
            single_word: flag("single_word", false)?,
            lstrip: flag("lstrip", false)?,
            rstrip: flag("rstrip", false)?,
            normalized: flag("normalized", !special)?,
            special,
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.content
    }
}

impl From<&AddedToken> for Full {
    fn from(token: &AddedToken) -> Full {
        Full {
            content: token.content.clone(),
            single_word: token.single_word,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            normalized: token.normalized,
            special: token.special,
        }
    }
}

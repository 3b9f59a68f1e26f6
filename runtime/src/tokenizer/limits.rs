//! What a tokenizer's file may make the library do with memory.
//!
//! The library makes one automaton of all added tokens, which takes up to a kilobyte for each of their bytes, whether or not
//! any text is ever tokenized. Replacements, one after the other, multiply the length of a text.

use serde_json::Value;

use super::TokenizerError;
use super::library::Parts;

/// Longest added token, in bytes; real ones have some dozens.
const LONGEST: usize = 4096;
/// Bytes of all of them together; real files have up to a hundred thousand.
const TOGETHER: usize = 4 << 20;
/// Times that a text may become as long as it was; real files make three bytes of a blank.
const LONGER: usize = 4096;

/// Checks what was read of `tokenizer.json`, before the library sees it: the tokens that it adds itself, and its replacements.
pub(super) fn check_file(name: &str, parts: &Parts) -> Result<(), TokenizerError> {
    for (place, steps) in [
        ("normalizer", &parts.normalizer),
        ("decoder", &parts.decoder),
    ] {
        let times = steps.as_ref().map_or(1, growth);
        if times > LONGER {
            return Err(TokenizerError::Grows {
                name: name.into(),
                place,
                times,
                limit: LONGER,
            });
        }
    }
    check(name, parts.added())
}

/// How many times as long a text can become by the replacements among some steps, each of which replaces at least a byte.
fn growth(steps: &Value) -> usize {
    match steps {
        Value::Object(step) => {
            let is_replacement = step.get("type").is_some_and(|name| name == "Replace");
            let content = step.get("content").filter(|_| is_replacement);
            let own = content.and_then(Value::as_str).map_or(1, str::len);
            let inner = step.values().map(growth);
            inner.fold(own.max(1), usize::saturating_mul)
        }
        Value::Array(steps) => steps.iter().map(growth).fold(1, usize::saturating_mul),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

/// Checks tokens that are to be added.
pub(super) fn check<'a>(
    name: &str,
    tokens: impl Iterator<Item = &'a str>,
) -> Result<(), TokenizerError> {
    let mut all: usize = 0;
    for token in tokens {
        let too_long = |what, bytes, limit| TokenizerError::TooLong {
            name: name.into(),
            what,
            bytes,
            limit,
        };
        if token.len() > LONGEST {
            return Err(too_long("an added token is", token.len(), LONGEST));
        }
        all += token.len();
        if all > TOGETHER {
            return Err(too_long("added tokens are at least", all, TOGETHER));
        }
    }
    Ok(())
}

//! How long added tokens may be. The library makes one automaton of all of them, which takes up to a kilobyte for each of
//! their bytes, whether or not any text is ever tokenized.

use serde::Deserialize;

use super::TokenizerError;

/// Longest added token, in bytes; real ones have some dozens.
const LONGEST: usize = 4096;
/// Bytes of all of them together; real files have up to a hundred thousand.
const TOGETHER: usize = 4 << 20;

/// What is read of `tokenizer.json` before the library reads it.
#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    added_tokens: Vec<Content>,
}

#[derive(Deserialize)]
struct Content {
    content: String,
}

/// Checks the tokens that `tokenizer.json` adds itself. What does not parse is left for the library to complain about.
pub(super) fn check_file(name: &str, bytes: &[u8]) -> Result<(), TokenizerError> {
    match serde_json::from_slice::<Listed>(bytes) {
        Ok(listed) => check(name, listed.added_tokens.iter().map(|t| t.content.as_str())),
        Err(_) => Ok(()),
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

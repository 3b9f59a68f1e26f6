//! What a tokenizer's file may make the library do with memory and time.
//!
//! The library makes automata of all added tokens, which take up to a kilobyte for each of their bytes, whether or not any text is
//! ever tokenized (`automaton`). Steps, one after the other, multiply the length of a text (`growth`, `charsmap`), and models look
//! at the parts of a word again and again (`model`).

use serde_json::Value;
use tokenizers::{AddedToken, NormalizedString, Normalizer, NormalizerWrapper};

use super::library::Parts;
use super::{TokenizerError, guarded};

mod automaton;
mod charsmap;
mod growth;
pub(super) mod model;

use growth::Growth;

/// Longest added token, in bytes; real ones have some dozens.
const LONGEST: usize = 4096;
/// Bytes of all of them together; real files have up to a hundred thousand.
const TOGETHER: usize = 4 << 20;
/// Times that a text may become as long as it was: real files make three bytes of a blank, and eleven times as much of the worst
/// character that they normalize.
const LONGER: usize = 4096;
/// Times that a prompt's tokens may stand in what is made of them; real files have them once.
const COPIES: usize = 16;
/// Special tokens that may be put around a prompt; real files have some.
const AROUND: usize = 4096;
/// Steps that an automaton may take: a second, and as much as fourteen thousand tokens of the worst kind need.
const STEPS: u64 = 1 << 28;

/// A value that is not what it may be.
struct Bad {
    place: &'static str,
    found: String,
    expected: &'static str,
}

impl Bad {
    fn error(self, name: &str) -> TokenizerError {
        TokenizerError::Value {
            name: name.into(),
            place: self.place.into(),
            found: self.found,
            expected: self.expected,
        }
    }
}

/// Checks what was read of `tokenizer.json`, before the library sees it: all steps between a text and tokens.
pub(super) fn check_file(name: &str, parts: &Parts) -> Result<(), TokenizerError> {
    let of = |steps: &Option<Value>| match steps {
        Some(steps) => growth::of(steps).map_err(|bad| bad.error(name)),
        None => Ok(Growth::NONE),
    };
    let normalizer = of(&parts.normalizer)?;
    let within = |place, times, limit| {
        let name = name.into();
        if times <= limit {
            return Ok(());
        }
        Err(TokenizerError::Grows {
            name,
            place,
            times,
            limit,
        })
    };
    within("normalizer", normalizer.most(), LONGER)?;
    let words = normalizer.then(of(&parts.pre_tokenizer)?);
    within("normalizer and pre_tokenizer", words.most(), LONGER)?;
    within("decoder", of(&parts.decoder)?.most(), LONGER)?;
    let Some(steps) = &parts.post_processor else {
        return Ok(());
    };
    let tokens = growth::of_tokens(steps).map_err(|bad| bad.error(name))?;
    within("post_processor", tokens.times, COPIES)?;
    if tokens.plus > AROUND {
        let bad = Bad {
            place: "post_processor",
            found: format!("{} special tokens around a prompt", tokens.plus),
            expected: "at most 4096",
        };
        return Err(bad.error(name));
    }
    Ok(())
}

/// Checks tokens that are to be added, in the order in which the library gets them, as they are searched for: some after they have
/// been normalized.
pub(super) fn check_added<'a>(
    name: &str,
    normalizer: Option<&NormalizerWrapper>,
    tokens: impl Iterator<Item = &'a AddedToken> + Clone,
) -> Result<(), TokenizerError> {
    let (mut plain, mut normalized) = (Searched::default(), Searched::default());
    // Special tokens come first, whatever the order.
    let special = tokens.clone().filter(|token| token.special);
    for token in special.chain(tokens.filter(|token| !token.special)) {
        match normalizer.filter(|_| token.normalized) {
            Some(normalizer) => {
                // The text itself is kept, too.
                too_long(name, "an added token is", token.content.len(), LONGEST)?;
                let doing = || "normalizing its added tokens".into();
                let text = guarded(name, doing, || {
                    let mut text = NormalizedString::from(token.content.as_str());
                    normalizer.normalize(&mut text)?;
                    Ok(text.get().to_owned())
                })?;
                normalized.take(name, text)?;
            }
            None if token.normalized => normalized.take(name, token.content.clone())?,
            None => plain.take(name, token.content.clone())?,
        }
    }
    plain.check(name)?;
    normalized.check(name)
}

/// Texts that one automaton searches for.
#[derive(Default)]
struct Searched {
    texts: Vec<String>,
    bytes: usize,
}

impl Searched {
    fn take(&mut self, name: &str, text: String) -> Result<(), TokenizerError> {
        too_long(name, "an added token is", text.len(), LONGEST)?;
        self.bytes += text.len();
        too_long(name, "added tokens are at least", self.bytes, TOGETHER)?;
        self.texts.push(text);
        Ok(())
    }

    fn check(&self, name: &str) -> Result<(), TokenizerError> {
        // No automaton takes more than the square.
        let most = (self.bytes as u64).pow(2);
        if most <= STEPS {
            return Ok(());
        }
        let steps = automaton::steps(&self.texts);
        if steps <= STEPS {
            return Ok(());
        }
        let bad = Bad {
            place: "added_tokens",
            found: format!(
                "{} tokens that take {steps} steps to be prepared for a search",
                self.texts.len()
            ),
            expected: "tokens that take at most 268435456 (fewer of them, or all of one length)",
        };
        Err(bad.error(name))
    }
}

fn too_long(
    name: &str,
    what: &'static str,
    bytes: usize,
    limit: usize,
) -> Result<(), TokenizerError> {
    if bytes <= limit {
        return Ok(());
    }
    Err(TokenizerError::TooLong {
        name: name.into(),
        what,
        bytes,
        limit,
    })
}

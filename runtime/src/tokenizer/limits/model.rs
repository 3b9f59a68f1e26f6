//! What a model may do with a word.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::pairs::Pairs;

/// Characters of a word that WordPiece takes apart, which it does in time that grows with the cube; real files say 100.
const WORD: u64 = 1024;
/// Bytes of what stands before or behind parts of a word, and is written for each; real ones are `##` and `</w>`.
const AFFIX: usize = 64;
/// Bytes of the token that stands for what is unknown, each time.
const UNKNOWN: usize = 4096;
/// Bytes of a token in a vocabulary; real ones have some hundreds at most.
const TOKEN: usize = 1 << 14;
/// The same for Unigram, which has a map for each byte, one in the other; real ones have some dozens.
const PIECE: usize = 1024;
/// Maps that a Unigram may have, of some hundred bytes each: one for each beginning of a token. In real files that is up to some
/// million, for a million tokens.
const MAPS: usize = 8 << 20;
/// The sum of the lengths that tokens of a Unigram have, which it may copy for each byte of a text; in real files that is a
/// thousand.
const LENGTHS: usize = 1 << 16;

/// Checks a model that the library reads itself, by what its fields are called.
///
/// # Errors
/// What is wrong with it.
pub(in super::super) fn check(model: &Map<String, Value>) -> Result<(), String> {
    let word = model.get("max_input_chars_per_word");
    if let Some(found) = word.and_then(Value::as_u64).filter(|found| *found > WORD) {
        return Err(said("max_input_chars_per_word", found, WORD));
    }
    let text = |key: &str| model.get(key).and_then(Value::as_str);
    let prefix = text("continuing_subword_prefix");
    affixes(prefix, text("end_of_word_suffix"), text("unk_token"))?;
    match model.get("vocab") {
        Some(Value::Object(vocab)) => tokens(vocab.keys().map(String::as_str))?,
        Some(Value::Array(pieces)) => likely(pieces)?,
        Some(_) | None => {}
    }
    let merges = model.get("merges").and_then(Value::as_array);
    let second = |merge: &Value| match merge {
        Value::String(merge) => Some(merge.split_once(' ')?.1.to_owned()),
        merge => Some(merge.get(1)?.as_str()?.to_owned()),
    };
    let mut seconds = merges.into_iter().flatten().filter_map(second);
    seconds.try_for_each(|second| merged(&second, prefix))
}

/// Checks a model of byte pairs.
///
/// # Errors
/// What is wrong with it.
pub(in super::super) fn check_pairs(pairs: &Pairs) -> Result<(), String> {
    let options = &pairs.options;
    let prefix = options.continuing_subword_prefix.as_deref();
    let suffix = options.end_of_word_suffix.as_deref();
    affixes(prefix, suffix, options.unk_token.as_deref())?;
    tokens(pairs.vocab.keys().map(String::as_str))?;
    let mut seconds = pairs.merges.iter().map(|(_, second)| second);
    seconds.try_for_each(|second| merged(second, prefix))
}

fn affixes(
    prefix: Option<&str>,
    suffix: Option<&str>,
    unknown: Option<&str>,
) -> Result<(), String> {
    for (place, text, limit) in [
        ("continuing_subword_prefix", prefix, AFFIX),
        ("end_of_word_suffix", suffix, AFFIX),
        ("unk_token", unknown, UNKNOWN),
    ] {
        within(place, text.map_or(0, str::len), limit)?;
    }
    Ok(())
}

fn tokens<'a>(mut all: impl Iterator<Item = &'a str>) -> Result<(), String> {
    all.try_for_each(|token| within("vocab: a token", token.len(), TOKEN))
}

/// Checks the vocabulary of a model that takes the likeliest sequence.
fn likely(pieces: &[Value]) -> Result<(), String> {
    let texts = pieces.iter().map(|piece| piece.get(0)?.as_str());
    let mut texts: Vec<&str> = texts.flatten().collect();
    let (mut lengths, mut all) = (BTreeSet::new(), 0);
    for text in &texts {
        within("vocab: a token", text.len(), PIECE)?;
        all += text.len();
        lengths.insert(text.len());
    }
    let lengths = lengths.into_iter().sum();
    within("vocab: tokens of each length", lengths, LENGTHS)?;
    if all <= MAPS {
        return Ok(());
    }
    texts.sort_unstable();
    let mut before = "";
    let maps = texts.into_iter().map(|text| {
        let same = text.bytes().zip(before.bytes()).take_while(|(a, b)| a == b);
        let known = same.count();
        before = text;
        text.len() - known
    });
    within("vocab: beginnings of tokens", maps.sum(), MAPS)
}

/// Checks the second token of a merge, from which the library takes the prefix without looking.
fn merged(second: &str, prefix: Option<&str>) -> Result<(), String> {
    let prefix = prefix.unwrap_or_default();
    if second.is_char_boundary(prefix.len()) {
        return Ok(());
    }
    let second: String = second.chars().take(60).collect();
    Err(format!(
        "model: merges: found {second:?}, expected a token with {prefix:?} (continuing_subword_prefix) before it"
    ))
}

fn within(place: &str, bytes: usize, limit: usize) -> Result<(), String> {
    if bytes <= limit {
        return Ok(());
    }
    Err(said(place, format_args!("{bytes} bytes"), limit))
}

fn said(place: &str, found: impl std::fmt::Display, limit: impl std::fmt::Display) -> String {
    format!("model: {place}: found {found}, expected at most {limit}")
}

//! How much longer a text can become by the steps that a file lists.
//!
//! In: steps as the file has them. Out: a bound that no text breaks. The library takes many steps that do not say their type, so what
//! a step is follows from its values as well.

use serde_json::{Map, Value};

use super::{Bad, charsmap};

/// What can be made of a text of `n` bytes (or tokens): `times * n + plus` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) times: usize,
    pub(super) plus: usize,
}

impl Growth {
    pub(super) const NONE: Growth = Growth { times: 1, plus: 0 };

    fn times(times: usize) -> Growth {
        Growth { times, plus: 0 }
    }

    /// Both, one after the other.
    pub(super) fn then(self, next: Growth) -> Growth {
        Growth {
            times: self.times.saturating_mul(next.times),
            plus: self
                .plus
                .saturating_mul(next.times)
                .saturating_add(next.plus),
        }
    }

    /// The most that a text becomes longer by: one of a single byte, and added tokens may cut any text into those.
    pub(super) fn most(self) -> usize {
        self.times.saturating_add(self.plus)
    }
}

/// The growth by the steps of a normalizer, a pre-tokenizer or a decoder.
pub(super) fn of(steps: &Value) -> Result<Growth, Bad> {
    match steps {
        Value::Object(step) => all(own(step)?, step.values(), of),
        Value::Array(steps) => all(Growth::NONE, steps.iter(), of),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(Growth::NONE),
    }
}

fn all<'a>(
    first: Growth,
    steps: impl Iterator<Item = &'a Value>,
    of: fn(&Value) -> Result<Growth, Bad>,
) -> Result<Growth, Bad> {
    let mut steps = steps;
    steps.try_fold(first, |before, step| Ok(before.then(of(step)?)))
}

/// The growth by one step, without those in it.
fn own(step: &Map<String, Value>) -> Result<Growth, Bad> {
    let text = |key| step.get(key).and_then(Value::as_str);
    let kind = text("type").unwrap_or_default();
    if kind == "FixedLength" && step.get("length").and_then(Value::as_u64) == Some(0) {
        return Err(Bad {
            place: "pre_tokenizer: FixedLength: length",
            found: "0".into(),
            expected: "at least 1",
        });
    }
    if kind == "Precompiled" || step.contains_key("precompiled_charsmap") {
        let map = step.get("precompiled_charsmap").unwrap_or(&Value::Null);
        return charsmap::growth(map).map(Growth::times);
    }
    let by_values = if let (Some(pattern), Some(content)) = (step.get("pattern"), text("content")) {
        replacement(pattern, content.len())
    } else if let Some(front) = text("prepend") {
        Growth {
            times: 1,
            plus: front.len(),
        }
    } else if step.contains_key("handle_chinese_chars") {
        // Blanks around a character, accents apart, small letters.
        Growth::times(2 * 3 * 2)
    } else if step.contains_key("suffix") || step.contains_key("word_delimiter_token") {
        // An empty one stands everywhere, and becomes a blank.
        Growth { times: 2, plus: 1 }
    } else if step.contains_key("prefix") {
        Growth { times: 1, plus: 1 }
    } else {
        Growth::NONE
    };
    Ok(by_values.then(by_type(kind, step)))
}

fn by_type(kind: &str, step: &Map<String, Value>) -> Growth {
    let is = |key, value: &Value| step.get(key) == Some(value);
    match kind {
        // Most bytes become characters of two, and a blank is put before each word.
        "ByteLevel" if is("add_prefix_space", &true.into()) => Growth::times(4),
        "ByteLevel" | "Lowercase" => Growth::times(2),
        "Metaspace" => {
            let blank = step.get("replacement").and_then(Value::as_str);
            Growth::times(1 + blank.map_or(0, str::len))
        }
        // What Unicode gives as the worst in UTF-8.
        "NFC" | "NFD" => Growth::times(3),
        "NFKC" | "NFKD" => Growth::times(11),
        _ => Growth::NONE,
    }
}

/// The growth by `content` bytes for each match of a pattern.
fn replacement(pattern: &Value, content: usize) -> Growth {
    let text = pattern.get("String").and_then(Value::as_str);
    match text.map_or(0, str::len) {
        // A regular expression may match nothing, before and behind every byte.
        0 => Growth {
            times: content.saturating_add(1),
            plus: content,
        },
        length => Growth::times(content.div_ceil(length).max(1)),
    }
}

/// The growth of a sequence of tokens by a post-processor.
pub(super) fn of_tokens(steps: &Value) -> Result<Growth, Bad> {
    match steps {
        Value::Object(step) => {
            let own = match step.get("single") {
                Some(single) => template(step, single)?,
                // One token before and one behind.
                None if step.contains_key("cls") => Growth { times: 1, plus: 2 },
                None => Growth::NONE,
            };
            all(
                own,
                step.values().filter(|_| own == Growth::NONE),
                of_tokens,
            )
        }
        Value::Array(steps) => all(Growth::NONE, steps.iter(), of_tokens),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(Growth::NONE),
    }
}

/// The growth by templates: that for one text, or that for two, which follows on one that made two of one.
fn template(step: &Map<String, Value>, single: &Value) -> Result<Growth, Bad> {
    let ids = |token: &Value| {
        let token = step.get("special_tokens")?.get(token.as_str()?)?;
        Some(token.get("ids")?.as_array()?.len())
    };
    let mut most = Growth::NONE;
    for (template, is_single) in [(Some(single), true), (step.get("pair"), false)] {
        let (mut times, mut plus) = (0, 0_usize);
        for piece in template.and_then(Value::as_array).into_iter().flatten() {
            let id = |kind| piece.get(kind).and_then(|piece: &Value| piece.get("id"));
            let bad = |found: &Value, expected| Bad {
                place: "post_processor: single",
                found: found.to_string().chars().take(60).collect(),
                expected,
            };
            if let Some(id) = id("Sequence") {
                if is_single && id == "B" {
                    return Err(bad(id, "the sequence A alone"));
                }
                times += 1;
            } else if let Some(id) = id("SpecialToken") {
                match ids(id) {
                    Some(count) => plus = plus.saturating_add(count),
                    None if is_single => return Err(bad(id, "one of its special_tokens")),
                    None => {}
                }
            }
        }
        most.times = most.times.max(times);
        most.plus = most.plus.max(plus);
    }
    Ok(most)
}

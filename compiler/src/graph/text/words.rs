//! The words of a graph's text: types, shapes, names, numbers and options.
//!
//! A text may come from anywhere, so that everything is bounded here: numbers below [`MAX_NUMBER`], shapes of up to three sizes,
//! and names without the characters that stand between words. What later stages multiply then fits its type.

use graver_runtime::abi::{CacheType, Dtype, Encoding, Quant};

use super::error::LineError;
use crate::graph::dim::Dim;
use crate::graph::ops::Attr;

/// Largest number of a text: far beyond any model's sizes, and with room for the product of two and a size in bytes.
const MAX_NUMBER: usize = 1 << 28;
/// Most sizes of a shape: scores have three.
const MAX_RANK: usize = 3;

pub(super) fn encoding_of(text: &str) -> Result<Encoding, LineError> {
    match Quant::ALL.into_iter().find(|q| q.to_string() == text) {
        Some(quant) => Ok(Encoding::Quantized(quant)),
        None => dtype_of(text).map(Encoding::Float),
    }
}

pub(super) fn cache_type_of(text: &str) -> Result<CacheType, LineError> {
    let mut all = CacheType::ALL.into_iter();
    all.find(|t| t.to_string() == text)
        .ok_or(LineError::Syntax("expected one of f32, bf16, f16, q8"))
}

fn dtype_of(text: &str) -> Result<Dtype, LineError> {
    match text {
        "f32" => Ok(Dtype::F32),
        "bf16" => Ok(Dtype::Bf16),
        "f16" => Ok(Dtype::F16),
        _ => Err(LineError::Syntax(
            "expected one of f32, bf16, f16 (and q8, q4 for weights)",
        )),
    }
}

pub(super) fn read_shape(text: &str) -> Result<Vec<Dim>, LineError> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let dim = |d: &str| match d.trim() {
        "T" => Ok(Dim::Tokens),
        "R" => Ok(Dim::LogitRows),
        "Q" => Ok(Dim::Queries),
        "S" => Ok(Dim::Keys),
        n => number(n)
            .map(Dim::Const)
            .or_else(|| routed(n))
            .ok_or(LineError::Syntax(
                "a dimension is a number, T, R, Q, S, or such as 8T or 24T+130",
            )),
    };
    let dims = inner.split(',').filter(|d| !d.trim().is_empty()).map(dim);
    let dims = dims.collect::<Result<Vec<Dim>, _>>()?;
    match dims.len() {
        ..=MAX_RANK => Ok(dims),
        _ => Err(LineError::Syntax("a shape has at most three sizes")),
    }
}

/// The size of a vector, or the sizes of a matrix.
pub(super) fn read_sizes(text: &str) -> Option<Vec<usize>> {
    let sizes = text.split(',').map(|n| number(n.trim()));
    let sizes = sizes.collect::<Option<Vec<usize>>>()?;
    matches!(sizes.len(), 1 | 2).then_some(sizes)
}

/// A number that is not too large.
pub(super) fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|n| *n <= MAX_NUMBER)
}

/// A name that can be told from what stands around it.
pub(super) fn name(text: &str) -> Result<&str, LineError> {
    let between = |c: char| c.is_whitespace() || ",=:;{}()[]#%@".contains(c);
    match text.is_empty() || text.contains(between) {
        false => Ok(text),
        true => Err(LineError::Syntax(
            "a name is one word without any of , = : ; { } ( ) [ ] # % @",
        )),
    }
}

/// Reads `8T` or `24T+130`.
fn routed(text: &str) -> Option<Dim> {
    let (tokens, more) = text.split_once('+').unwrap_or((text, "0"));
    Some(Dim::Routed {
        per_token: number(tokens.strip_suffix('T')?)?,
        more: number(more)?,
    })
}

/// Reads `word word=value word(word …)`.
pub(super) fn read_attrs(text: &str) -> Result<Vec<Attr>, LineError> {
    let mut stack: Vec<Vec<Attr>> = vec![vec![]];
    let mut word = String::new();
    let large = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    if large
        .filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
        .any(|n| !n.is_empty() && number(n).is_none())
    {
        return Err(LineError::Syntax("a number is too large"));
    }
    let finish = |word: &mut String, level: &mut Vec<Attr>| {
        if !word.is_empty() {
            let (key, value) = word
                .split_once('=')
                .map_or((word.as_str(), None), |(k, v)| (k, Some(v.to_string())));
            level.push(Attr {
                key: key.into(),
                value,
                inner: vec![],
            });
            word.clear();
        }
    };
    for c in text.chars() {
        let level = stack
            .last_mut()
            .ok_or(LineError::Syntax("unbalanced `)`"))?;
        match c {
            '(' => {
                level.push(Attr {
                    key: std::mem::take(&mut word),
                    value: None,
                    inner: vec![],
                });
                stack.push(vec![]);
            }
            ')' => {
                finish(&mut word, level);
                let inner = stack.pop().unwrap_or_default();
                let outer = stack
                    .last_mut()
                    .and_then(|l| l.last_mut())
                    .ok_or(LineError::Syntax("unbalanced `)`"))?;
                outer.inner = inner;
            }
            c if c.is_whitespace() => finish(&mut word, level),
            c => word.push(c),
        }
    }
    let mut top = stack
        .pop()
        .filter(|_| stack.is_empty())
        .ok_or(LineError::Syntax("missing `)`"))?;
    finish(&mut word, &mut top);
    Ok(top)
}

//! What values of `config.json` mean: `tables.json`, which maps the names in use to the mechanisms here.

use serde::Deserialize;
use serde_json::Map;

use super::error::{Fault, unknown};
use super::known::TABLES;
use super::model::{Activation, Score};

/// How a rotary embedding's frequencies are stretched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scaling {
    /// Not at all.
    None,
    /// All by one factor.
    Linear,
    /// By a larger base; at the original length, where it changes nothing but rounding.
    DynamicBase,
    /// Long wavelengths by a factor, short ones not, a blend between.
    ByWavelength,
    /// Each by a factor of its own, of which there are two lists: for sequences up to the original length and for longer ones,
    /// with a scale on the scores (LongRoPE, Ding et al. 2024).
    ByLength,
    /// Only the first pairs turn, a part of them that the parameters give; the others have frequency 0.
    Proportional,
    /// YaRN (Peng et al. 2023): a ramp over the components, and a scale on the scores.
    Yarn,
}

/// The activation that a config calls `name`.
pub(super) fn activation(name: &str) -> Result<Activation, Fault> {
    find("activation", name)
}

/// The scoring function that a config calls `name`.
pub(super) fn score(name: &str) -> Result<Score, Fault> {
    find("score", name)
}

/// The scaling that a config calls `name`.
pub(super) fn scaling(name: &str) -> Result<Scaling, Fault> {
    find("rope_type", name)
}

/// Checks a key of a config's scaling parameters: one that some scaling reads, or one that says nothing about the frequencies.
pub(super) fn rope_key(key: &str) -> Result<(), Fault> {
    let tables = ["rope_key", "rope_key_without_meaning"].map(|t| TABLES[t].as_object());
    let known = || tables.iter().flatten().flat_map(|t| t.keys());
    match known().any(|k| k == key) {
        true => Ok(()),
        false => Err(unknown(
            "parameter of a RoPE, which may change its meaning,",
            key,
            known().map(String::as_str),
        )),
    }
}

fn find<T: for<'de> Deserialize<'de>>(table: &'static str, name: &str) -> Result<T, Fault> {
    let empty = Map::new();
    let entries = TABLES[table].as_object().unwrap_or(&empty);
    let meaning = entries
        .get(name)
        .ok_or_else(|| unknown(table, name, entries.keys().map(String::as_str)))?;
    Ok(T::deserialize(meaning).expect("tables.json names only mechanisms that exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_names_a_mechanism() {
        for name in TABLES["activation"].as_object().unwrap().keys() {
            activation(name).unwrap();
        }
        for name in TABLES["rope_type"].as_object().unwrap().keys() {
            scaling(name).unwrap();
        }
        for name in TABLES["score"].as_object().unwrap().keys() {
            score(name).unwrap();
        }
    }

    #[test]
    fn an_unknown_name_gets_the_nearest() {
        let message = activation("gelu_nwe").unwrap_err().to_string();
        assert!(
            message.starts_with(
                "unknown activation `gelu_nwe` (did you mean `gelu_new`?); known are `silu`, "
            ),
            "{message}"
        );
    }
}

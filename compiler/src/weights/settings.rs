//! `quantization_config`, of which every value that is looked at has to be one that is known: what contradicts the tensors, or asks
//! for other numbers than are computed, is refused with its place.

use std::fmt::Write as _;

use serde_json::Value;

use super::error::WeightsError;
use crate::spec::in_json;

/// Activations of fewer bits than this have other values than those that are computed with.
const ACTIVATION_BITS: i64 = 8;
/// What a group may say of activations.
const ACTIVATIONS: [&str; 2] = ["input_activations", "output_activations"];

/// An object of settings, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Settings<'a> {
    values: &'a Value,
    /// `config_groups.group_0.weights`, or nothing for the whole.
    at: String,
}

impl<'a> Settings<'a> {
    pub(super) fn new(values: &'a Value) -> Settings<'a> {
        let at = String::new();
        Settings { values, at }
    }

    /// What the config says of weights: in its groups, which have to agree, or by itself.
    pub(super) fn of_weights(&self) -> Result<Settings<'a>, WeightsError> {
        let groups = &self.values["config_groups"];
        if groups.is_null() {
            return Ok(self.clone());
        }
        let Some(groups) = groups.as_object() else {
            return Err(self.wrong("config_groups", "an object of groups"));
        };
        let mut first: Option<Settings<'a>> = None;
        for (name, group) in groups {
            let group = self.inside("config_groups").inside_of(name, group);
            for part in ACTIVATIONS {
                group.check_activations(part)?;
            }
            let weights = &group.values["weights"];
            match &first {
                Some(first) if first.values != weights => {
                    let expected = format!("as in {}, {}", first.at, in_json(first.values));
                    return Err(group.wrong("weights", &expected));
                }
                Some(_) => {}
                None => first = Some(group.inside("weights")),
            }
        }
        Ok(first.unwrap_or_else(|| self.clone()))
    }

    /// Activations are computed with in float32, or rounded to int8.
    fn check_activations(&self, part: &str) -> Result<(), WeightsError> {
        let activations = &self.values[part];
        if activations.is_null() {
            return Ok(());
        }
        if !activations.is_object() {
            return Err(self.wrong(part, "an object, or null"));
        }
        let inside = self.inside(part);
        let bits = inside.whole(&["num_bits"])?.map(|(_, bits)| bits);
        match bits {
            Some(bits) if bits < ACTIVATION_BITS => Err(inside.wrong("num_bits", "8 or more")),
            Some(_) | None => Ok(()),
        }
    }

    fn inside(&self, key: &str) -> Settings<'a> {
        self.inside_of(key, &self.values[key])
    }

    fn inside_of(&self, key: &str, values: &'a Value) -> Settings<'a> {
        let at = self.place(key);
        Settings { values, at }
    }

    fn place(&self, key: &str) -> String {
        let mut at = self.at.clone();
        // Writing to a string does not fail.
        let dot = if at.is_empty() { "" } else { "." };
        let _ = write!(at, "{dot}{key}");
        at
    }

    /// The value of a key; none where it is null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        Some(&self.values[key]).filter(|value| !value.is_null())
    }

    /// The first of these keys that there is.
    fn first<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &'a Value)> {
        keys.iter().find_map(|key| Some((*key, self.get(key)?)))
    }

    /// The whole number under the first of these keys that there is, and that key.
    pub(super) fn whole<'k>(
        &self,
        keys: &[&'k str],
    ) -> Result<Option<(&'k str, i64)>, WeightsError> {
        let Some((key, value)) = self.first(keys) else {
            return Ok(None);
        };
        let number = value
            .as_i64()
            .ok_or_else(|| self.wrong(key, "a whole number"))?;
        Ok(Some((key, number)))
    }

    /// Whether a key says true.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, WeightsError> {
        let read = |value: &Value| {
            value
                .as_bool()
                .ok_or_else(|| self.wrong(key, "true or false"))
        };
        self.get(key).map(read).transpose()
    }

    /// The word under a key, which has to be one of `known`; none where it is null.
    pub(super) fn word(&self, key: &str, known: &[&str]) -> Result<Option<&'a str>, WeightsError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let word = value.as_str().filter(|word| known.contains(word));
        word.map(Some)
            .ok_or_else(|| self.wrong(key, &known.join(" or ")))
    }

    /// What is wrong with the value of a key.
    pub(super) fn wrong(&self, key: &str, expected: &str) -> WeightsError {
        WeightsError::Quantization {
            key: self.place(key),
            found: match self.get(key) {
                None => "nothing".into(),
                Some(Value::String(word)) if !is_number(word) => word.clone(),
                Some(other) => in_json(other),
            },
            expected: expected.into(),
        }
    }
}

/// Whether a word would look like a number without its quotes.
fn is_number(word: &str) -> bool {
    word.trim().parse::<f64>().is_ok()
}

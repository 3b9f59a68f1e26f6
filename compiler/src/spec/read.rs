//! Reading a spec's JSON: nodes that know their path, and typed values of them.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::error::{Fault, Kind, Located, Read};
use super::form::Keys;
use super::json;
use super::keys;
use super::params::Names;

/// A value of the spec and where it stands.
#[derive(Clone)]
pub(super) struct Node<'s, 'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
    pub(super) names: Names<'s, 'a>,
}

impl<'s, 'a> Node<'s, 'a> {
    pub(super) fn fault(&self, fault: Fault) -> Located {
        fault.at(&self.path)
    }

    pub(super) fn wrong(&self, expected: &'static str) -> Located {
        self.fault(Fault::WrongType {
            found: Kind::of(self.value),
            expected,
        })
    }

    pub(super) fn spend(&self, steps: usize) -> Read<()> {
        let spent = self.names.params.spend(steps);
        spent.map_err(|f| match self.path.as_str() {
            "" => f.at("(top)"),
            path => f.at(path),
        })
    }

    fn child(&self, value: &'a Value, step: std::fmt::Arguments<'_>) -> Node<'s, 'a> {
        let path = if self.path.is_empty() {
            step.to_string().trim_start_matches('.').into()
        } else {
            format!("{}{step}", self.path)
        };
        Node {
            value,
            path,
            names: self.names,
        }
    }

    /// The elements of a list.
    pub(super) fn elements(&self) -> Read<Vec<Node<'s, 'a>>> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        self.spend(list.len())?;
        Ok(list
            .iter()
            .enumerate()
            .map(|(i, v)| self.child(v, format_args!("[{i}]")))
            .collect())
    }

    /// The entries of an object whose keys are free.
    pub(super) fn entries(&self) -> Read<Vec<(&'a str, Node<'s, 'a>)>> {
        let map = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong("an object"))?;
        self.spend(map.len())?;
        Ok(map
            .iter()
            .map(|(k, v)| (k.as_str(), self.child(v, format_args!(".{k}"))))
            .collect())
    }

    /// The entries of an object whose keys are among `known` (and `if`, which [`Node::chosen`] has read).
    pub(super) fn object(&self, known: Keys) -> Read<Fields<'s, 'a>> {
        self.object_of(&[known])
    }

    /// [`Node::object`] with keys of several tables.
    pub(super) fn object_of(&self, known: &[Keys]) -> Read<Fields<'s, 'a>> {
        let fields = self.object_unchecked()?;
        self.spend(fields.map.len())?;
        match keys::unknown_key(fields.map, known) {
            Some(fault) => Err(self.fault(fault)),
            None => Ok(fields),
        }
    }

    /// The entries of an object, whatever its keys.
    pub(super) fn object_unchecked(&self) -> Read<Fields<'s, 'a>> {
        let map = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong("an object"))?;
        Ok(Fields {
            node: self.clone(),
            map,
        })
    }

    /// Of a list of alternatives the first whose `if` holds; of one value itself, unless its `if` does not hold.
    pub(super) fn chosen(&self) -> Read<Option<Node<'s, 'a>>> {
        match self.value {
            Value::Null => Ok(None),
            Value::Array(_) => {
                for alternative in self.elements()? {
                    if alternative.holds()? {
                        return Ok(Some(alternative));
                    }
                }
                Ok(None)
            }
            _ => Ok(if self.holds()? {
                Some(self.clone())
            } else {
                None
            }),
        }
    }

    /// The `if` of an object; true without one.
    fn holds(&self) -> Read<bool> {
        match self.value.get("if") {
            Some(condition) => self.child(condition, format_args!(".if")).flag(),
            None => Ok(true),
        }
    }

    /// A literal, or the value of an expression where the JSON is a string.
    pub(super) fn eval(&self) -> Read<Cow<'a, Value>> {
        self.names.value(self.value, &self.path, 0)
    }

    /// A string that is not an expression.
    pub(super) fn literal(&self, expected: &'static str) -> Read<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong(expected))
    }

    /// True or false.
    pub(super) fn flag(&self) -> Read<bool> {
        let value = self.eval()?;
        json::flag(&value).ok_or_else(|| self.unexpected(&value, "true or false"))
    }

    /// A whole number in `min..=max`.
    pub(super) fn whole(&self, min: usize, max: usize) -> Read<usize> {
        let value = self.eval()?;
        whole(&value, min, max).map_err(|f| self.fault_of(&value, f))
    }

    /// A number that float32 can hold.
    pub(super) fn real(&self) -> Read<f32> {
        let value = self.eval()?;
        let number = json::number(&value).ok_or_else(|| self.unexpected(&value, "a number"))?;
        let narrow = number as f32;
        if !narrow.is_finite() {
            return Err(self.out_of_range(&value, "a number within float32"));
        }
        Ok(narrow)
    }

    /// A number above zero that float32 can hold.
    pub(super) fn above_zero(&self) -> Read<f32> {
        match self.real()? {
            number if number > 0.0 => Ok(number),
            _ => Err(self.out_of_range(&*self.eval()?, "a number above 0")),
        }
    }

    pub(super) fn unexpected(&self, value: &Value, expected: &'static str) -> Located {
        let found = Kind::of(value);
        self.fault_of(value, Fault::WrongType { found, expected })
    }

    pub(super) fn out_of_range(&self, value: &Value, expected: &str) -> Located {
        let fault = Fault::Range {
            found: Kind::of(value).to_string(),
            expected: expected.into(),
        };
        self.fault_of(value, fault)
    }

    /// A fault of a value, with its place in the config where it is one of the config's own.
    pub(super) fn fault_of(&self, value: &Value, fault: Fault) -> Located {
        self.names.params.fault_of(value, fault, &self.path)
    }
}

/// The entries of an object, by key.
pub(super) struct Fields<'s, 'a> {
    pub(super) node: Node<'s, 'a>,
    map: &'a Map<String, Value>,
}

impl<'s, 'a> Fields<'s, 'a> {
    /// The node of a key as it stands, alternatives not chosen.
    pub(super) fn raw(&self, key: &str) -> Option<Node<'s, 'a>> {
        self.map
            .get(key)
            .map(|v| self.node.child(v, format_args!(".{key}")))
    }

    /// The node of a key, unless it is absent, null or switched off by its `if`.
    pub(super) fn optional(&self, key: &str) -> Read<Option<Node<'s, 'a>>> {
        self.raw(key).map_or(Ok(None), |node| node.chosen())
    }

    /// The node of a key that has to be there.
    pub(super) fn required(&self, key: &'static str) -> Read<Node<'s, 'a>> {
        let raw = self
            .raw(key)
            .ok_or_else(|| self.node.fault(Fault::MissingKey(key)))?;
        let alternatives = raw.value.as_array().map_or(1, Vec::len);
        raw.chosen()?
            .ok_or_else(|| raw.fault(Fault::NoAlternative(alternatives)))
    }

    /// The elements of a list that has to be there and has some.
    pub(super) fn required_list(&self, key: &'static str) -> Read<Vec<Node<'s, 'a>>> {
        let node = self
            .raw(key)
            .ok_or_else(|| self.node.fault(Fault::MissingKey(key)))?;
        let list = node.elements()?;
        match list.is_empty() {
            true => Err(node.wrong("a list that is not empty")),
            false => Ok(list),
        }
    }

    /// An optional value: none where the key is absent or its expression is null.
    pub(super) fn value<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Node<'s, 'a>) -> Read<T>,
    ) -> Read<Option<T>> {
        match self.optional(key)? {
            Some(node) if node.value.is_string() && node.eval()?.is_null() => Ok(None),
            Some(node) => read(&node).map(Some),
            None => Ok(None),
        }
    }

    /// A flag that is false where absent.
    pub(super) fn flag(&self, key: &str) -> Read<bool> {
        Ok(self.value(key, Node::flag)?.unwrap_or(false))
    }
}

/// A whole number in `min..=max`; `4.0` is one.
pub(super) fn whole(value: &Value, min: usize, max: usize) -> Result<usize, Fault> {
    let number = json::number(value).ok_or_else(|| Fault::WrongType {
        found: Kind::of(value),
        expected: "a whole number",
    })?;
    if number.fract() == 0.0 && number >= min as f64 && number <= max as f64 {
        return Ok(number as usize);
    }
    Err(Fault::Range {
        found: Kind::of(value).to_string(),
        expected: format!("a whole number from {min} to {max}"),
    })
}

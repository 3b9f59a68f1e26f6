//! Keys of objects, elements of lists and characters of strings.

use std::borrow::Cow;

use serde_json::Value;

use super::super::error::{Fault, Kind};

/// A key of an object; missing keys and nulls are faults that `??` catches, and so is a key of null.
pub(super) fn field<'a>(
    of: Cow<'a, Value>,
    key: &str,
    prefix: &str,
) -> Result<Cow<'a, Value>, Fault> {
    let name = || format!("{prefix}{key}");
    let found = match of {
        Cow::Borrowed(Value::Object(map)) => map
            .get(key)
            .map(Cow::Borrowed)
            .ok_or_else(|| Fault::not_in_config(name())),
        Cow::Owned(Value::Object(map)) => map
            .get(key)
            .cloned()
            .map(Cow::Owned)
            .ok_or_else(|| Fault::not_in_config(name())),
        other if other.is_null() => Err(Fault::not_in_config(name())),
        other => Err(Fault::Operand {
            op: ".",
            found: Kind::of(&other),
            expected: "an object",
        }),
    }?;
    if found.is_null() {
        Err(Fault::NullInConfig(name()))
    } else {
        Ok(found)
    }
}

pub(super) fn element<'a>(list: Cow<'a, Value>, index: &Value) -> Result<Cow<'a, Value>, Fault> {
    let Some(i) = index.as_i64() else {
        return Err(Fault::Operand {
            op: "[]",
            found: Kind::of(index),
            expected: "a whole number",
        });
    };
    let len = match &*list {
        Value::Array(elements) => elements.len(),
        Value::String(text) => text.chars().count(),
        other => {
            return Err(Fault::Operand {
                op: "[]",
                found: Kind::of(other),
                expected: "a list or a string",
            });
        }
    };
    let outside = Fault::Index { index: i, len };
    let Ok(at) = usize::try_from(i) else {
        return Err(outside);
    };
    if let Some(text) = list.as_str() {
        let character = text.chars().nth(at).ok_or(outside)?;
        return Ok(Cow::Owned(character.to_string().into()));
    }
    match list {
        Cow::Borrowed(v) => v.get(at).map(Cow::Borrowed),
        Cow::Owned(v) => v.get(at).cloned().map(Cow::Owned),
    }
    .ok_or(outside)
}

/// The value of a key that is computed; a missing one is a fault that `??` catches, and so is a key of null. Null is a value like
/// others here: a config that says null can mean something else than one that says nothing.
pub(super) fn get<'a>(of: Cow<'a, Value>, key: &Value) -> Result<Cow<'a, Value>, Fault> {
    let operand = |found: &Value, expected| Fault::Operand {
        op: "get",
        found: Kind::of(found),
        expected,
    };
    let key = key.as_str().ok_or_else(|| operand(key, "a string"))?;
    let found = match of {
        Cow::Borrowed(Value::Object(map)) => map.get(key).map(Cow::Borrowed),
        Cow::Owned(Value::Object(mut map)) => map.remove(key).map(Cow::Owned),
        other if other.is_null() => None,
        other => return Err(operand(&other, "an object")),
    };
    found.ok_or_else(|| Fault::not_in_config(key))
}

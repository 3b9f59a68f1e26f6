//! Keys of objects and elements of lists.

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
    let Some(len) = list.as_array().map(Vec::len) else {
        return Err(Fault::Operand {
            op: "[]",
            found: Kind::of(&list),
            expected: "a list",
        });
    };
    let outside = Fault::Index { index: i, len };
    let Ok(at) = usize::try_from(i) else {
        return Err(outside);
    };
    match list {
        Cow::Borrowed(v) => v.get(at).map(Cow::Borrowed),
        Cow::Owned(v) => v.get(at).cloned().map(Cow::Owned),
    }
    .ok_or(outside)
}

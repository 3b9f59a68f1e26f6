//! Checks the keys of a spec as a whole, by the table in `form.rs`.

use serde_json::{Map, Value};

use super::error::{Fault, Kind, Located};
use super::form::Form::{Any, Free, List, Object, OneOf, Plain, Step};
use super::form::{Choices, Form, ITEM, Keys, SPEC, STEP, keys_of};
use super::near::nearest;

/// Checks the keys of a whole spec, parents merged in.
pub(super) fn check(spec: &Value) -> Result<(), Located> {
    inside(spec, &[SPEC], "")
}

/// A fault for a key of `map` that is in none of `known`.
pub(super) fn unknown_key(map: &Map<String, Value>, known: &[Keys]) -> Option<Fault> {
    let names = || known.iter().flat_map(|keys| keys.iter().map(|(k, _)| *k));
    let stray = |key: &&String| *key != "if" && !names().any(|k| k == key.as_str());
    let key = map.keys().find(stray)?;
    Some(Fault::UnknownKey {
        key: key.clone(),
        known: names().map(String::from).collect(),
        nearest: nearest(key, names()),
    })
}

fn value(at: &Value, form: Form, path: &str) -> Result<(), Located> {
    match (form, at) {
        (Any, _) | (_, Value::Null) => Ok(()),
        (List(of), Value::Array(list)) => each(list, *of, path),
        (Free(of), Value::Object(map)) => map
            .iter()
            .try_for_each(|(k, v)| value(v, *of, &format!("{path}.{k}"))),
        // Alternatives, and lists of numbers or names.
        (Plain | Object(_) | OneOf(_) | Step, Value::Array(list)) => each(list, form, path),
        (Object(keys), Value::Object(_)) => inside(at, &[keys], path),
        (OneOf(choices), Value::Object(map)) => inside(at, &[chosen(choices, map)], path),
        (Step, Value::Object(map)) => step(at, map, path),
        (Plain | List(_), Value::Object(_)) => {
            let expected = match form {
                List(_) => "a list",
                _ => "a value or an expression",
            };
            let found = Kind::of(at);
            Err(Fault::WrongType { found, expected }.at(path))
        }
        // What is neither an object nor a list is read where it is used.
        (_, Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => Ok(()),
    }
}

/// Elements of a list: steps by their names, others by their places.
fn each(list: &[Value], form: Form, path: &str) -> Result<(), Located> {
    list.iter().enumerate().try_for_each(|(i, element)| {
        let path = match (form, step_name(element)) {
            (Step, Some(name)) => format!("{}.{name}", section(path)),
            _ => format!("{path}[{i}]"),
        };
        value(element, form, &path)
    })
}

fn inside(at: &Value, known: &[Keys], path: &str) -> Result<(), Located> {
    let Some(map) = at.as_object() else {
        return Ok(());
    };
    if let Some(fault) = unknown_key(map, known) {
        return Err(fault.at(path));
    }
    let forms = known.iter().flat_map(|keys| keys.iter());
    for (key, form) in forms {
        let path = match path.is_empty() {
            true => key.to_string(),
            false => format!("{path}.{key}"),
        };
        map.get(*key).map_or(Ok(()), |v| value(v, *form, &path))?;
    }
    Ok(())
}

fn step(at: &Value, map: &Map<String, Value>, path: &str) -> Result<(), Located> {
    let Some(op) = map.get("op") else {
        return Err(Fault::MissingKey("op").at(path));
    };
    let keys = keys_of(op).map_err(|f| f.at(path))?;
    inside(at, &[STEP, keys], path)
}

/// `layers.dense[0].residual` → `layers.dense`: steps are addressed by their names from there.
pub(super) fn section(path: &str) -> &str {
    let keys = ITEM.iter().map(|(key, _)| format!("].{key}"));
    // The name of a kind may have brackets itself, so that the last ones count.
    let end = keys.filter_map(|key| path.rfind(&key)).max();
    let start = end.and_then(|end| path[..end].rfind('['));
    start.map_or(path, |start| &path[..start])
}

fn chosen(choices: Choices, map: &Map<String, Value>) -> Keys {
    let found = choices
        .iter()
        .find(|(keys, _)| keys.is_empty() || keys.iter().any(|key| map.contains_key(*key)));
    found.map_or(&[], |(_, keys)| keys)
}

/// Name of a step: its `name`, or else its `op`.
pub(super) fn step_name(step: &Value) -> Option<&str> {
    step.get("name").or_else(|| step.get("op"))?.as_str()
}

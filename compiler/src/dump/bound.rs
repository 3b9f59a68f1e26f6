//! The bound spec as JSON for people to read.

use serde_json::Value;

use crate::spec::model::Model;

/// A bound spec as JSON, what is absent or false left out.
pub(super) fn spec(model: &Model) -> String {
    // By way of text, which has the shortest digits that give back each float32; a value would have the widened ones.
    let text = serde_json::to_string(model).unwrap_or_default();
    let value = serde_json::from_str(&text).unwrap_or_default();
    let mut out = String::new();
    write_json(&without_absent(value), 0, 0, &mut out);
    out + "\n"
}

fn without_absent(value: Value) -> Value {
    let absent = |v: &Value| match v {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Object(_) => false,
    };
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, v)| !absent(v));
            Value::Object(kept.map(|(k, v)| (k, without_absent(v))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_absent).collect()),
        other => other,
    }
}

/// Columns of a line.
const WIDTH: usize = 120;

/// JSON on as few lines as fit, so that a weight or a norm is a line and not ten; `column` is where it begins.
fn write_json(value: &Value, indent: usize, column: usize, out: &mut String) {
    let line = on_one_line(value);
    if column + line.len() < WIDTH {
        return out.push_str(&line);
    }
    let (open, close, parts): (char, char, Vec<(String, &Value)>) = match value {
        Value::Object(map) => {
            let parts = map.iter().map(|(k, v)| (format!("{k:?}: "), v));
            ('{', '}', parts.collect())
        }
        Value::Array(list) => {
            let parts = list.iter().map(|v| (String::new(), v));
            ('[', ']', parts.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return out.push_str(&line);
        }
    };
    out.push(open);
    for (i, (key, v)) in parts.iter().enumerate() {
        out.push_str(&format!("\n{:1$}{key}", "", indent + 2));
        write_json(v, indent + 2, indent + 2 + key.len(), out);
        out.push_str(if i + 1 < parts.len() { "," } else { "" });
    }
    out.push_str(&format!("\n{:1$}{close}", "", indent));
}

fn on_one_line(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Object(map) => {
            let parts = map
                .iter()
                .map(|(k, v)| format!("{k:?}: {}", on_one_line(v)));
            format!("{{ {} }}", join(parts.collect()))
        }
        Value::Array(list) => format!("[{}]", join(list.iter().map(on_one_line).collect())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

//! Values in words.

use std::fmt;

use super::super::json::number;

/// A value in words: `the string "x"`, `a list of 3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind(String);

impl Kind {
    /// Describes a value; long strings are cut.
    pub fn of(value: &serde_json::Value) -> Kind {
        use serde_json::Value;
        Kind(match value {
            Value::Null => "null".into(),
            Value::Bool(b) => b.to_string(),
            Value::Number(n) => n.to_string(),
            Value::String(s) if s.chars().count() > 60 => {
                format!("the string \"{}…\"", s.chars().take(60).collect::<String>())
            }
            Value::String(s) => format!("the string \"{s}\""),
            Value::Array(a) => format!("a list of {}", a.len()),
            Value::Object(_) if number(value).is_some() => {
                number(value).map(|x| x.to_string()).unwrap_or_default()
            }
            Value::Object(o) => format!("an object with {} keys", o.len()),
        })
    }

    /// Nothing at all.
    pub fn nothing() -> Kind {
        Kind("nothing".into())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value as it stands in a file, cut where it is long.
pub(crate) fn in_json(value: &serde_json::Value) -> String {
    if let Some(number) = number(value).filter(|n| !n.is_finite()) {
        return number.to_string();
    }
    let text = value.to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

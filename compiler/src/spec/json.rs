//! JSON as Python writes it: `NaN`, `Infinity` and `-Infinity` may stand where a number may, and a number beyond float64 is an
//! infinity. In memory such a number is the object `{"$number": "NaN"}`, which everything here that reads numbers knows.

use serde_json::{Value, json};

use super::unique::Unique;

const KEY: &str = "$number";
/// The key under which newer configs name such a number, since JSON has none.
const PUBLISHED_KEY: &str = "__float__";
const NAMES: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// Most values in a file, keys of objects counted as well: of a file of 16 MB they could take a gigabyte.
const MAX_VALUES: usize = 1 << 20;

/// Why text is not JSON that is read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON.
    #[error("not valid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// An object with two values for one key.
    #[error("{0}, expected every key of an object once; remove one of them")]
    Twice(serde_json::Error),
    /// More than fits in memory well.
    #[error(
        "has {found} values, expected at most {MAX_VALUES}; remove what does not describe the model"
    )]
    TooMany {
        /// How many.
        found: usize,
    },
}

/// Reads JSON.
///
/// # Errors
/// Text that is not JSON, or has millions of values.
pub fn parse_json(text: &[u8]) -> Result<Value, JsonError> {
    let found = count(text);
    if found > MAX_VALUES {
        return Err(JsonError::TooMany { found });
    }
    serde_json::from_slice(text).or_else(|strict| {
        let Some(replaced) = replace(text, |name, _| json!({ KEY: name }).to_string()) else {
            return Err(strict.into());
        };
        let padded = |name: &str, width| format!("{:width$}", name.len());
        // A fault elsewhere is reported with its column in the file as it is.
        serde_json::from_slice(&replaced).or_else(|_| {
            let same_width = replace(text, padded).unwrap_or_default();
            Ok(serde_json::from_slice(&same_width)?)
        })
    })
}

/// Reads JSON in which no key of an object may occur twice.
///
/// # Errors
/// As [`parse_json`], and a key that occurs twice.
pub(super) fn parse_unique(text: &[u8]) -> Result<Value, JsonError> {
    let value = parse_json(text)?;
    let replaced = replace(text, |_, width| format!("{:1$}", 0, width));
    serde_json::from_slice::<Unique>(replaced.as_deref().unwrap_or(text))
        .map_err(JsonError::Twice)?;
    Ok(value)
}

/// How many values the text has, or more.
fn count(text: &[u8]) -> usize {
    let separators = tokens(text).filter(|t| matches!(t, [b',' | b':' | b'[' | b'{', ..]));
    separators.count()
}

/// The text with numbers that JSON does not have written otherwise, `by` their names and widths; none if there are none.
fn replace(text: &[u8], by: impl Fn(&str, usize) -> String) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut any = false;
    for token in tokens(text) {
        match infinite(token) {
            Some(name) => {
                any = true;
                out.extend(by(name, token.len()).bytes());
            }
            None => out.extend(token),
        }
    }
    any.then_some(out)
}

/// Strings with their quotes, words and numbers, and single bytes of everything else.
fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let len = match first {
            b'"' => string(rest),
            _ if is_word(first) => rest.iter().take_while(|b| is_word(**b)).count(),
            _ => 1,
        };
        let (token, after) = rest.split_at(len);
        rest = after;
        Some(token)
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

/// Length of the string that the text starts with.
fn string(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// The name of a number that is not finite.
fn infinite(token: &[u8]) -> Option<&'static str> {
    if let Some(name) = NAMES.into_iter().find(|n| n.as_bytes() == token) {
        return Some(name);
    }
    let digits = token.iter().any(u8::is_ascii_digit) && matches!(token[0], b'-' | b'0'..=b'9');
    let value: f64 = std::str::from_utf8(token)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()?;
    value
        .is_infinite()
        .then_some(if value > 0.0 { NAMES[1] } else { NAMES[2] })
}

/// A number as a value; one that is not finite as the object that stands for it.
pub(crate) fn json_number(number: f64) -> Value {
    let [nan, above, below] = NAMES;
    if number.is_finite() {
        return number.into();
    }
    let name = if number.is_nan() {
        nan
    } else if number > 0.0 {
        above
    } else {
        below
    };
    json!({ KEY: name })
}

/// The number that a value is.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Object(map) if map.len() == 1 => {
            let name = map.get(KEY).or_else(|| map.get(PUBLISHED_KEY))?.as_str()?;
            NAMES.contains(&name).then(|| name.parse().ok())?
        }
        other => other.as_f64(),
    }
}

/// True or false, or 1 or 0, which Python takes for them.
pub(super) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(n) if n.as_f64() == Some(1.0) => Some(true),
        Value::Number(n) if n.as_f64() == Some(0.0) => Some(false),
        _ => None,
    }
}

/// Equality in which 1 is 1.0, and true is 1.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    let as_number = |v: &Value| v.as_bool().map(f64::from).or_else(|| number(v));
    match (as_number(a), as_number(b)) {
        (Some(x), Some(y)) => x == y,
        _ => a == b,
    }
}

/// Where in `config` a value that was borrowed from it stands: `rope_scaling.factor`.
pub(super) fn place_in(config: &Value, value: &Value) -> Option<String> {
    fn search(at: &Value, value: &Value, path: &mut String) -> bool {
        let len = path.len();
        let mut inside = |step: String, v: &Value| {
            path.push_str(&step);
            let found = std::ptr::eq(v, value) || search(v, value, path);
            if !found {
                path.truncate(len);
            }
            found
        };
        match at {
            Value::Object(map) => map.iter().any(|(k, v)| inside(format!(".{k}"), v)),
            Value::Array(list) => list
                .iter()
                .enumerate()
                .any(|(i, v)| inside(format!("[{i}]"), v)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    let mut path = String::new();
    search(config, value, &mut path).then(|| path.trim_start_matches('.').into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        parse_json(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn numbers_that_python_writes() {
        let value = read(
            r#"{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN, \"Infinity", "d": 1e999, "e": -1e999,
                "f": {"__float__": "Infinity"}, "g": {"__float__": "12"}}"#,
        );
        assert_eq!(number(&value["f"]), Some(f64::INFINITY));
        assert_eq!(number(&value["g"]), None);
        assert!(number(&value["a"]).unwrap().is_nan());
        assert_eq!(number(&value["b"][0]), Some(f64::INFINITY));
        assert_eq!(number(&value["b"][1]), Some(f64::NEG_INFINITY));
        assert_eq!(value["c"], "NaN, \"Infinity");
        assert_eq!(number(&value["d"]), Some(f64::INFINITY));
        assert_eq!(number(&value["e"]), Some(f64::NEG_INFINITY));
    }

    #[test]
    fn other_words_are_no_json() {
        for text in [
            "nan",
            "inf",
            "Inf",
            "+Infinity",
            "-NaN",
            "[NaN",
            "NaNs",
            "{\"a\": nul}",
            "\"NaN",
            "0x10",
        ] {
            assert!(parse_json(text.as_bytes()).is_err(), "{text}");
        }
    }

    /// Columns are those of the file, not of what is read in its place.
    #[test]
    fn faults_have_their_column() {
        let text = parse_json(br#"[NaN, Infinity, nul]"#)
            .unwrap_err()
            .to_string();
        assert_eq!(text, "not valid JSON: expected ident at line 1 column 20");
    }

    #[test]
    fn keys_that_occur_twice_are_refused_where_they_do() {
        let said = |text: &str| parse_unique(text.as_bytes()).map_err(|e| e.to_string());
        let text = "{ \"a\": [NaN, { \"b\": 1, \"c\": -Infinity,\n  \"b\": 2 }] }";
        assert_eq!(
            said(text).unwrap_err(),
            "found the key \"b\" again at line 2 column 5, expected every key of an object once; remove one of them"
        );
        let text = r#"{ "a": { "a": [{ "b": 1e999 }, { "b": null }] }, "b": "NaN" }"#;
        assert_eq!(said(text), Ok(read(text)));
        assert_eq!(read("{ \"a\": 1, \"a\": 2 }"), json!({ "a": 2 }));
    }

    #[test]
    fn values_are_counted() {
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        let text = parse_json(many.as_bytes()).unwrap_err().to_string();
        assert!(
            text.starts_with("has 1048577 values, expected at most 1048576"),
            "{text}"
        );
        let text = format!("[\"{}\"]", ",".repeat(MAX_VALUES));
        assert!(parse_json(text.as_bytes()).is_ok());
    }

    #[test]
    fn flags_may_be_numbers() {
        assert_eq!(flag(&json!(0)), Some(false));
        assert_eq!(flag(&json!(1.0)), Some(true));
        assert_eq!(flag(&json!(2)), None);
        assert_eq!(flag(&json!("true")), None);
        assert!(equal(&json!(false), &json!(0)) && !equal(&json!(false), &Value::Null));
    }

    #[test]
    fn values_have_their_place() {
        let config = json!({ "a": 1, "b": { "c": [1, { "d": 1 }] } });
        let place = |v: &Value| place_in(&config, v);
        assert_eq!(place(&config["a"]).as_deref(), Some("a"));
        assert_eq!(
            place(&config["b"]["c"][1]["d"]).as_deref(),
            Some("b.c[1].d")
        );
        assert_eq!(place(&json!(1)), None);
    }
}

//! Calls of tools, as models write them.

use serde_json::{Map, Value};

use super::table::{Shape, TABLE};

/// Between a name and its arguments, and between it and a number of the call, in calls that are all that follows a mark.
const ARGUMENTS: &str = "[ARGS]";
const CALL_ID: &str = "[CALL_ID]";

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// JSON, as text.
    pub(crate) arguments: String,
}

/// The calls that a text consists of; none where it is anything else.
pub(crate) fn parse(text: &str) -> Option<Vec<Call>> {
    let text = text.trim();
    if let Some(calls) = named(text) {
        return Some(calls);
    }
    let mut shapes = TABLE
        .calls
        .iter()
        .filter_map(|format| format.shape.as_ref());
    if let Some(call) = shapes.find_map(|shape| shaped(text, shape)) {
        return Some(vec![call]);
    }
    if text.starts_with("<function=") {
        return tagged(text).map(|call| vec![call]);
    }
    match serde_json::from_str(text).ok()? {
        Value::Array(calls) => calls.iter().map(object).collect(),
        // Some models put several objects one after the other, which is not JSON.
        call => object(&call).map(|call| vec![call]),
    }
}

/// `{"name": …, "arguments": {…}}`.
fn object(value: &Value) -> Option<Call> {
    let name = value.get("name")?.as_str()?.to_owned();
    let arguments = value.get("arguments").or_else(|| value.get("parameters"));
    let arguments = match arguments {
        Some(Value::String(text)) => text.clone(),
        Some(arguments @ Value::Object(_)) => arguments.to_string(),
        None => "{}".into(),
        Some(_) => return None,
    };
    Some(Call { name, arguments })
}

/// `NAME[ARGS]{…}`, any number of them.
fn named(text: &str) -> Option<Vec<Call>> {
    let mut calls = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once(ARGUMENTS)?;
        let mut values = serde_json::Deserializer::from_str(after).into_iter::<Value>();
        let arguments = values.next()?.ok()?;
        let name = name.trim().trim_start_matches("[TOOL_CALLS]");
        let name = name.split(CALL_ID).next().unwrap_or(name);
        calls.push(Call {
            name: name.to_owned(),
            arguments: arguments.to_string(),
        });
        rest = after[values.byte_offset()..].trim_start();
    }
    (!calls.is_empty()).then_some(calls)
}

/// A name and an object, with texts around them.
fn shaped(text: &str, shape: &Shape) -> Option<Call> {
    let (name, rest) = text
        .strip_prefix(&shape.before)?
        .split_once(&shape.between)?;
    let arguments = rest.strip_suffix(&shape.after)?.trim();
    let read: Value = serde_json::from_str(arguments).ok()?;
    read.is_object().then(|| Call {
        name: name.trim().into(),
        arguments: read.to_string(),
    })
}

/// `<function=NAME><parameter=KEY>VALUE</parameter>…</function>`.
fn tagged(text: &str) -> Option<Call> {
    let (name, body) = text.strip_prefix("<function=")?.split_once('>')?;
    let mut body = body.trim_end().strip_suffix("</function>")?;
    let mut arguments = Map::new();
    while let Some((_, rest)) = body.split_once("<parameter=") {
        let (key, rest) = rest.split_once('>')?;
        let (value, rest) = rest.split_once("</parameter>")?;
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        let read = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        arguments.insert(key.trim().into(), read);
        body = rest;
    }
    Some(Call {
        name: name.trim().into(),
        arguments: Value::Object(arguments).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Call, parse};

    fn call(name: &str, arguments: &str) -> Call {
        Call {
            name: name.into(),
            arguments: arguments.into(),
        }
    }

    #[test]
    fn calls_are_read_as_models_write_them() {
        let weather = vec![call("weather", r#"{"city":"Paris"}"#)];
        for text in [
            r#" {"name": "weather", "arguments": {"city": "Paris"}} "#,
            r#"{"name": "weather", "parameters": {"city": "Paris"}}"#,
            r#"[{"name": "weather", "arguments": {"city": "Paris"}}]"#,
            r#"weather[ARGS]{"city": "Paris"}"#,
            r#"weather[CALL_ID]123456789[ARGS]{"city": "Paris"}"#,
            "function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Paris\"}\n```",
            "weather<｜tool▁sep｜>{\"city\": \"Paris\"}",
            "<function=weather>\n<parameter=city>\nParis\n</parameter>\n</function>",
        ] {
            assert_eq!(parse(text), Some(weather.clone()), "{text}");
        }
        let two = [call("a", "{}"), call("b", r#"{"x":1}"#)];
        assert_eq!(
            parse(r#"a[ARGS]{}[TOOL_CALLS]b[ARGS]{"x": 1}"#).unwrap(),
            two
        );
        assert_eq!(
            parse(r#"[{"name": "a"}, {"name": "b", "arguments": {"x": 1}}]"#).unwrap(),
            two
        );
        assert_eq!(
            parse("<function=b><parameter=x>1</parameter></function>").unwrap(),
            two[1..]
        );
    }

    #[test]
    fn anything_else_is_no_call() {
        for text in [
            "",
            "Paris",
            "{\"city\": \"Paris\"}",
            "{\"name\": 1}",
            "{\"name\": \"a\", \"arguments\": 3}",
            "[1]",
            "<function=a>",
            "a[ARGS]b",
            "a<｜tool▁sep｜>3",
            "function<｜tool▁sep｜>a\n```json\n{}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

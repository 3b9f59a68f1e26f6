//! Messages as OpenAI's API has them, to messages as templates read them.

use serde_json::{Map, Value};

use super::error::ApiError;

/// Contents of several texts become one; arguments of calls, which the API has as text, become what they say.
pub(super) fn prepared(messages: Value) -> Result<Value, ApiError> {
    let wrong = |message: String| ApiError::field("messages", message);
    let Value::Array(mut messages) = messages else {
        return Err(wrong("messages: expected a list of messages".into()));
    };
    if messages.is_empty() {
        return Err(wrong("messages: found none, expected at least one".into()));
    }
    for (at, message) in messages.iter_mut().enumerate() {
        let place = format!("messages[{at}]");
        let Value::Object(message) = message else {
            return Err(wrong(format!("{place}: expected an object")));
        };
        match message.get("role") {
            Some(Value::String(_)) => {}
            Some(_) | None => return Err(wrong(format!("{place}.role: expected a string"))),
        }
        if let Some(content) = message.get_mut("content") {
            flatten(content).map_err(|what| wrong(format!("{place}.content: {what}")))?;
        }
        if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
            calls.iter_mut().for_each(read_arguments);
        }
    }
    Ok(Value::Array(messages))
}

fn flatten(content: &mut Value) -> Result<(), String> {
    let Value::Array(parts) = content else {
        return match content {
            Value::Null | Value::String(_) => Ok(()),
            _ => Err("expected a string or a list of parts".into()),
        };
    };
    let mut whole = String::new();
    for part in parts {
        match (part.get("type").and_then(Value::as_str), part.get("text")) {
            (Some("text"), Some(Value::String(text))) => whole.push_str(text),
            (kind, _) => {
                let kind = kind.unwrap_or("a part without a type");
                return Err(format!("found {kind}, but this model takes text only"));
            }
        }
    }
    *content = Value::String(whole);
    Ok(())
}

fn read_arguments(call: &mut Value) {
    let Some(arguments) = call.pointer_mut("/function/arguments") else {
        return;
    };
    let read = arguments.as_str().map(serde_json::from_str);
    if let Some(Ok(object)) = read {
        *arguments = Value::Object(object);
    } else if arguments
        .as_str()
        .is_some_and(|text| text.trim().is_empty())
    {
        *arguments = Value::Object(Map::new());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::prepared;

    #[test]
    fn parts_become_texts_and_arguments_objects() {
        let found = prepared(json!([
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
                {"id": "2", "type": "function", "function": {"name": "g", "arguments": ""}}]}
        ]));
        let expected = json!([
            {"role": "user", "content": "ab"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}},
                {"id": "2", "type": "function", "function": {"name": "g", "arguments": {}}}]}
        ]);
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_place() {
        for (messages, expected) in [
            (json!({}), "messages: expected a list"),
            (json!([]), "messages: found none"),
            (json!(["a"]), "messages[0]: expected an object"),
            (json!([{"content": "a"}]), "messages[0].role"),
            (
                json!([{"role": "user", "content": 1}]),
                "messages[0].content",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
                "found image_url",
            ),
        ] {
            let error = prepared(messages).unwrap_err().json().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

//! Messages as templates see them: what is null is left out, and reasoning is there under each name that templates know it by.

use serde_json::{Map, Value as Json};

use super::error::TemplateError;

/// Names of a message's reasoning. The first is what most templates read.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Prepares messages, with or without what is null in them.
pub(super) fn messages(messages: &Json, with_nulls: bool) -> Result<Json, TemplateError> {
    let wrong = |found: &str| TemplateError::Messages {
        found: found.into(),
    };
    let Json::Array(list) = messages else {
        return Err(wrong(described(messages)));
    };
    let prepare = |(at, message): (usize, &Json)| match message {
        Json::Object(fields) => Ok(Json::Object(prepared(fields, with_nulls))),
        other => Err(wrong(&format!(
            "{} as message {}",
            described(other),
            at + 1
        ))),
    };
    let all: Result<Vec<Json>, TemplateError> = list.iter().enumerate().map(prepare).collect();
    all.map(Json::Array)
}

/// Whether anything would be left out.
pub(super) fn has_nulls(messages: &Json) -> bool {
    let fields = messages.as_array().into_iter().flatten();
    let mut fields = fields.filter_map(Json::as_object).flat_map(|m| m.values());
    fields.any(Json::is_null)
}

fn prepared(fields: &Map<String, Json>, with_nulls: bool) -> Map<String, Json> {
    let kept = fields
        .iter()
        .filter(|(_, value)| with_nulls || !value.is_null());
    let mut message: Map<String, Json> = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
    let there = |name: &&str| fields.get(*name).is_some_and(|value| !value.is_null());
    let reasoning = REASONING
        .iter()
        .find(|name| there(name))
        .map(|name| fields[*name].clone());
    if let Some(reasoning) = reasoning {
        if !there(&"thinking") {
            let thinking = ("thinking".to_owned(), reasoning.clone());
            message = std::iter::once(thinking).chain(message).collect();
        }
        message.insert(REASONING[0].into(), reasoning);
    }
    message
}

fn described(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

//! Answers that have to be calls of tools.

use serde_json::{Value, json};

use super::constraints::Followed;
use super::format::{CallMarks, ChatFormat};
use crate::guide::BLANKS;
use crate::marks::Marks;

/// Which calls an answer may or has to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToolChoice {
    /// None.
    None,
    /// Any, or none.
    Auto,
    /// At least one of any.
    Required,
    /// One of this function.
    Named(String),
}

impl ToolChoice {
    /// As the API has it; nothing where it is anything else.
    pub(super) fn read(value: Option<&Value>) -> Option<ToolChoice> {
        match value {
            None | Some(Value::Null) => Some(ToolChoice::Auto),
            Some(Value::String(word)) => match word.as_str() {
                "none" => Some(ToolChoice::None),
                "auto" => Some(ToolChoice::Auto),
                "required" => Some(ToolChoice::Required),
                _ => None,
            },
            Some(value) => {
                let name = value.pointer("/function/name")?.as_str()?;
                Some(ToolChoice::Named(name.to_owned()))
            }
        }
    }
}

/// What an answer has to follow that is a call as this model writes them.
///
/// # Errors
/// Why it cannot be forced.
pub(super) fn forced(
    format: &ChatFormat,
    tools: &Value,
    choice: &ToolChoice,
) -> Result<Option<Followed>, String> {
    let wanted = match choice {
        ToolChoice::None | ToolChoice::Auto => return Ok(None),
        ToolChoice::Required => None,
        ToolChoice::Named(name) => Some(name.as_str()),
    };
    let arguments = match format.calls {
        Some(CallMarks::Between(_)) => "arguments",
        Some(CallMarks::Bare) => "parameters",
        Some(CallMarks::After(_)) | None => {
            return Err("this model's template has no calls that can be forced".into());
        }
    };
    let functions = tools.as_array().into_iter().flatten();
    let functions = functions.filter_map(|tool| tool.get("function"));
    let name = |function: &Value| {
        function
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let calls: Vec<Value> = functions
        .filter(|f| wanted.is_none_or(|wanted| name(f).as_deref() == Some(wanted)))
        .map(|function| call(function, arguments))
        .collect();
    if calls.is_empty() {
        return Err(match wanted {
            Some(wanted) => format!("no tool is called `{wanted}`"),
            None => "there are no tools that could be called".into(),
        });
    }
    let schema = match <[Value; 1]>::try_from(calls) {
        Ok([call]) => call,
        Err(calls) => json!({"anyOf": calls}),
    };
    Ok(Some(match format.calls {
        Some(CallMarks::Between(Marks { open, close })) => Followed::Grammar(format!(
            "start: {open:?} \"\\n\" call \"\\n\" {close:?}\ncall: %json {}\n",
            with_blanks(schema)
        )),
        Some(CallMarks::After(_) | CallMarks::Bare) | None => Followed::Schema(schema),
    }))
}

/// A schema within a grammar, which says itself how many blanks there may be.
fn with_blanks(mut schema: Value) -> Value {
    schema["x-guidance"] = json!({"whitespace_pattern": BLANKS});
    schema
}

/// The schema of a call of one function.
fn call(function: &Value, arguments: &str) -> Value {
    let name = function.get("name").unwrap_or(&Value::Null);
    let given = function.get("parameters").filter(|p| p.is_object());
    let given = given.cloned().unwrap_or_else(|| json!({"type": "object"}));
    json!({"type": "object", "properties": {"name": {"const": name}, arguments: given},
        "required": ["name", arguments], "additionalProperties": false})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn choices_are_read_as_the_api_has_them() {
        let read = |value: Value| ToolChoice::read(Some(&value));
        assert_eq!(ToolChoice::read(None), Some(ToolChoice::Auto));
        assert_eq!(read(json!("none")), Some(ToolChoice::None));
        assert_eq!(read(json!("required")), Some(ToolChoice::Required));
        let named = json!({"type": "function", "function": {"name": "f"}});
        assert_eq!(read(named), Some(ToolChoice::Named("f".into())));
        assert_eq!(read(json!("always")), None);
        assert_eq!(read(json!({"type": "function"})), None);
    }

    #[test]
    fn what_cannot_be_forced_says_why() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let bare = ChatFormat {
            reasoning: None,
            calls: Some(CallMarks::Bare),
        };
        assert_eq!(forced(&bare, &tools, &ToolChoice::Auto), Ok(None));
        let schema = json!({"type": "object", "properties": {"name": {"const": "f"},
            "parameters": {"type": "object"}}, "required": ["name", "parameters"], "additionalProperties": false});
        let found = forced(&bare, &tools, &ToolChoice::Required);
        assert_eq!(found, Ok(Some(Followed::Schema(schema))));
        let other = ToolChoice::Named("g".into());
        assert_eq!(
            forced(&bare, &tools, &other),
            Err("no tool is called `g`".into())
        );
        assert!(forced(&ChatFormat::default(), &tools, &ToolChoice::Required).is_err());
    }
}

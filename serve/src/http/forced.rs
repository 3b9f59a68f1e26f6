//! Answers that have to be calls of tools.

use serde_json::{Value, json};

use super::constraints::Followed;
use crate::answer::format::{ChatFormat, SpecialMarks};
use crate::guide::BLANKS;

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

/// What an answer has to follow that is a call as this model writes them, with marks that are special tokens as such.
///
/// # Errors
/// Why it cannot be forced.
pub(super) fn forced(
    format: &ChatFormat,
    special: &SpecialMarks,
    tools: &Value,
    choice: &ToolChoice,
) -> Result<Option<Followed>, String> {
    let wanted = match choice {
        ToolChoice::None | ToolChoice::Auto => return Ok(None),
        ToolChoice::Required => None,
        ToolChoice::Named(name) => Some(name.as_str()),
    };
    let written = format.written();
    let written =
        written.ok_or("cannot be forced: the format of this model's tool calls is unknown")?;
    let functions = tools.as_array().into_iter().flatten();
    let functions = functions.filter_map(|tool| tool.get("function"));
    let named = functions.filter_map(|function| Some((function.get("name")?.as_str()?, function)));
    let calls: Vec<(&str, &Value)> = named
        .filter(|(name, _)| wanted.is_none_or(|wanted| *name == wanted))
        .collect();
    if calls.is_empty() {
        return Err(match wanted {
            Some(wanted) => format!("no tool named `{wanted}`"),
            None => "the request has no tools".into(),
        });
    }
    let names: Vec<String> = (0..calls.len()).map(|at| format!("call{at}")).collect();
    let mut grammar = format!("start: {}\n", names.join(" | "));
    for (at, (name, function)) in calls.into_iter().enumerate() {
        let call = written_call(written, special, name, &format!("arguments{at}"));
        grammar += &format!(
            "call{at}: {call}\narguments{at}: %json {}\n",
            arguments(function)
        );
    }
    Ok(Some(Followed::Grammar(grammar)))
}

/// The schema of a function's arguments, which says itself how many blanks there may be.
fn arguments(function: &Value) -> Value {
    let given = function.get("parameters").filter(|p| p.is_object());
    let mut schema = given.cloned().unwrap_or_else(|| json!({"type": "object"}));
    schema["x-guidance"] = json!({"whitespace_pattern": BLANKS});
    schema
}

/// A call in Lark.
fn written_call(written: &str, special: &SpecialMarks, name: &str, arguments: &str) -> String {
    let quoted = Value::from(name).to_string();
    let text = |text: &str| match text.contains("{quoted}") {
        true => lark_text(&text.replace("{quoted}", &quoted)),
        false => lark_text(&text.replace("{name}", name)),
    };
    let mut terms: Vec<String> = Vec::new();
    for (at, mut part) in written.split("{arguments}").enumerate() {
        if at > 0 {
            terms.push(arguments.into());
        }
        while let Some((before, token, after)) = special.first_in(part) {
            if !before.is_empty() {
                terms.push(text(before));
            }
            terms.push(format!("<[{token}]>"));
            part = after;
        }
        if !part.is_empty() {
            terms.push(text(part));
        }
    }
    terms.join(" ")
}

/// A text in Lark, which quotes as JSON does, and one character more.
fn lark_text(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::template::TemplateFiles;

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
        let bare = ChatFormat::of(&TemplateFiles::of("\"parameters\": ", Map::new()));
        let ask = |format: &ChatFormat, choice: &ToolChoice| {
            forced(format, &SpecialMarks::default(), &tools, choice)
        };
        assert_eq!(ask(&bare, &ToolChoice::Auto), Ok(None));
        let grammar = "start: call0\ncall0: \"{\\\"name\\\": \\\"f\\\", \\\"parameters\\\": \" arguments0 \"}\"\n\
            arguments0: %json {\"type\":\"object\",\"x-guidance\":{\"whitespace_pattern\":\"[ \\\\n\\\\t]{0,16}\"}}\n";
        let found = ask(&bare, &ToolChoice::Required);
        assert_eq!(found, Ok(Some(Followed::Grammar(grammar.into()))));
        let other = ToolChoice::Named("g".into());
        assert_eq!(ask(&bare, &other), Err("no tool named `g`".into()));
        assert!(ask(&ChatFormat::default(), &ToolChoice::Required).is_err());
    }

    #[test]
    fn names_are_quoted_and_marks_are_tokens() {
        let call = |written: &str, name: &str| {
            written_call(
                written,
                &SpecialMarks::for_tests(&[(7, "<call>"), (9, "</call>")]),
                name,
                "args",
            )
        };
        assert_eq!(
            call(
                "<call>\n{\"name\": {quoted}, \"a\": {arguments}}</call>",
                "a\"b\u{7f}"
            ),
            r#"<[7]> "\n{\"name\": \"a\\\"b\u007f\", \"a\": " args "}" <[9]>"#
        );
        // A name is a name, whatever is in it.
        assert_eq!(
            call("{name}<call>{arguments}", "{arguments}</call>"),
            r#""{arguments}</call>" <[7]> args"#
        );
    }
}

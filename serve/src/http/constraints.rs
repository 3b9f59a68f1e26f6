//! What answers have to follow: a JSON schema, a grammar, or what the server was started with.

use serde_json::{Value, json};

use super::app::App;
use super::error::ApiError;
use super::options::Options;
use crate::engine::{Constraint, ConstraintError};
use crate::guide::Guide;

/// What all answers of a server have to follow whose requests do not say.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// JSON of a schema.
    Schema(Value),
    /// A grammar in Lark's notation or in GBNF.
    Grammar(String),
}

/// What a request asks its answers to follow. Takes long, the first time above all.
pub(super) fn constraint(
    app: &App,
    options: &Options,
) -> Result<Option<Box<dyn Constraint>>, ApiError> {
    let (param, followed) = match asked(options)? {
        Some(asked) => asked,
        None => match &app.followed {
            Some(followed) => ("response_format", followed.clone()),
            None => return Ok(None),
        },
    };
    let wrong = |error: ConstraintError| ApiError::field(param, format!("{param}: {error}"));
    make(app, &followed).map(Some).map_err(wrong)
}

/// Compiles what is to be followed, for the model that is served.
pub(super) fn make(app: &App, followed: &Followed) -> Result<Box<dyn Constraint>, ConstraintError> {
    app.guide(|guide| compile(guide, followed))
}

/// Compiles what is to be followed.
pub(super) fn compile(
    guide: &Guide,
    followed: &Followed,
) -> Result<Box<dyn Constraint>, ConstraintError> {
    match followed {
        Followed::Schema(schema) => guide.schema(schema.clone()),
        Followed::Grammar(grammar) => guide.grammar(grammar),
    }
}

fn asked(options: &Options) -> Result<Option<(&'static str, Followed)>, ApiError> {
    let format = options.response_format.as_ref().filter(|f| !f.is_null());
    let wrong = |message: &str| ApiError::field("response_format", message);
    let kind = format.map(|format| format.get("type").and_then(Value::as_str).unwrap_or(""));
    let by_format = match kind {
        None | Some("text") => None,
        Some("json_object") => Some(Followed::Schema(json!({"type": "object"}))),
        Some("json_schema") => {
            let schema = format.and_then(|f| f.pointer("/json_schema/schema"));
            let expected = "response_format.json_schema.schema: expected a JSON schema";
            let schema = schema.filter(|schema| schema.is_object());
            Some(Followed::Schema(
                schema.ok_or_else(|| wrong(expected))?.clone(),
            ))
        }
        Some(_) => {
            return Err(wrong(
                "response_format.type: expected text, json_object or json_schema",
            ));
        }
    };
    match (by_format, &options.grammar) {
        (Some(_), Some(_)) => Err(ApiError::field(
            "grammar",
            "grammar: cannot be combined with response_format; drop one of the two",
        )),
        (None, Some(grammar)) => Ok(Some(("grammar", Followed::Grammar(grammar.clone())))),
        (Some(followed), None) => Ok(Some(("response_format", followed))),
        (None, None) => Ok(None),
    }
}

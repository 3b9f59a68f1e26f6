//! A JSON Schema of specs, for editors that complete and check: made from the tables that specs are checked by ([`form`]).
//!
//! It is wider than the format where keys alone do not say what is meant: an extension's edits of steps may have the keys of any
//! step, since only the parent says which it is.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::form::{self, Form, Keys};
use super::items::{PLACES, WHOLES};

/// The schema, in the 2020-12 dialect.
pub fn schema() -> Value {
    let mut defs = Defs::default();
    defs.form(Form::Plain, "value");
    let mut whole = defs.object(form::SPEC, None);
    if let Some(properties) = whole["properties"].as_object_mut() {
        properties.shift_remove("if");
        for section in ["embed", "head"] {
            properties.insert(section.into(), or_edits(properties[section].clone(), false));
        }
        let kind = properties["layers"]["anyOf"][0]["additionalProperties"].clone();
        let kinds = or_edits(kind, true);
        properties.insert(
            "layers".into(),
            json!({ "type": "object", "additionalProperties": kinds }),
        );
    }
    let top = whole
        .as_object_mut()
        .map(std::mem::take)
        .unwrap_or_default();
    let mut schema = Map::new();
    schema.insert(
        "$schema".into(),
        "https://json-schema.org/draft/2020-12/schema".into(),
    );
    schema.insert("title".into(), "A spec of Graver".into());
    schema.extend(top);
    let edit = edit(&mut defs);
    defs.all.insert("edit".into(), edit);
    let mut all = defs.all;
    all.sort_keys();
    schema.insert("$defs".into(), all.into());
    schema.into()
}

/// A list, or in an extension edits of the parent's, by the names of steps; a kind of layers may also be `like` another.
fn or_edits(list: Value, like: bool) -> Value {
    let mut edits = json!({ "type": "object", "additionalProperties": { "$ref": "#/$defs/edit" } });
    if like {
        edits["properties"] = json!({ "like": { "type": "string" } });
    }
    json!({ "anyOf": [list, edits, { "type": "null" }] })
}

/// What an extension says of a step: keys of any step, or null to delete it.
fn edit(defs: &mut Defs) -> Value {
    let mut forms: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let keys = form::ops().flat_map(|(_, keys)| keys.iter());
    for (key, form) in form::STEP.iter().chain(keys) {
        let form = defs.form(*form, key);
        let known = forms.entry(key).or_default();
        if !known.contains(&form) {
            known.push(form);
        }
    }
    let mut properties = Map::new();
    for (key, mut forms) in forms {
        let form = match forms.len() {
            1 => forms.remove(0),
            _ => json!({ "anyOf": forms }),
        };
        properties.insert(key.into(), form);
    }
    for key in PLACES.into_iter().chain(WHOLES).chain(["if"]) {
        properties.insert(key.into(), json!({}));
    }
    json!({ "type": ["object", "null"], "properties": properties, "additionalProperties": false })
}

/// Schemas of objects that stand in several places, each written once.
#[derive(Default)]
struct Defs {
    all: Map<String, Value>,
    /// Their tables, by the keys that these have.
    known: Vec<(Vec<&'static str>, String)>,
}

impl Defs {
    /// What stands at a place, `key` being its name.
    fn form(&mut self, form: Form, key: &str) -> Value {
        match form {
            Form::Any => json!({}),
            Form::Plain => self.alternatives("value", |_| Vec::new()),
            Form::Object(keys) => {
                let object = self.table(keys, key);
                with_plain(object)
            }
            Form::OneOf(choices) => {
                let objects = choices.iter().map(|(_, keys)| self.table(keys, key));
                let objects = objects.collect::<Vec<_>>();
                with_plain(json!({ "anyOf": objects }))
            }
            Form::Free(of) => {
                let of = self.form(*of, key);
                let object = json!({ "type": "object", "additionalProperties": of });
                json!({ "anyOf": [object, { "type": "null" }] })
            }
            Form::List(of) => {
                let of = self.form(*of, key);
                let list = json!({ "type": "array", "items": of });
                json!({ "anyOf": [list, { "type": "null" }] })
            }
            Form::Step => self.alternatives("step", |defs| {
                let ops = form::ops();
                ops.map(|(op, keys)| defs.step(op, keys)).collect()
            }),
        }
    }

    fn step(&mut self, op: &str, keys: Keys) -> Value {
        let mut step = self.object(form::STEP, Some(keys));
        step["properties"]["op"] = json!({ "const": op });
        step["required"] = json!(["op"]);
        step
    }

    /// A reference to one of `objects`, a plain value, or a list of such, written once under `name`.
    fn alternatives(&mut self, name: &str, objects: impl FnOnce(&mut Self) -> Vec<Value>) -> Value {
        let reference = json!({ "$ref": format!("#/$defs/{name}") });
        if !self.all.contains_key(name) {
            self.all.insert(name.into(), Value::Null);
            let mut options = objects(self);
            options.push(json!({ "type": ["string", "number", "boolean", "null"] }));
            options.push(json!({ "type": "array", "items": reference }));
            self.all.insert(name.into(), json!({ "anyOf": options }));
        }
        reference
    }

    /// A reference to the object that a table describes, named after the first key that it was met at.
    fn table(&mut self, keys: Keys, key: &str) -> Value {
        let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
        let known = self.known.iter().find(|(known, _)| *known == names);
        let name = match known {
            Some((_, name)) => name.clone(),
            None => {
                let numbered = (2..).map(|n| format!("{key}{n}"));
                let mut names_for = std::iter::once(key.to_string()).chain(numbered);
                let free = |name: &String| !self.all.contains_key(name);
                let name = names_for.find(free).expect("finitely many names are taken");
                self.all.insert(name.clone(), Value::Null);
                self.known.push((names, name.clone()));
                let object = self.object(keys, None);
                self.all.insert(name.clone(), object);
                name
            }
        };
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    fn object(&mut self, keys: Keys, more: Option<Keys>) -> Value {
        let mut properties = Map::new();
        for (key, form) in keys.iter().chain(more.into_iter().flatten()) {
            properties.insert((*key).into(), self.form(*form, key));
        }
        let condition = self.form(Form::Plain, "if");
        properties.insert("if".into(), condition);
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    }
}

/// An object, a plain value in its place, or a list of alternatives.
fn with_plain(object: Value) -> Value {
    let one = json!({ "anyOf": [object, { "$ref": "#/$defs/value" }] });
    json!({ "anyOf": [one, { "type": "array", "items": one }] })
}

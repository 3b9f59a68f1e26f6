//! Layer kinds of a spec and its parents, written out as lists of items.
//!
//! Each version of a spec may give a kind as a list, delete it (null), edit what its parents gave (an object whose keys are
//! steps), or begin it anew as `{"like": "dense", …}`: another kind's list, edited the same way. `like` means the other kind
//! as the last version leaves it, so that a child's edits of `dense` are seen in all that are like it; then come the kind's
//! own edits, parents' first.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::edit::edit_steps;
use super::error::{Fault, Kind, Located, unknown};
use super::limits::MAX_KINDS;

/// Most values of all kinds together.
const MAX_VALUES: usize = 1 << 20;

/// What one version says of a kind.
type Said<'v> = (usize, &'v Value);
/// A fault, and the version in which it stands.
type Found<T> = Result<T, (usize, Located)>;

/// The kinds of all `versions`, the outermost parent first.
pub(super) fn written_out(versions: &[&Value]) -> Found<Value> {
    let mut kinds = Kinds {
        said: said(versions),
        done: BTreeMap::new(),
        busy: Vec::new(),
        values: 0,
    };
    let names: Vec<&str> = kinds.said.iter().map(|(name, _)| *name).collect();
    if names.len() > MAX_KINDS {
        let found = format!("{} kinds of layers", names.len());
        let expected = format!("at most {MAX_KINDS}");
        return Err((
            versions.len() - 1,
            Fault::Range { found, expected }.at("layers"),
        ));
    }
    let mut all = Map::new();
    for name in names {
        all.insert(name.into(), kinds.list(name)?.into());
    }
    Ok(Value::Object(all))
}

/// What is said of each kind that is left, from where it begins on.
fn said<'v>(versions: &[&'v Value]) -> Vec<(&'v str, Vec<Said<'v>>)> {
    let mut kinds: Vec<(&str, Vec<Said<'_>>)> = Vec::new();
    let mut places = BTreeMap::new();
    for (i, version) in versions.iter().enumerate() {
        let layers = version.get("layers").and_then(Value::as_object);
        for (name, value) in layers.into_iter().flatten() {
            let place = *places.entry(name.as_str()).or_insert_with(|| {
                kinds.push((name, Vec::new()));
                kinds.len() - 1
            });
            let kind = &mut kinds[place].1;
            if !value.is_object() || value.get("like").is_some() {
                kind.clear();
            }
            if !value.is_null() {
                kind.push((i, value));
            }
        }
    }
    kinds.retain(|(_, said)| !said.is_empty());
    kinds
}

struct Kinds<'v> {
    said: Vec<(&'v str, Vec<Said<'v>>)>,
    done: BTreeMap<&'v str, Vec<Value>>,
    /// Kinds being written out, outermost first: a name met twice is a circle.
    busy: Vec<&'v str>,
    /// How many values there are so far.
    values: usize,
}

impl<'v> Kinds<'v> {
    fn list(&mut self, name: &'v str) -> Found<Vec<Value>> {
        if let Some(done) = self.done.get(name) {
            return Ok(done.clone());
        }
        let path = format!("layers.{name}");
        let said = self.said.iter().find(|(n, _)| *n == name);
        let said = said.map(|(_, said)| said.clone()).unwrap_or_default();
        let Some((version, first)) = said.first().copied() else {
            return Ok(Vec::new());
        };
        let (mut list, edits) = match first {
            Value::Array(list) => (list.clone(), &said[1..]),
            Value::Object(map) if map.contains_key("like") => {
                (self.like(name, version, &map["like"])?, &said[..])
            }
            other => {
                let expected =
                    "a list of items, or an object with `like` and the kind that it edits";
                let found = Kind::of(other);
                return Err((version, Fault::WrongType { found, expected }.at(&path)));
            }
        };
        for (version, edit) in edits {
            let mut edit = edit.as_object().cloned().unwrap_or_default();
            edit.shift_remove("like");
            edit_steps(&mut list, &edit, &path).map_err(|e| (*version, e))?;
        }
        self.values += list.iter().map(values).sum::<usize>();
        if self.values > MAX_VALUES {
            let found = "kinds of layers with more than a million values together".into();
            let expected = "fewer kinds that are like others".into();
            return Err((version, Fault::Range { found, expected }.at(&path)));
        }
        self.done.insert(name, list.clone());
        Ok(list)
    }

    /// The list of the kind that `name` is like, as `version` says.
    fn like(&mut self, name: &'v str, version: usize, like: &Value) -> Found<Vec<Value>> {
        let path = format!("layers.{name}.like");
        self.busy.push(name);
        let found = like.as_str().and_then(|like| {
            let known = self.said.iter().find(|(n, _)| *n == like);
            known.map(|(n, _)| *n)
        });
        let Some(other) = found else {
            let like = like
                .as_str()
                .map_or_else(|| Kind::of(like).to_string(), String::from);
            let known: Vec<&str> = self
                .said
                .iter()
                .map(|k| k.0)
                .filter(|k| *k != name)
                .collect();
            let fault = unknown("layer kind", &like, known.into_iter());
            return Err((version, fault.at(&path)));
        };
        if let Some(start) = self.busy.iter().position(|n| *n == other) {
            let circle = self.busy[start..].iter().chain([&other]);
            let circle = circle.map(|n| n.to_string()).collect();
            return Err((version, Fault::LikeCycle(circle).at(&path)));
        }
        let list = self.list(other)?;
        self.busy.pop();
        Ok(list)
    }
}

/// How many values a value has inside, itself included.
fn values(value: &Value) -> usize {
    let inside: usize = match value {
        Value::Array(list) => list.iter().map(values).sum(),
        Value::Object(map) => map.values().map(values).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    1 + inside
}

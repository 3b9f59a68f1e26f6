//! Edits: JSON laid over JSON.
//!
//! Objects merge key by key, null deletes a key, anything else replaces. A list of steps can be replaced as a whole or,
//! by an object, edited: each key names a step, to merge with, to delete (null), or to insert (with `before`, `after` or `replace`);
//! [`items`] are edited as a whole.

use serde_json::{Map, Value};

use super::error::{Fault, Kind, Located};
use super::form::BRANCHES;
use super::items::{self, is_of_item, place_of};
use super::keys::step_name;
use super::limits::MAX_STEPS;
use super::near::nearest;

pub(super) fn lay(base: &mut Value, over: &Value, path: &str) -> Result<(), Located> {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => lay_object(base, over, path),
        (Value::Array(steps), Value::Object(edits)) if matches!(path, "embed" | "head") => {
            edit_steps(steps, edits, path)
        }
        (base, over) => {
            *base = over.clone();
            Ok(())
        }
    }
}

fn lay_object(
    base: &mut Map<String, Value>,
    over: &Map<String, Value>,
    path: &str,
) -> Result<(), Located> {
    // A parameter can be null; anything else that is null is not there.
    let deletes = !matches!(path, "params" | "layer_params");
    for (key, value) in over {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        if value.is_null() && deletes {
            base.shift_remove(key);
        } else if let Some(old) = base.get_mut(key) {
            lay(old, value, &path)?;
        } else {
            base.insert(key.clone(), value.clone());
        }
    }
    Ok(())
}

/// Applies `edits` to a list of steps, or of items with steps inside.
pub(super) fn edit_steps(
    steps: &mut Vec<Value>,
    edits: &Map<String, Value>,
    path: &str,
) -> Result<(), Located> {
    let mut room = room_in(steps);
    for (name, edit) in edits {
        let path = format!("{path}.{name}");
        if let Some(edit) = edit.as_object().filter(|edit| is_of_item(edit)) {
            items::edit_item(steps, edit, &path)?;
            room = room_in(steps);
            continue;
        }
        match (place(steps, name), edit) {
            (Some((list, at)), Value::Null) => {
                list.remove(at);
            }
            (Some(_), Value::Object(new)) if place_of(new) == Some(("replace", name)) => {
                insert(steps, name, new, &path)?;
            }
            (Some(_), Value::Object(new)) if is_new(new) => {
                return Err(Fault::SameName(name.clone()).at(&path));
            }
            (Some((list, at)), Value::Object(_)) => lay(&mut list[at], edit, &path)?,
            (None, Value::Object(_)) if room == 0 => {
                let found = format!("more than {MAX_STEPS} steps");
                let expected = "a list of fewer".into();
                return Err(Fault::Range { found, expected }.at(&path));
            }
            (None, Value::Object(new)) => {
                insert(steps, name, new, &path)?;
                room -= 1;
            }
            (_, other) => {
                let expected = "an object with what changes in this step, or null to delete it";
                return Err(Fault::WrongType {
                    found: Kind::of(other),
                    expected,
                }
                .at(&path));
            }
        }
    }
    Ok(())
}

/// How many more steps a list may have.
fn room_in(steps: &mut [Value]) -> usize {
    let mut names = Vec::new();
    collect_names(steps, &mut names);
    MAX_STEPS.saturating_sub(names.len())
}

/// Whether an edit adds a step, rather than changing one.
fn is_new(edit: &Map<String, Value>) -> bool {
    items::PLACES
        .iter()
        .any(|key| edit.get(*key).is_some_and(Value::is_string))
}

/// Adds a step beside the one that its `before` or `after` names, or in the place of the one that `replace` names.
fn insert(
    steps: &mut Vec<Value>,
    name: &str,
    new: &Map<String, Value>,
    path: &str,
) -> Result<(), Located> {
    let mut names = Vec::new();
    collect_names(steps, &mut names);
    let missing = |name: &str| {
        let nearest = nearest(name, names.iter().map(String::as_str));
        Fault::NoSuchStep {
            name: name.into(),
            nearest,
        }
        .at(path)
    };
    let (key, anchor) = place_of(new).ok_or_else(|| missing(name))?;
    let mut step = new.clone();
    step.shift_remove(key);
    step.entry("name").or_insert_with(|| name.into());
    let (list, at) = place(steps, anchor).ok_or_else(|| missing(anchor))?;
    match key {
        "before" => list.insert(at, step.into()),
        "after" => list.insert(at + 1, step.into()),
        "replace" => list[at] = step.into(),
        _ => {
            let expected = "`before`, `after` or `replace` for a step; `beside` is for a branch";
            let found = Kind::of(&Value::Object(step));
            return Err(Fault::WrongType { found, expected }.at(path));
        }
    }
    Ok(())
}

/// The list that holds the step `name`, and where in it.
fn place<'v>(list: &'v mut Vec<Value>, name: &str) -> Option<(&'v mut Vec<Value>, usize)> {
    if let Some(at) = list.iter().position(|step| step_name(step) == Some(name)) {
        return Some((list, at));
    }
    list.iter_mut()
        .flat_map(branches)
        .find_map(|branch| place(branch, name))
}

/// Lists of steps directly inside an entry: of an item its branches, of `parallel` each of its lists.
fn branches(entry: &mut Value) -> Vec<&mut Vec<Value>> {
    match entry {
        Value::Array(list) => vec![list],
        Value::Object(item) => item
            .iter_mut()
            .filter(|(k, _)| BRANCHES.contains(&k.as_str()))
            .filter_map(|(_, v)| v.as_array_mut())
            .collect(),
        _ => Vec::new(),
    }
}

fn collect_names(list: &mut [Value], names: &mut Vec<String>) {
    for entry in list {
        names.extend(step_name(entry).map(String::from));
        for branch in branches(entry) {
            collect_names(branch, names);
        }
    }
}

//! Edits of items and branches: what an extension adds to a layer kind, replaces or removes as a whole.
//!
//! An edit names a step by `before`, `after`, `replace` or `beside`, and means the item or the branch that holds it:
//!
//! ```text
//! "moe_block": { "after": "mlp", "residual": [steps] }      a new item after the one that holds `mlp`
//! "blocks": { "replace": "mlp", "parallel": [[…], […]] }    another item in its place
//! "no_mlp": { "replace": "mlp", "item": null }              none
//! "side": { "beside": "mlp", "branch": [steps] }            a branch beside the one that holds `mlp`
//! "other": { "replace": "mlp", "branch": [steps] }          another branch in its place, or none (null)
//! ```

use serde_json::{Map, Value, json};

use super::error::{Fault, Kind, Located};
use super::form::BRANCHES;
use super::keys::step_name;
use super::near::nearest;

/// Keys of an edit that name a step.
pub(super) const PLACES: [&str; 4] = ["before", "after", "replace", "beside"];
/// Keys of an edit that hold an item or a branch.
pub(super) const WHOLES: [&str; 5] = ["residual", "parallel", "plain", "branch", "item"];

/// The place that an edit names, and the step there; none where it names no place or several.
pub(super) fn place_of(edit: &Map<String, Value>) -> Option<(&'static str, &str)> {
    let named = PLACES.map(|key| Some((key, edit.get(key)?.as_str()?)));
    let mut named = named.into_iter().flatten();
    named.next().filter(|_| named.next().is_none())
}

/// Whether an edit is of an item or a branch, rather than of a step.
pub(super) fn is_of_item(edit: &Map<String, Value>) -> bool {
    place_of(edit).is_some() && WHOLES.iter().any(|key| edit.contains_key(*key))
}

/// Applies an edit of an item or a branch to a list of items.
pub(super) fn edit_item(
    items: &mut Vec<Value>,
    edit: &Map<String, Value>,
    path: &str,
) -> Result<(), Located> {
    let Some((place, step)) = place_of(edit) else {
        return Err(wrong(&Value::Object(edit.clone()), EXPECTED, path));
    };
    let at = items.iter().position(|item| holds(item, step));
    let at = at.ok_or_else(|| missing(items, step).at(path))?;
    if step_name(&items[at]).is_some() {
        let expected = "a layer's list of items: there are no items and branches here";
        return Err(wrong(&items[at], expected, path));
    }
    let mut item = edit.clone();
    item.shift_remove(place);
    if let Some(branch) = item.get("branch") {
        return edit_branch(&mut items[at], (place, step), branch, path);
    }
    match (place, item.get("item")) {
        ("replace", Some(Value::Null)) => drop(items.remove(at)),
        (_, Some(other)) => return Err(wrong(other, "null, and `replace`", path)),
        ("replace", None) => items[at] = item.into(),
        ("before", None) => items.insert(at, item.into()),
        ("after", None) => items.insert(at + 1, item.into()),
        (_, None) => {
            let expected = "`before`, `after` or `replace` for an item; `beside` is for a branch";
            return Err(wrong(&Value::Object(item), expected, path));
        }
    }
    Ok(())
}

const EXPECTED: &str = "one of `before`, `after`, `replace` and `beside`, with the name of a step";

/// Adds a branch to an item, or puts another in the place of one.
fn edit_branch(
    item: &mut Value,
    (place, step): (&str, &str),
    branch: &Value,
    path: &str,
) -> Result<(), Located> {
    if !matches!(branch, Value::Array(_) | Value::Null) {
        return Err(wrong(branch, "a list of steps, or null", path));
    }
    let whole = ["residual", "plain"].map(|key| (key, item[key].clone()));
    let held = whole
        .into_iter()
        .find(|(_, list)| list.is_array() && holds(list, step));
    match (place, held) {
        ("replace", Some((key, _))) => item[key] = or_empty(branch),
        ("beside", Some(("residual", list))) => *item = json!({ "parallel": [list, branch] }),
        (_, Some((key, list))) => {
            let expected = match key {
                "plain" => "`replace`: steps without a residual have no branch beside them",
                _ => "`replace` or `beside` for a branch",
            };
            return Err(wrong(&list, expected, path));
        }
        (_, None) => return edit_parallel(item, (place, step), branch, path),
    }
    Ok(())
}

fn edit_parallel(
    item: &mut Value,
    (place, step): (&str, &str),
    branch: &Value,
    path: &str,
) -> Result<(), Located> {
    let found = item.get_mut("parallel").and_then(Value::as_array_mut);
    let found = found.and_then(|list| Some((list.iter().position(|b| holds(b, step))?, list)));
    let Some((at, list)) = found else {
        let expected = "the name of a step in a branch, not of one before all of them";
        return Err(wrong(&Value::from(step), expected, path));
    };
    match (place, branch) {
        ("replace", Value::Null) => drop(list.remove(at)),
        ("replace", _) => list[at] = branch.clone(),
        ("beside", Value::Array(_)) => list.insert(at + 1, branch.clone()),
        _ => {
            return Err(wrong(
                branch,
                "a list of steps and `replace` or `beside`",
                path,
            ));
        }
    }
    Ok(())
}

fn or_empty(branch: &Value) -> Value {
    match branch {
        Value::Null => json!([]),
        list => list.clone(),
    }
}

/// Whether an entry of a list is the step, or an item or a branch that holds it.
fn holds(entry: &Value, step: &str) -> bool {
    if step_name(entry) == Some(step) {
        return true;
    }
    match entry {
        Value::Array(list) => list.iter().any(|e| holds(e, step)),
        Value::Object(item) => BRANCHES
            .iter()
            .filter_map(|key| item.get(*key)?.as_array())
            .flatten()
            .any(|e| holds(e, step)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn missing(items: &[Value], name: &str) -> Fault {
    let mut names = Vec::new();
    items.iter().for_each(|item| collect(item, &mut names));
    Fault::NoSuchStep {
        name: name.into(),
        nearest: nearest(name, names),
    }
}

fn collect<'v>(entry: &'v Value, names: &mut Vec<&'v str>) {
    names.extend(step_name(entry));
    match entry {
        Value::Array(list) => list.iter().for_each(|e| collect(e, names)),
        Value::Object(item) => BRANCHES
            .iter()
            .filter_map(|key| item.get(*key))
            .for_each(|list| collect(list, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn wrong(found: &Value, expected: &'static str, path: &str) -> Located {
    let found = Kind::of(found);
    Fault::WrongType { found, expected }.at(path)
}

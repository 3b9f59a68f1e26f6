//! `extends`: a child's JSON laid over its parent's.
//!
//! Objects merge key by key, null deletes a key, anything else replaces. A list of steps can be replaced as a whole or,
//! by an object, edited: each key names a step of the parent, to merge with, to delete (null), or to insert (with
//! `before` or `after`). A layer kind can be `like` another one of the same spec: `{"like": "dense", …}` is that kind's list
//! of steps, edited the same way. What describes one file only (`about`, `match`, `presets`) is not inherited.

use serde_json::{Map, Value};

use super::error::{Fault, Kind, Located};
use super::near::nearest;
use super::steps::step_name;

/// Keys that stay with their file.
const OWN: [&str; 5] = ["about", "match", "presets", "extends", "$schema"];
/// Keys of an item of a layer that hold steps.
const BRANCHES: [&str; 4] = ["residual", "before", "parallel", "plain"];

/// Lays `child` over `parent`.
pub(super) fn merge(parent: &Value, child: &Value) -> Result<Value, Located> {
    let mut merged = parent.clone();
    if let Some(map) = merged.as_object_mut() {
        map.retain(|key, _| !OWN.contains(&key.as_str()));
    }
    lay(&mut merged, child, "")?;
    Ok(merged)
}

/// Writes out layer kinds that are like others.
pub(super) fn write_out_kinds(spec: &mut Value) -> Result<(), Located> {
    let Some(kinds) = spec.get_mut("layers").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let given = kinds.clone();
    for (name, kind) in kinds.iter_mut() {
        let Some(like) = kind.get("like") else {
            continue;
        };
        let path = format!("layers.{name}");
        let list = like.as_str().and_then(|l| given.get(l));
        let Some(Value::Array(steps)) = list else {
            let names = given
                .iter()
                .filter(|k| k.1.is_array())
                .map(|k| k.0.as_str());
            let like = like.as_str().map_or_else(|| like.to_string(), String::from);
            let known: Vec<&str> = names.collect();
            let fault =
                super::read::unknown("layer kind with a list of steps", &like, known.into_iter());
            return Err(fault.at(&format!("{path}.like")));
        };
        let (mut steps, mut edits) = (steps.clone(), kind.as_object().cloned().unwrap_or_default());
        edits.shift_remove("like");
        edit_steps(&mut steps, &edits, &path)?;
        *kind = Value::Array(steps);
    }
    Ok(())
}

fn lay(base: &mut Value, over: &Value, path: &str) -> Result<(), Located> {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => lay_object(base, over, path),
        (Value::Array(steps), Value::Object(edits)) if is_step_list(path) => {
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
    for (key, value) in over {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        if value.is_null() {
            base.shift_remove(key);
        } else if let Some(old) = base.get_mut(key) {
            lay(old, value, &path)?;
        } else {
            base.insert(key.clone(), value.clone());
        }
    }
    Ok(())
}

fn is_step_list(path: &str) -> bool {
    let mut parts = path.split('.');
    matches!(
        (parts.next(), parts.next(), parts.next()),
        (Some("embed" | "head"), None, None) | (Some("layers"), Some(_), None)
    )
}

fn edit_steps(
    steps: &mut Vec<Value>,
    edits: &Map<String, Value>,
    path: &str,
) -> Result<(), Located> {
    for (name, edit) in edits {
        let path = format!("{path}.{name}");
        match (place(steps, name), edit) {
            (Some((list, at)), Value::Null) => {
                list.remove(at);
            }
            (Some((list, at)), Value::Object(_)) => lay(&mut list[at], edit, &path)?,
            (None, Value::Object(new)) => insert(steps, name, new, &path)?,
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

/// Adds a step beside the one that its `before` or `after` names.
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
    let mut step = new.clone();
    let (before, after) = (step.shift_remove("before"), step.shift_remove("after"));
    let (anchor, offset) = match (&before, &after) {
        (Some(Value::String(anchor)), None) => (anchor, 0),
        (None, Some(Value::String(anchor))) => (anchor, 1),
        _ => return Err(missing(name)),
    };
    step.entry("name").or_insert_with(|| name.into());
    let (list, at) = place(steps, anchor).ok_or_else(|| missing(anchor))?;
    list.insert(at + offset, Value::Object(step));
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

/// How many parts of a bound spec's JSON path stand in `doc`, a file before merging.
pub(super) fn depth_of(doc: &Value, path: &str) -> usize {
    let mut here = vec![doc];
    let parts = path.split(['.', '[', ']']).filter(|p| !p.is_empty());
    let mut depth = 0;
    for part in parts {
        here = here.into_iter().flat_map(|v| inside(v, part)).collect();
        if here.is_empty() {
            break;
        }
        depth += 1;
    }
    depth
}

/// Values that `part` of a path can mean inside `value`: a key, an index, or a step's name anywhere in a list of steps.
fn inside<'v>(value: &'v Value, part: &str) -> Vec<&'v Value> {
    match value {
        Value::Object(map) => map.get(part).into_iter().collect(),
        Value::Array(list) => match part.parse::<usize>() {
            Ok(i) => list.get(i).into_iter().collect(),
            Err(_) => list
                .iter()
                .flat_map(|entry| steps_named(entry, part))
                .collect(),
        },
        _ => Vec::new(),
    }
}

fn steps_named<'v>(entry: &'v Value, name: &str) -> Vec<&'v Value> {
    if step_name(entry) == Some(name) {
        return vec![entry];
    }
    match entry {
        Value::Array(list) => list.iter().flat_map(|e| steps_named(e, name)).collect(),
        Value::Object(item) => {
            let lists = item.iter().filter(|(k, _)| BRANCHES.contains(&k.as_str()));
            lists.flat_map(|(_, v)| steps_named(v, name)).collect()
        }
        _ => Vec::new(),
    }
}

//! JSON documents changed by choices.

use serde_json::{Map, Value, json};

use super::Choices;

/// Largest number that a choice puts into a document, but for a few that are far too large.
const MAX_NUMBER: usize = 80;

/// Changes `doc` in one place; `words` are strings to put there, `donor` a document to take pieces from.
pub(crate) fn change(doc: &mut Value, donor: &Value, words: &[String], choices: &mut Choices<'_>) {
    let all = places(doc);
    // The document itself stays what it is.
    let Some(all) = all.get(1..).filter(|all| !all.is_empty()) else {
        return;
    };
    let at = all[choices.below(all.len())].clone();
    match choices.below(9) {
        0 => put(doc, &at, odd_value(choices)),
        1 => put(doc, &at, json!(choices.below(MAX_NUMBER))),
        2 if !words.is_empty() => put(doc, &at, words[choices.below(words.len())].as_str().into()),
        3 => remove(doc, &at),
        4 => {
            let other = all[choices.below(all.len())].clone();
            swap(doc, &at, &other);
        }
        5 => {
            let value = doc.pointer(&at).cloned().unwrap_or_default();
            let to = all[choices.below(all.len())].clone();
            put_unless_inside(doc, &to, value);
        }
        6 => move_element(doc, choices),
        7 => rename(doc, &at, words, choices),
        _ => {
            let from = places(donor);
            let from = &from[choices.below(from.len())];
            let value = donor.pointer(from).cloned().unwrap_or_default();
            // Where the donor has it, if this document has such a place.
            let to = if choices.flag() { from.clone() } else { at };
            put_unless_inside(doc, &to, value);
        }
    }
}

/// Pointers to every value of a document, its own first.
pub(crate) fn places(value: &Value) -> Vec<String> {
    let mut out = vec![];
    add_places(value, "", &mut out);
    out
}

fn add_places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_string());
    match value {
        Value::Object(map) => {
            for (k, v) in map {
                let key = k.replace('~', "~0").replace('/', "~1");
                add_places(v, &format!("{at}/{key}"), out);
            }
        }
        Value::Array(list) => {
            for (i, v) in list.iter().enumerate() {
                add_places(v, &format!("{at}/{i}"), out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// All strings of a document and all keys, each once.
pub(crate) fn words(doc: &Value) -> Vec<String> {
    let mut out = vec![];
    for at in places(doc) {
        match doc.pointer(&at) {
            Some(Value::String(text)) => out.push(text.clone()),
            Some(Value::Object(map)) => out.extend(map.keys().cloned()),
            _ => {}
        }
    }
    out.sort();
    out.dedup();
    out
}

fn odd_value(choices: &mut Choices<'_>) -> Value {
    match choices.below(16) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(false),
        3 => json!(0),
        4 => json!(1),
        5 => json!(-1),
        6 => json!(0.5),
        7 => json!(1u64 << 24),
        8 => json!(u64::MAX),
        9 => json!(1e300),
        10 => json!(""),
        11 => json!("layer"),
        12 => json!([]),
        13 => json!({}),
        14 => json!([1, 2]),
        _ => json!("hidden"),
    }
}

fn put(doc: &mut Value, at: &str, value: Value) {
    if let Some(place) = doc.pointer_mut(at) {
        *place = value;
    }
}

/// Puts a value somewhere, or into the list or object there.
fn put_unless_inside(doc: &mut Value, at: &str, value: Value) {
    match doc.pointer_mut(at) {
        Some(Value::Array(list)) if list.len() < 64 => list.push(value),
        Some(Value::Object(map)) if value.is_object() && map.len() < 64 => {
            let more: Map<String, Value> = value.as_object().cloned().unwrap_or_default();
            map.extend(more);
        }
        Some(place) => *place = value,
        None => {}
    }
}

fn split(at: &str) -> Option<(&str, String)> {
    let (parent, key) = at.rsplit_once('/')?;
    Some((parent, key.replace("~1", "/").replace("~0", "~")))
}

fn remove(doc: &mut Value, at: &str) {
    let Some((parent, key)) = split(at) else {
        return;
    };
    match doc.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.shift_remove(&key)),
        Some(Value::Array(list)) => {
            if let Some(i) = key.parse::<usize>().ok().filter(|i| *i < list.len()) {
                list.remove(i);
            }
        }
        _ => {}
    }
}

fn swap(doc: &mut Value, a: &str, b: &str) {
    // A place inside of the other would end up inside itself.
    if a.starts_with(b) || b.starts_with(a) {
        return;
    }
    let (Some(x), Some(y)) = (doc.pointer(a).cloned(), doc.pointer(b).cloned()) else {
        return;
    };
    put(doc, a, y);
    put(doc, b, x);
}

/// Moves, or copies, an element of a list (a step, mostly) to a place in another.
fn move_element(doc: &mut Value, choices: &mut Choices<'_>) {
    let is_list = |at: &String| doc.pointer(at).is_some_and(Value::is_array);
    let lists: Vec<String> = places(doc).into_iter().filter(is_list).collect();
    if lists.is_empty() {
        return;
    }
    let from = &lists[choices.below(lists.len())];
    let to = &lists[choices.below(lists.len())];
    let stays = choices.flag();
    let Some(Value::Array(list)) = doc.pointer_mut(from) else {
        return;
    };
    if list.is_empty() {
        return;
    }
    let i = choices.below(list.len());
    let element = if stays {
        list[i].clone()
    } else {
        list.remove(i)
    };
    if let Some(Value::Array(list)) = doc.pointer_mut(to)
        && list.len() < 64
    {
        let i = choices.below(list.len() + 1);
        list.insert(i, element);
    }
}

/// Gives a key another name.
fn rename(doc: &mut Value, at: &str, words: &[String], choices: &mut Choices<'_>) {
    let Some((parent, key)) = split(at) else {
        return;
    };
    if words.is_empty() {
        return;
    }
    let name = words[choices.below(words.len())].clone();
    if let Some(Value::Object(map)) = doc.pointer_mut(parent)
        && let Some(value) = map.shift_remove(&key)
    {
        map.insert(name, value);
    }
}

//! Which of several files a path of a merged spec comes from.

use serde_json::Value;

use super::form::BRANCHES;
use super::keys::step_name;

/// How much of a bound spec's JSON path stands in `doc`, a file before merging: bytes of the path, from its beginning.
pub(super) fn depth_of(doc: &Value, path: &str) -> usize {
    let rest = path.trim_start_matches('.');
    let found = match doc {
        Value::Object(map) => {
            let keys = map.iter();
            // Keys may have dots themselves.
            keys.filter_map(|(key, v)| Some((v, after(rest, key)?)))
                .collect()
        }
        Value::Array(list) => elements(list, rest),
        _ => Vec::new(),
    };
    let deep = |(value, left): (&Value, &str)| path.len() - left.len() + depth_of(value, left);
    found.into_iter().map(deep).max().unwrap_or(0)
}

/// What follows the key in a path that begins with it.
fn after<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(key)?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

/// Elements that the beginning of a path can mean inside a list: the one of an index, or steps of a name, anywhere in a list
/// of steps; each with the rest of the path.
fn elements<'v, 'p>(list: &'v [Value], path: &'p str) -> Vec<(&'v Value, &'p str)> {
    if let Some((index, rest)) = path.strip_prefix('[').and_then(|p| p.split_once(']')) {
        let element = index.parse().ok().and_then(|i: usize| list.get(i));
        return element.into_iter().map(|v| (v, rest)).collect();
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (name, rest) = path.split_at(end);
    let steps = list.iter().flat_map(|entry| steps_named(entry, name));
    steps.map(|v| (v, rest)).collect()
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

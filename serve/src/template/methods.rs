//! Methods of values: those of Python's dict and list, and of `loop`. Those that would change a value are refused.

use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Given;
use super::error::{Fault, Outcome};
use super::fuel::Fuel;
use super::operate;
use super::repeat::Loop;
use super::strings;
use super::value::{Dict, List, ListKind, Value};

const OF_DICTS: [&str; 11] = [
    "clear",
    "copy",
    "fromkeys",
    "get",
    "items",
    "keys",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "values",
];
const OF_LISTS: [&str; 11] = [
    "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse",
    "sort",
];
const OF_LOOPS: [&str; 2] = ["cycle", "changed"];

/// Whether values of this type have a method of this name.
pub(super) fn exists(of: &Value, name: &str) -> bool {
    match of {
        Value::Text(_) => strings::METHODS.contains(&name),
        Value::Dict(_) => OF_DICTS.contains(&name),
        Value::List(list) => match list.kind {
            ListKind::List => OF_LISTS.contains(&name),
            ListKind::Tuple => matches!(name, "count" | "index"),
            ListKind::Iterator => false,
        },
        Value::Loop(_) => OF_LOOPS.contains(&name),
        Value::Undefined(_)
        | Value::None
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Namespace(_)
        | Value::Macro(_)
        | Value::Global(_)
        | Value::Method(_) => false,
    }
}

/// Calls a method that exists.
pub(super) fn call(of: &Value, name: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    match of {
        Value::Text(text) => strings::call(text, name, given, fuel),
        Value::Dict(dict) => of_dict(of, dict, name, given, fuel),
        Value::List(list) => of_list(of, list, name, given, fuel),
        other => {
            let of = other.type_name();
            Err(Fault::wrong(format!(
                "a value of type {of} has no method {name}"
            )))
        }
    }
}

fn of_dict(of: &Value, dict: &Dict, name: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    let entries = &dict.entries;
    match name {
        "get" => {
            let [key, default] = given.bind("get", ["key", "default"])?;
            let key = key.ok_or_else(|| Fault::wrong("get: a key is not given"))?;
            let found = operate::look_up(entries, &key, fuel)?.cloned();
            Ok(found.or(default).unwrap_or(Value::None))
        }
        "items" => {
            given.none("items")?;
            items(dict, fuel)
        }
        "keys" => {
            given.none("keys")?;
            fuel.values(entries.len())?;
            Value::list(
                ListKind::List,
                entries.iter().map(|e| e.0.clone()).collect(),
            )
        }
        "values" => {
            given.none("values")?;
            fuel.values(entries.len())?;
            Value::list(
                ListKind::List,
                entries.iter().map(|e| e.1.clone()).collect(),
            )
        }
        "copy" => given.none("copy").map(|()| of.clone()),
        other => Err(unchanging("dict", other)),
    }
}

/// Pairs of keys and values.
pub(super) fn items(dict: &Dict, fuel: &Fuel) -> Outcome<Value> {
    fuel.values(3 * dict.entries.len())?;
    let pair = |(key, value): &(Value, Value)| {
        Value::list(ListKind::Tuple, vec![key.clone(), value.clone()])
    };
    let pairs: Outcome<Vec<Value>> = dict.entries.iter().map(pair).collect();
    Value::list(ListKind::List, pairs?)
}

fn of_list(of: &Value, list: &List, name: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    match name {
        "copy" => given.none("copy").map(|()| of.clone()),
        "count" => {
            let wanted = given.one("count", "value")?;
            let mut count = 0;
            for item in &list.items {
                count += i128::from(operate::equal(item, &wanted, fuel)?);
            }
            Ok(Value::Int(count))
        }
        "index" => {
            let wanted = given.one("index", "value")?;
            for (at, item) in list.items.iter().enumerate() {
                if operate::equal(item, &wanted, fuel)? {
                    return Ok(Value::Int(at as i128));
                }
            }
            Err(Fault::wrong("index: the value is not in the list"))
        }
        other => Err(unchanging("list", other)),
    }
}

fn unchanging(of: &str, name: &str) -> Fault {
    Fault::wrong(format!(
        "{name} would change a {of}, which templates may not do; make a new one"
    ))
}

/// `loop.cycle` and `loop.changed`.
pub(super) fn of_loop(it: &Rc<Loop>, name: &Arc<str>, given: Given, fuel: &Fuel) -> Outcome<Value> {
    let values = given.positional;
    match &**name {
        "cycle" => {
            let at = it.index.get() % values.len().max(1);
            let nothing = || Fault::wrong("loop.cycle: no values are given");
            values.get(at).cloned().ok_or_else(nothing)
        }
        "changed" => {
            let before = it.last.take();
            let mut changed = before.as_ref().is_none_or(|b| b.len() != values.len());
            for (old, new) in before.iter().flatten().zip(&values) {
                changed |= !operate::equal(old, new, fuel)?;
            }
            it.last.replace(Some(values));
            Ok(Value::Bool(changed))
        }
        other => Err(Fault::wrong(format!("loop has no method {other}"))),
    }
}

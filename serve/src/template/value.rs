//! Values of expressions, as Python has them. Lists and dicts never change, so that they are no deeper than what they were made of allows;
//! a namespace changes, and so holds no other one: no value ever contains itself.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use serde_json::Value as Json;

use super::ast::MacroDef;
use super::error::{Fault, Limit, Outcome};
use super::frame::Frame;
use super::fuel::{Fuel, MAX_NESTING};
use super::repeat::Loop;

/// Fields of a namespace, by name.
pub(super) type Fields = Vec<(Arc<str>, Value)>;

/// A value while a template is rendered.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// What is not there, and its name.
    Undefined(Arc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Arc<str>),
    List(Rc<List>),
    Dict(Rc<Dict>),
    Namespace(Rc<RefCell<Fields>>),
    Macro(Rc<Macro>),
    Loop(Rc<Loop>),
    /// A function that every template has.
    Global(Global),
    /// A method that has not been called.
    Method(Rc<(Value, Arc<str>)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    Range,
    Dict,
    Namespace,
    Raise,
    Now,
}

/// Items in order.
#[derive(Debug)]
pub(super) struct List {
    pub(super) items: Vec<Value>,
    pub(super) kind: ListKind,
    made_of: MadeOf,
}

/// Which of Python's sequences a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind {
    List,
    Tuple,
    /// What a filter gives one by one: true even when empty.
    Iterator,
}

/// Keys and values in order.
#[derive(Debug)]
pub(super) struct Dict {
    pub(super) entries: Vec<(Value, Value)>,
    made_of: MadeOf,
}

/// What is true of all values within one.
#[derive(Clone, Copy, Debug, Default)]
struct MadeOf {
    depth: usize,
    /// Whether a namespace is among them, or may be.
    can_change: bool,
}

/// A macro where it was defined.
#[derive(Debug)]
pub(super) struct Macro {
    pub(super) definition: Arc<MacroDef>,
    /// The variables around it.
    pub(super) around: Weak<Frame>,
}

impl MadeOf {
    fn of<'a>(values: impl Iterator<Item = &'a Value>) -> Outcome<MadeOf> {
        let mut all = MadeOf::default();
        for value in values {
            let one = value.made_of();
            all.depth = all.depth.max(one.depth);
            all.can_change |= one.can_change;
        }
        all.depth += 1;
        match all.depth <= MAX_NESTING {
            true => Ok(all),
            false => Err(Fault::limit(Limit::Nesting(MAX_NESTING))),
        }
    }
}

impl Value {
    pub(super) fn text(text: impl Into<Arc<str>>) -> Value {
        Value::Text(text.into())
    }

    pub(super) fn undefined(name: &str) -> Value {
        Value::Undefined(name.into())
    }

    /// A list of what has been paid for.
    pub(super) fn list(kind: ListKind, items: Vec<Value>) -> Outcome<Value> {
        let made_of = MadeOf::of(items.iter())?;
        Ok(Value::List(Rc::new(List {
            items,
            kind,
            made_of,
        })))
    }

    /// A dict of entries with different keys, which have been paid for.
    pub(super) fn dict(entries: Vec<(Value, Value)>) -> Outcome<Value> {
        let made_of = MadeOf::of(entries.iter().flat_map(|(key, value)| [key, value]))?;
        Ok(Value::Dict(Rc::new(Dict { entries, made_of })))
    }

    fn made_of(&self) -> MadeOf {
        match self {
            Value::List(list) => list.made_of,
            Value::Dict(dict) => dict.made_of,
            Value::Namespace(_) | Value::Loop(_) => MadeOf {
                depth: 1,
                can_change: true,
            },
            Value::Method(method) => method.0.made_of(),
            Value::Undefined(_)
            | Value::None
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Macro(_)
            | Value::Global(_) => MadeOf::default(),
        }
    }

    /// Whether a namespace may not hold this: a namespace, or what may hold one.
    pub(super) fn can_change(&self) -> bool {
        self.made_of().can_change
    }

    /// The value of JSON, all of it paid for.
    pub(super) fn from_json(json: &Json, fuel: &Fuel) -> Outcome<Value> {
        Ok(match json {
            Json::Null => Value::None,
            Json::Bool(is) => Value::Bool(*is),
            Json::Number(number) => {
                let signed = number.as_i64().map(i128::from);
                match signed.or_else(|| number.as_u64().map(i128::from)) {
                    Some(int) => Value::Int(int),
                    None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
                }
            }
            Json::String(text) => {
                fuel.bytes(text.len())?;
                Value::text(text.as_str())
            }
            Json::Array(items) => {
                fuel.values(items.len())?;
                let convert = |item| fuel.deeper(|| Value::from_json(item, fuel));
                let items: Outcome<Vec<Value>> = items.iter().map(convert).collect();
                Value::list(ListKind::List, items?)?
            }
            Json::Object(entries) => {
                fuel.values(2 * entries.len())?;
                let convert = |(key, value): (&String, &Json)| {
                    fuel.look(key.len())?;
                    let value = fuel.deeper(|| Value::from_json(value, fuel))?;
                    Ok((Value::text(key.as_str()), value))
                };
                let entries: Outcome<Vec<(Value, Value)>> = entries.iter().map(convert).collect();
                Value::dict(entries?)?
            }
        })
    }

    /// What Python calls values of this type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Text(_) => "str",
            Value::List(list) => match list.kind {
                ListKind::List => "list",
                ListKind::Tuple => "tuple",
                ListKind::Iterator => "generator",
            },
            Value::Dict(_) => "dict",
            Value::Namespace(_) => "namespace",
            Value::Macro(_) => "macro",
            Value::Loop(_) => "loop",
            Value::Global(_) => "function",
            Value::Method(_) => "method",
        }
    }

    /// What is not there and cannot be used.
    pub(super) fn defined(&self) -> Outcome<&Value> {
        match self {
            Value::Undefined(name) => Err(Fault::wrong(format!("{name} is undefined"))),
            _there => Ok(self),
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(is) => *is,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(list) => list.kind == ListKind::Iterator || !list.items.is_empty(),
            Value::Dict(dict) => !dict.entries.is_empty(),
            Value::Loop(_) => true,
            Value::Namespace(_) | Value::Macro(_) | Value::Global(_) | Value::Method(_) => true,
        }
    }

    /// A whole number, which Python's truth values are as well.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Bool(is) => Some(i128::from(*is)),
            _other => None,
        }
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(number) => Some(*number),
            other => other.as_int().map(|number| number as f64),
        }
    }

    /// The items that a loop over this goes through, paid for.
    pub(super) fn items(&self, fuel: &Fuel) -> Outcome<Rc<List>> {
        let items = match self {
            Value::List(list) => {
                fuel.spend(1)?;
                return Ok(Rc::clone(list));
            }
            Value::Undefined(_) => Vec::new(),
            Value::Text(text) => {
                fuel.values(text.len())?;
                let mut buffer = [0; 4];
                text.chars()
                    .map(|c| Value::text(&*c.encode_utf8(&mut buffer)))
                    .collect()
            }
            Value::Dict(dict) => {
                fuel.values(dict.entries.len())?;
                dict.entries.iter().map(|(key, _)| key.clone()).collect()
            }
            other => {
                let what = format!("a value of type {} is not iterable", other.type_name());
                return Err(Fault::wrong(what));
            }
        };
        let made_of = MadeOf::of(items.iter())?;
        let kind = ListKind::List;
        Ok(Rc::new(List {
            items,
            kind,
            made_of,
        }))
    }
}

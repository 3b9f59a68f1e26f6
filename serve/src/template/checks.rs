//! Tests: what stands behind `is`.

use super::arguments::{Given, as_int};
use super::ast::Compare;
use super::error::{Fault, Outcome};
use super::fuel::Fuel;
use super::operate;
use super::print;
use super::renderer::Renderer;
use super::strings;
use super::value::{ListKind, Value};

impl Renderer<'_> {
    /// `value is name(given)`
    pub(super) fn test(&self, name: &str, value: &Value, given: Given) -> Outcome<bool> {
        let compare = match name {
            "eq" | "equalto" | "==" => Some(Compare::Equal),
            "ne" | "!=" => Some(Compare::NotEqual),
            "lt" | "lessthan" | "<" => Some(Compare::Less),
            "le" | "<=" => Some(Compare::LessOrEqual),
            "gt" | "greaterthan" | ">" => Some(Compare::Greater),
            "ge" | ">=" => Some(Compare::GreaterOrEqual),
            "in" => Some(Compare::In),
            _other => None,
        };
        if let Some(compare) = compare {
            let other = given.one(name, "other")?;
            return operate::compare(compare, value, &other, &self.fuel);
        }
        match name {
            "sameas" => is_same(value, &given.one(name, "other")?, &self.fuel),
            "divisibleby" => {
                let by = as_int(&given.one(name, "num")?, name)?;
                let rest = as_int(value, name)?.checked_rem_euclid(by);
                rest.map(|rest| rest == 0)
                    .ok_or_else(|| Fault::wrong("divisibleby: division by zero"))
            }
            name => {
                given.none(name)?;
                self.plain_test(name, value)
            }
        }
    }

    fn plain_test(&self, name: &str, value: &Value) -> Outcome<bool> {
        Ok(match name {
            "defined" => !matches!(value, Value::Undefined(_)),
            "undefined" => matches!(value, Value::Undefined(_)),
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "integer" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_)),
            "number" => value.as_float().is_some(),
            "string" => matches!(value, Value::Text(_)),
            "mapping" => matches!(value, Value::Dict(_)),
            "iterable" => {
                use Value::{Dict, List, Loop, Text, Undefined};
                matches!(value, Text(_) | List(_) | Dict(_) | Undefined(_) | Loop(_))
            }
            "sequence" => match value {
                Value::Text(_) | Value::Dict(_) | Value::Undefined(_) => true,
                Value::List(list) => list.kind != ListKind::Iterator,
                _other => false,
            },
            "callable" => {
                use Value::{Global, Loop, Macro, Method};
                matches!(value, Macro(_) | Global(_) | Method(_) | Loop(_))
            }
            "odd" => as_int(value, name)? % 2 != 0,
            "even" => as_int(value, name)? % 2 == 0,
            "lower" | "upper" => {
                let text = print::text(value, &self.fuel)?;
                self.fuel.bytes(2 * text.len())?;
                let class = match name {
                    "lower" => "islower",
                    _upper => "isupper",
                };
                strings::is_of(&text, class)
            }
            "escaped" => false,
            "filter" | "test" => {
                let what = format!("the test {name} is not supported in chat templates");
                return Err(Fault::wrong(what));
            }
            unknown => return Err(Fault::wrong(format!("unknown test {unknown:?}"))),
        })
    }
}

/// Whether two values are one.
fn is_same(a: &Value, b: &Value, fuel: &Fuel) -> Outcome<bool> {
    use std::rc::Rc;
    Ok(match (a, b) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => {
            fuel.bytes(a.len().min(b.len()))?;
            a == b
        }
        (Value::List(a), Value::List(b)) => Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
        _different => false,
    })
}

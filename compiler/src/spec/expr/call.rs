//! What functions give.

use std::borrow::Cow;

use serde_json::Value;

use super::super::error::{Fault, Kind, in_json};
use super::super::json::{self, equal};
use super::access::{element, get};
use super::arithmetic::Num;
use super::function::Function;

pub(super) fn call<'a>(f: Function, args: &[Cow<'a, Value>]) -> Result<Cow<'a, Value>, Fault> {
    let name = f.name();
    let number = |i: usize| Num::of(&args[i], name);
    let truth = |holds| Cow::Owned(Value::Bool(holds));
    let rounded = |x: f64| {
        if x.abs() < 9e15 {
            Ok(Num::Int(x as i64))
        } else {
            Err(Fault::Overflow(name))
        }
    };
    match f {
        Function::Min | Function::Max => {
            let (a, b) = (number(0)?, number(1)?);
            let first = if f == Function::Min {
                a.float() <= b.float()
            } else {
                a.float() >= b.float()
            };
            if first { a } else { b }
        }
        Function::Floor => rounded(number(0)?.float().floor())?,
        Function::Ceil => rounded(number(0)?.float().ceil())?,
        Function::Sqrt => Num::Float(number(0)?.float().sqrt()),
        Function::Log => Num::Float(number(0)?.float().ln()),
        Function::Element if !args[0].is_array() => return Ok(args[0].clone()),
        Function::Element => return element(args[0].clone(), &args[1]),
        Function::LastIndex => Num::Int(last_index(&args[0], &args[1], &args[2])?),
        Function::NormalQuantile => Num::Float(normal_quantile(number(0)?.float())?),
        Function::Has => return has(&args[0], &args[1]).map(truth),
        // A list that is not there contains nothing.
        Function::Contains if args[0].is_null() => return Ok(truth(false)),
        Function::Contains => return contains(&args[0], &args[1]).map(truth),
        Function::Len => Num::Int(len(&args[0])? as i64),
        Function::Get => return get(args[0].clone(), &args[1]),
        Function::Str => return text_of(&args[0]).map(|t| Cow::Owned(t.into())),
        Function::Concat => return concat(&args[0], &args[1]).map(Cow::Owned),
    }
    .value(name)
    .map(Cow::Owned)
}

fn contains(of: &Value, value: &Value) -> Result<bool, Fault> {
    let name = Function::Contains.name();
    let Value::String(text) = of else {
        return Ok(list(name, of)?.iter().any(|v| equal(v, value)));
    };
    let part = value.as_str().ok_or_else(|| Fault::Operand {
        op: name,
        found: Kind::of(value),
        expected: "a string, to look for in a string",
    })?;
    Ok(text.contains(part))
}

/// Elements of a list, or characters of a string.
fn len(of: &Value) -> Result<usize, Fault> {
    match of {
        Value::String(text) => Ok(text.chars().count()),
        other => Ok(list(Function::Len.name(), other)?.len()),
    }
}

/// A number, a flag or a string as text.
fn text_of(value: &Value) -> Result<String, Fault> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other => match (other, json::number(other)) {
            (Value::Number(n), _) => Ok(n.to_string()),
            (_, Some(number)) => Ok(number.to_string()),
            (_, None) => Err(Fault::Operand {
                op: Function::Str.name(),
                found: Kind::of(other),
                expected: "a number, a flag or a string",
            }),
        },
    }
}

/// Most elements, or bytes, of what `concat` gives.
const MAX_JOINED: usize = 1 << 12;

/// Two lists one after the other, or two strings.
fn concat(a: &Value, b: &Value) -> Result<Value, Fault> {
    let name = Function::Concat.name();
    let joined = match (a, b) {
        (Value::String(a), Value::String(b)) if a.len() + b.len() <= MAX_JOINED => {
            return Ok(format!("{a}{b}").into());
        }
        (Value::String(a), Value::String(b)) => a.len() + b.len(),
        (Value::Array(a), Value::Array(b)) if a.len() + b.len() <= MAX_JOINED => {
            // Lists inside could double with each `concat`.
            if let Some(inner) = a.iter().chain(b).find(|v| v.is_array() || v.is_object()) {
                return Err(Fault::Operand {
                    op: name,
                    found: Kind::of(inner),
                    expected: "lists of numbers, flags and strings",
                });
            }
            return Ok(a.iter().chain(b).cloned().collect::<Vec<_>>().into());
        }
        (Value::Array(a), Value::Array(b)) => a.len() + b.len(),
        (Value::Array(_) | Value::String(_), other) | (other, _) => {
            return Err(Fault::Operand {
                op: name,
                found: Kind::of(other),
                expected: "two lists or two strings",
            });
        }
    };
    Err(Fault::Range {
        found: format!("{joined} elements or bytes"),
        expected: format!("at most {MAX_JOINED}"),
    })
}

fn list<'v>(op: &'static str, value: &'v Value) -> Result<&'v Vec<Value>, Fault> {
    value.as_array().ok_or_else(|| Fault::Operand {
        op,
        found: Kind::of(value),
        expected: "a list",
    })
}

/// The last place before `end` where a list holds `value`; a fault that `??` catches where there is none.
fn last_index(of: &Value, value: &Value, end: &Value) -> Result<i64, Fault> {
    let name = Function::LastIndex.name();
    let end = end.as_u64().ok_or_else(|| Fault::Operand {
        op: name,
        found: Kind::of(end),
        expected: "a whole number",
    })?;
    let all = list(name, of)?;
    let first = &all[..all.len().min(end as usize)];
    let last = first.iter().rposition(|v| equal(v, value));
    last.map(|at| at as i64).ok_or_else(|| Fault::Range {
        found: in_json(of),
        expected: format!("{} among the first {end} of the list", Kind::of(value)),
    })
}

/// The number that a normally distributed one (mean 0, deviation 1) is below with probability `p`, found by bisection.
fn normal_quantile(p: f64) -> Result<f64, Fault> {
    if !(p > 0.0 && p < 1.0) {
        let expected = "a probability above 0 and below 1".into();
        return Err(Fault::Range {
            found: p.to_string(),
            expected,
        });
    }
    let below = |x: f64| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if below(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Whether an object has a key, be it null: a config that says null can mean something else than one that says nothing.
fn has(of: &Value, key: &Value) -> Result<bool, Fault> {
    let operand = |found: &Value, expected| Fault::Operand {
        op: Function::Has.name(),
        found: Kind::of(found),
        expected,
    };
    let map = of.as_object().ok_or_else(|| operand(of, "an object"))?;
    let key = key.as_str().ok_or_else(|| operand(key, "a string"))?;
    Ok(map.contains_key(key))
}

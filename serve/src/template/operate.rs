//! Operators on values: Python's arithmetic, comparisons and membership.

use std::cmp::Ordering;
use std::rc::Rc;

use super::ast::{Binary, Compare};
use super::error::{Fault, Outcome};
use super::fuel::{Fuel, Writer};
use super::percent;
use super::value::{ListKind, Value};

/// `left op right`
pub(super) fn binary(op: Binary, left: &Value, right: &Value, fuel: &Fuel) -> Outcome<Value> {
    let (left, right) = (left.defined()?, right.defined()?);
    match (op, left, right) {
        (Binary::Add, Value::Text(a), Value::Text(b)) => {
            fuel.bytes(a.len() + b.len())?;
            Ok(Value::text([&**a, &**b].concat()))
        }
        (Binary::Add, Value::List(a), Value::List(b)) if a.kind == b.kind => {
            fuel.values(a.items.len() + b.items.len())?;
            let items = a.items.iter().chain(&b.items).cloned().collect();
            Value::list(a.kind, items)
        }
        (Binary::Remainder, Value::Text(format), values) => percent::format(format, values, fuel),
        (Binary::Multiply, Value::Text(_) | Value::List(_), times) => times
            .as_int()
            .map_or_else(|| Err(mismatch(op, left, right)), |n| repeat(left, n, fuel)),
        (Binary::Multiply, times, Value::Text(_) | Value::List(_)) => times.as_int().map_or_else(
            || Err(mismatch(op, left, right)),
            |n| repeat(right, n, fuel),
        ),
        (_, left, right) => match (left.as_int(), right.as_int()) {
            (Some(a), Some(b)) => integers(op, a, b),
            _not_both => match (left.as_float(), right.as_float()) {
                (Some(a), Some(b)) => floats(op, a, b),
                _not_both => Err(mismatch(op, left, right)),
            },
        },
    }
}

fn mismatch(op: Binary, left: &Value, right: &Value) -> Fault {
    let op = match op {
        Binary::Add => "+",
        Binary::Subtract => "-",
        Binary::Multiply => "*",
        Binary::Divide => "/",
        Binary::FloorDivide => "//",
        Binary::Remainder => "%",
        Binary::Power => "**",
    };
    let (left, right) = (left.type_name(), right.type_name());
    Fault::wrong(format!(
        "unsupported operand types for {op}: {left} and {right}"
    ))
}

fn repeat(what: &Value, times: i128, fuel: &Fuel) -> Outcome<Value> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    match what {
        Value::Text(text) => {
            fuel.bytes(text.len().saturating_mul(times))?;
            Ok(Value::text(text.repeat(times)))
        }
        Value::List(list) => {
            fuel.values(list.items.len().saturating_mul(times))?;
            let mut items = Vec::new();
            if !list.items.is_empty() {
                (0..times).for_each(|_| items.extend_from_slice(&list.items));
            }
            Value::list(list.kind, items)
        }
        other => Err(Fault::wrong(format!(
            "unsupported operand types for *: {} and int",
            other.type_name()
        ))),
    }
}

fn integers(op: Binary, a: i128, b: i128) -> Outcome<Value> {
    let by_zero = || Fault::wrong("division by zero");
    let result = match op {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide if b == 0 => return Err(by_zero()),
        Binary::Divide => return Ok(Value::Float(a as f64 / b as f64)),
        Binary::FloorDivide | Binary::Remainder if b == 0 => return Err(by_zero()),
        // Rounded down, and a remainder of the divisor's sign.
        Binary::FloorDivide => a.checked_div(b).map(|quotient| {
            let is_above = a % b != 0 && ((a < 0) != (b < 0));
            quotient - i128::from(is_above)
        }),
        Binary::Remainder => a.checked_rem(b).map(|rest| {
            if rest != 0 && ((rest < 0) != (b < 0)) {
                rest + b
            } else {
                rest
            }
        }),
        Binary::Power if b < 0 => return floats(op, a as f64, b as f64),
        Binary::Power => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
    };
    result
        .map(Value::Int)
        .ok_or_else(|| Fault::wrong("a whole number of more than 127 bits"))
}

fn floats(op: Binary, a: f64, b: f64) -> Outcome<Value> {
    let divides = matches!(op, Binary::Divide | Binary::FloorDivide | Binary::Remainder);
    if divides && b == 0.0 {
        return Err(Fault::wrong("division by zero"));
    }
    Ok(Value::Float(match op {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        Binary::FloorDivide => (a / b).floor(),
        Binary::Remainder => a - (a / b).floor() * b,
        Binary::Power => a.powf(b),
    }))
}

/// `-value` or `+value`
pub(super) fn negate(value: &Value, is_negative: bool) -> Outcome<Value> {
    match (value.defined()?, value.as_int()) {
        (Value::Float(number), _) if is_negative => Ok(Value::Float(-number)),
        (Value::Float(number), _) => Ok(Value::Float(*number)),
        (_, Some(number)) if is_negative => number
            .checked_neg()
            .map(Value::Int)
            .ok_or_else(|| Fault::wrong("a whole number of more than 127 bits")),
        (_, Some(number)) => Ok(Value::Int(number)),
        (other, None) => Err(Fault::wrong(format!(
            "unsupported operand type for unary - or +: {}",
            other.type_name()
        ))),
    }
}

/// `left op right`, true or false
pub(super) fn compare(op: Compare, left: &Value, right: &Value, fuel: &Fuel) -> Outcome<bool> {
    Ok(match op {
        Compare::Equal => equal(left, right, fuel)?,
        Compare::NotEqual => !equal(left, right, fuel)?,
        Compare::In => contains(right, left, fuel)?,
        Compare::NotIn => !contains(right, left, fuel)?,
        Compare::Less => order(left, right, fuel)? == Some(Ordering::Less),
        Compare::Greater => order(left, right, fuel)? == Some(Ordering::Greater),
        Compare::LessOrEqual => order(left, right, fuel)?.is_some_and(Ordering::is_le),
        Compare::GreaterOrEqual => order(left, right, fuel)?.is_some_and(Ordering::is_ge),
    })
}

/// Whether two values are equal; all that is compared is paid for.
pub(super) fn equal(a: &Value, b: &Value, fuel: &Fuel) -> Outcome<bool> {
    fuel.spend(1)?;
    Ok(match (a, b) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Text(a), Value::Text(b)) => {
            fuel.bytes(a.len().min(b.len()))?;
            a == b
        }
        (Value::List(a), Value::List(b)) => {
            Rc::ptr_eq(a, b) || (a.kind == b.kind && equal_items(&a.items, &b.items, fuel)?)
        }
        (Value::Dict(a), Value::Dict(b)) => {
            Rc::ptr_eq(a, b)
                || (a.entries.len() == b.entries.len() && equal_entries(&a.entries, b, fuel)?)
        }
        (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
        (Value::Macro(a), Value::Macro(b)) => Rc::ptr_eq(a, b),
        (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
        (Value::Global(a), Value::Global(b)) => a == b,
        (a, b) => match (a.as_int(), b.as_int()) {
            (Some(a), Some(b)) => a == b,
            _not_both => a.as_float().is_some_and(|a| b.as_float() == Some(a)),
        },
    })
}

fn equal_items(a: &[Value], b: &[Value], fuel: &Fuel) -> Outcome<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b) {
        if !equal(a, b, fuel)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn equal_entries(a: &[(Value, Value)], b: &super::value::Dict, fuel: &Fuel) -> Outcome<bool> {
    for (key, value) in a {
        match look_up(&b.entries, key, fuel)? {
            Some(other) if equal(value, other, fuel)? => {}
            _differs => return Ok(false),
        }
    }
    Ok(true)
}

/// The value of a key.
pub(super) fn look_up<'d>(
    entries: &'d [(Value, Value)],
    key: &Value,
    fuel: &Fuel,
) -> Outcome<Option<&'d Value>> {
    fuel.spend(1 + entries.len() / 32)?;
    for (known, value) in entries {
        let is_it = match (known, key) {
            (Value::Text(a), Value::Text(b)) if a.len() == b.len() => {
                fuel.look(a.len())?;
                a == b
            }
            (Value::Text(_), _) | (_, Value::Text(_)) => false,
            (known, key) => equal(known, key, fuel)?,
        };
        if is_it {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Sets a key of entries that are being collected.
pub(super) fn put(
    entries: &mut Vec<(Value, Value)>,
    key: Value,
    value: Value,
    fuel: &Fuel,
) -> Outcome<()> {
    if matches!(&key, Value::List(list) if list.kind != ListKind::Tuple)
        || matches!(key, Value::Dict(_))
    {
        let what = format!("a {} cannot be the key of a dict", key.type_name());
        return Err(Fault::wrong(what));
    }
    fuel.spend(entries.len() / 32)?;
    for entry in entries.iter_mut() {
        if equal(&entry.0, &key, fuel)? {
            entry.1 = value;
            return Ok(());
        }
    }
    entries.push((key, value));
    Ok(())
}

/// Which of two values comes first; none where they are numbers of which one is not a number.
pub(super) fn order(a: &Value, b: &Value, fuel: &Fuel) -> Outcome<Option<Ordering>> {
    fuel.spend(1)?;
    let (a, b) = (a.defined()?, b.defined()?);
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => {
            fuel.bytes(a.len().min(b.len()))?;
            return Ok(Some(a.cmp(b)));
        }
        (Value::List(a), Value::List(b)) if a.kind == b.kind => {
            for (x, y) in a.items.iter().zip(&b.items) {
                if !equal(x, y, fuel)? {
                    return order(x, y, fuel);
                }
            }
            return Ok(Some(a.items.len().cmp(&b.items.len())));
        }
        _other => {}
    }
    match (a.as_int(), b.as_int()) {
        (Some(a), Some(b)) => Ok(Some(a.cmp(&b))),
        _not_both => match (a.as_float(), b.as_float()) {
            (Some(a), Some(b)) => Ok(a.partial_cmp(&b)),
            _not_both => Err(Fault::wrong(format!(
                "values of types {} and {} cannot be ordered",
                a.type_name(),
                b.type_name()
            ))),
        },
    }
}

/// What has been paid for, sorted by a key that keeps the order of what is equal. The library's sort may panic where an order
/// fails midway, or where some numbers are none.
pub(super) fn sorted<T>(
    mut items: Vec<T>,
    key: &impl Fn(&T) -> &Value,
    fuel: &Fuel,
) -> Outcome<Vec<T>> {
    let after = items.split_off(items.len() / 2);
    if items.is_empty() {
        return Ok(after);
    }
    let (mut items, after) = (sorted(items, key, fuel)?, sorted(after, key, fuel)?);
    let is_less = |a: &T, b: &T| Ok(order(key(a), key(b), fuel)? == Some(Ordering::Less));
    if let (Some(last), Some(first)) = (items.last(), after.first())
        && !is_less(first, last)?
    {
        items.extend(after);
        return Ok(items);
    }
    let mut merged = Vec::with_capacity(items.len() + after.len());
    let (mut left, mut right) = (items.into_iter().peekable(), after.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if is_less(b, a)? {
            &mut right
        } else {
            &mut left
        };
        merged.extend(next.next());
    }
    merged.extend(left.chain(right));
    Ok(merged)
}

/// `item in all`
pub(super) fn contains(all: &Value, item: &Value, fuel: &Fuel) -> Outcome<bool> {
    match all {
        Value::Text(all) => match item {
            Value::Text(part) => {
                fuel.bytes(all.len() + part.len())?;
                Ok(all.contains(&**part))
            }
            other => {
                let what = format!(
                    "`in` a str: expected a str on the left, found a value of type {}",
                    other.type_name()
                );
                Err(Fault::wrong(what))
            }
        },
        Value::Dict(dict) => Ok(look_up(&dict.entries, item, fuel)?.is_some()),
        Value::Undefined(_) => Ok(false),
        Value::List(list) => {
            for one in &list.items {
                if equal(one, item, fuel)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other => {
            let what = format!(
                "`in`: a value of type {} is not a container",
                other.type_name()
            );
            Err(Fault::wrong(what))
        }
    }
}

/// `of[index]`, none where there is nothing.
pub(super) fn item(of: &Value, index: &Value, fuel: &Fuel) -> Outcome<Option<Value>> {
    match of.defined()? {
        Value::Dict(dict) => Ok(look_up(&dict.entries, index, fuel)?.cloned()),
        Value::List(list) => {
            let at = index.as_int().and_then(|at| place(at, list.items.len()));
            Ok(at.map(|at| list.items[at].clone()))
        }
        Value::Text(text) => {
            fuel.bytes(text.len())?;
            let at = index.as_int();
            let at = at.and_then(|at| place(at, text.chars().count()));
            Ok(at
                .and_then(|at| text.chars().nth(at))
                .map(|c| Value::text(&*c.encode_utf8(&mut [0; 4]))))
        }
        _other => Ok(None),
    }
}

/// An index from the front, or from the back where it is negative.
fn place(at: i128, length: usize) -> Option<usize> {
    let at = if at < 0 { at + length as i128 } else { at };
    usize::try_from(at).ok().filter(|at| *at < length)
}

/// `of[from:to:step]`
pub(super) fn slice(of: &Value, bounds: [Option<i128>; 3], fuel: &Fuel) -> Outcome<Value> {
    match of.defined()? {
        Value::List(list) => {
            fuel.values(list.items.len())?;
            let places = places(bounds, list.items.len())?;
            let items = places.into_iter().map(|at| list.items[at].clone());
            let kind = match list.kind {
                ListKind::Tuple => ListKind::Tuple,
                ListKind::List | ListKind::Iterator => ListKind::List,
            };
            Value::list(kind, items.collect())
        }
        Value::Text(text) => {
            fuel.values(text.len() / 8)?;
            let chars: Vec<char> = text.chars().collect();
            let places = places(bounds, chars.len())?;
            let mut out = Writer::new(fuel);
            out.push(&places.into_iter().map(|at| chars[at]).collect::<String>())?;
            Ok(Value::text(out.finish()))
        }
        other => Err(Fault::wrong(format!(
            "a value of type {} cannot be sliced",
            other.type_name()
        ))),
    }
}

/// The indices of a slice.
fn places([from, to, step]: [Option<i128>; 3], length: usize) -> Outcome<Vec<usize>> {
    let (length, step) = (length as i128, step.unwrap_or(1));
    if step == 0 {
        return Err(Fault::wrong("a slice with a step of 0"));
    }
    let (lowest, highest) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let bound = |at: Option<i128>, usual: i128| match at {
        None => usual,
        Some(at) if at < 0 => at.saturating_add(length).max(lowest),
        Some(at) => at.min(highest),
    };
    let (first, last) = if step > 0 {
        (lowest, highest)
    } else {
        (highest, lowest)
    };
    let (mut at, end) = (bound(from, first), bound(to, last));
    let mut places = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        places.extend(usize::try_from(at));
        at = at.saturating_add(step);
    }
    Ok(places)
}

//! The expressions of specs: `head_dim ?? hidden_size / num_attention_heads`.
//!
//! Text goes in, a JSON value comes out. Names are looked up by the caller ([`Scope`]). Whole numbers stay whole: `/`
//! between them has to come out even. `a ?? b` is `b` where `a` is missing or null. There are no loops, no side effects
//! and no way to build lists, so that evaluation takes time in the length of the text.

mod parse;

use std::borrow::Cow;

use serde_json::{Number, Value};

use super::error::{Fault, Kind, Located};

/// The deepest nesting of an evaluation, parameters that use parameters included: what a thread's stack of 2 MB holds even in a
/// build without optimisation.
pub(super) const MAX_DEPTH: usize = 80;

/// Where names get their values.
pub(super) trait Scope<'a> {
    /// Value of a bare name; a [`Fault::NotInConfig`] or [`Fault::NullInConfig`] can be caught by `??`.
    fn lookup(&self, name: &str, depth: usize) -> Result<Cow<'a, Value>, Located>;
    /// Place of the expression, for messages.
    fn path(&self) -> &str;
}

/// Evaluates `text`; `depth` is how deep the caller is already.
pub(super) fn evaluate<'a>(
    text: &str,
    scope: &dyn Scope<'a>,
    depth: usize,
) -> Result<Cow<'a, Value>, Located> {
    let expr = parse::parse(text).map_err(|f| f.at(scope.path()))?;
    Evaluation { scope }.eval(&expr, depth)
}

/// A parsed expression.
#[derive(Debug)]
enum Expr {
    Literal(Value),
    Name(String),
    Field(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
    Negate(Box<Expr>),
    Not(Box<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    Comparison(Comparison, Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Default(Box<Expr>, Box<Expr>),
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
}

impl Arithmetic {
    fn symbol(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Sub => "-",
            Arithmetic::Mul => "*",
            Arithmetic::Div => "/",
            Arithmetic::FloorDiv => "//",
            Arithmetic::Rem => "%",
            Arithmetic::Pow => "**",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Min,
    Max,
    Floor,
    Ceil,
    Sqrt,
    Log,
    Len,
    Contains,
    Has,
    Element,
    LastIndex,
    NormalQuantile,
}

impl Function {
    const ALL: [(&'static str, Function, usize); 12] = [
        ("min", Function::Min, 2),
        ("max", Function::Max, 2),
        ("floor", Function::Floor, 1),
        ("ceil", Function::Ceil, 1),
        ("sqrt", Function::Sqrt, 1),
        ("log", Function::Log, 1),
        ("len", Function::Len, 1),
        ("contains", Function::Contains, 2),
        ("has", Function::Has, 2),
        ("element", Function::Element, 2),
        ("last_index", Function::LastIndex, 3),
        ("normal_quantile", Function::NormalQuantile, 1),
    ];

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, f, _)| *f == self)
            .map_or("", |(name, _, _)| name)
    }
}

/// A number as arithmetic sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Num {
    Int(i64),
    Float(f64),
}

impl Num {
    fn of(value: &Value, op: &'static str) -> Result<Num, Fault> {
        let Value::Number(n) = value else {
            return Err(Fault::Operand {
                op,
                found: Kind::of(value),
                expected: "a number",
            });
        };
        Ok(n.as_i64()
            .map_or_else(|| Num::Float(n.as_f64().unwrap_or(f64::NAN)), Num::Int))
    }

    fn float(self) -> f64 {
        match self {
            Num::Int(i) => i as f64,
            Num::Float(f) => f,
        }
    }

    fn value(self, op: &'static str) -> Result<Value, Fault> {
        match self {
            Num::Int(i) => Ok(i.into()),
            Num::Float(f) => Number::from_f64(f)
                .map(Value::Number)
                .ok_or(Fault::Overflow(op)),
        }
    }
}

/// Names of all functions, as messages list them.
pub(super) fn function_names() -> String {
    Function::ALL.map(|(name, ..)| name).join(", ")
}

struct Evaluation<'s, 'a> {
    scope: &'s dyn Scope<'a>,
}

impl<'a> Evaluation<'_, 'a> {
    fn eval(&self, expr: &Expr, depth: usize) -> Result<Cow<'a, Value>, Located> {
        if depth > MAX_DEPTH {
            return Err(Fault::TooDeep(MAX_DEPTH).at(self.scope.path()));
        }
        let deeper = depth + 1;
        let at = |f: Fault| f.at(self.scope.path());
        let owned = |v: Value| Ok(Cow::Owned(v));
        match expr {
            Expr::Literal(v) => owned(v.clone()),
            Expr::Name(name) => self.scope.lookup(name, deeper),
            Expr::Field(of, key) => {
                let of_value = self.eval(of, deeper)?;
                field(of_value, key, &path_of(of)).map_err(at)
            }
            Expr::Index(of, index) => {
                let list = self.eval(of, deeper)?;
                let index = self.eval(index, deeper)?;
                element(list, &index).map_err(at)
            }
            Expr::Call(f, args) => {
                let args = args
                    .iter()
                    .map(|a| self.eval(a, deeper))
                    .collect::<Result<Vec<_>, _>>()?;
                call(*f, &args).map_err(at).and_then(owned)
            }
            Expr::Negate(x) => {
                let x = self.eval(x, deeper)?;
                negate(&x).map_err(at).and_then(owned)
            }
            Expr::Not(x) => owned(Value::Bool(!self.truth(x, "!", deeper)?)),
            Expr::Arithmetic(op, a, b) => {
                let (a, b) = (self.eval(a, deeper)?, self.eval(b, deeper)?);
                arithmetic(*op, &a, &b).map_err(at).and_then(owned)
            }
            Expr::Comparison(op, a, b) => {
                let (a, b) = (self.eval(a, deeper)?, self.eval(b, deeper)?);
                compare(*op, &a, &b)
                    .map_err(at)
                    .map(Value::Bool)
                    .and_then(owned)
            }
            Expr::And(a, b) => owned(Value::Bool(
                self.truth(a, "&&", deeper)? && self.truth(b, "&&", deeper)?,
            )),
            Expr::Or(a, b) => owned(Value::Bool(
                self.truth(a, "||", deeper)? || self.truth(b, "||", deeper)?,
            )),
            Expr::Default(a, b) => match self.eval(a, deeper) {
                Ok(v) if !v.is_null() => Ok(v),
                Ok(_) => self.eval(b, deeper),
                Err(Located {
                    fault: Fault::NotInConfig { .. } | Fault::NullInConfig(_),
                    ..
                }) => self.eval(b, deeper),
                Err(e) => Err(e),
            },
            Expr::Choice(c, a, b) => {
                let chosen = if self.truth(c, "?", deeper)? { a } else { b };
                self.eval(chosen, deeper)
            }
        }
    }

    fn truth(&self, expr: &Expr, op: &'static str, depth: usize) -> Result<bool, Located> {
        let value = self.eval(expr, depth)?;
        value.as_bool().ok_or_else(|| {
            Fault::Operand {
                op,
                found: Kind::of(&value),
                expected: "true or false",
            }
            .at(self.scope.path())
        })
    }
}

/// `config.a.b` as it was written, for messages.
fn path_of(expr: &Expr) -> String {
    match expr {
        Expr::Name(n) if n == "config" => String::new(),
        Expr::Name(n) => format!("{n}."),
        Expr::Field(of, key) => format!("{}{key}.", path_of(of)),
        Expr::Index(of, _) => format!("{}[].", path_of(of).trim_end_matches('.')),
        Expr::Literal(_)
        | Expr::Call(..)
        | Expr::Negate(_)
        | Expr::Not(_)
        | Expr::Arithmetic(..)
        | Expr::Comparison(..)
        | Expr::And(..)
        | Expr::Or(..)
        | Expr::Default(..)
        | Expr::Choice(..) => "(…).".into(),
    }
}

/// A key of an object; missing keys and nulls are faults that `??` catches, and so is a key of null.
fn field<'a>(of: Cow<'a, Value>, key: &str, prefix: &str) -> Result<Cow<'a, Value>, Fault> {
    let name = || format!("{prefix}{key}");
    let found = match of {
        Cow::Borrowed(Value::Object(map)) => map
            .get(key)
            .map(Cow::Borrowed)
            .ok_or_else(|| missing(name(), key, map)),
        Cow::Owned(Value::Object(map)) => map
            .get(key)
            .cloned()
            .map(Cow::Owned)
            .ok_or_else(|| missing(name(), key, &map)),
        other if other.is_null() => Err(Fault::NotInConfig {
            name: name(),
            nearest: None,
        }),
        other => Err(Fault::Operand {
            op: ".",
            found: Kind::of(&other),
            expected: "an object",
        }),
    }?;
    if found.is_null() {
        Err(Fault::NullInConfig(name()))
    } else {
        Ok(found)
    }
}

pub(super) fn missing(name: String, key: &str, map: &serde_json::Map<String, Value>) -> Fault {
    Fault::NotInConfig {
        name,
        nearest: super::near::nearest(key, map.keys().map(String::as_str)),
    }
}

fn element<'a>(list: Cow<'a, Value>, index: &Value) -> Result<Cow<'a, Value>, Fault> {
    let Some(i) = index.as_i64() else {
        return Err(Fault::Operand {
            op: "[]",
            found: Kind::of(index),
            expected: "a whole number",
        });
    };
    let Some(len) = list.as_array().map(Vec::len) else {
        return Err(Fault::Operand {
            op: "[]",
            found: Kind::of(&list),
            expected: "a list",
        });
    };
    let outside = Fault::Index { index: i, len };
    let Ok(at) = usize::try_from(i) else {
        return Err(outside);
    };
    match list {
        Cow::Borrowed(v) => v.get(at).map(Cow::Borrowed),
        Cow::Owned(v) => v.get(at).cloned().map(Cow::Owned),
    }
    .ok_or(outside)
}

fn call(f: Function, args: &[Cow<'_, Value>]) -> Result<Value, Fault> {
    let name = f.name();
    let number = |i: usize| Num::of(&args[i], name);
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
        Function::Element if !args[0].is_array() => return Ok(args[0].clone().into_owned()),
        Function::Element => return element(args[0].clone(), &args[1]).map(Cow::into_owned),
        Function::LastIndex => Num::Int(last_index(&args[0], &args[1], &args[2])?),
        Function::NormalQuantile => Num::Float(normal_quantile(number(0)?.float())?),
        Function::Has => return has(&args[0], &args[1]).map(Value::Bool),
        // A list that is not there contains nothing.
        Function::Contains if args[0].is_null() => return Ok(Value::Bool(false)),
        Function::Contains => {
            let list = list(name, &args[0])?;
            return Ok(Value::Bool(list.iter().any(|v| equal(v, &args[1]))));
        }
        Function::Len => Num::Int(list(name, &args[0])?.len() as i64),
    }
    .value(name)
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
    let places = list(name, of)?.iter().take(end as usize);
    let last = places.rev().position(|v| equal(v, value));
    let length = list(name, of)?.len().min(end as usize);
    let missing = || Fault::NotInConfig {
        name: format!("{value} among the first {end} of a list"),
        nearest: None,
    };
    last.map(|from_end| (length - 1 - from_end) as i64)
        .ok_or_else(missing)
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

fn negate(x: &Value) -> Result<Value, Fault> {
    match Num::of(x, "-")? {
        Num::Int(i) => i.checked_neg().map(Num::Int).ok_or(Fault::Overflow("-"))?,
        Num::Float(f) => Num::Float(-f),
    }
    .value("-")
}

fn compare(op: Comparison, a: &Value, b: &Value) -> Result<bool, Fault> {
    let ordered =
        |holds: fn(f64, f64) -> bool| Ok(holds(Num::of(a, "<")?.float(), Num::of(b, "<")?.float()));
    match op {
        Comparison::Eq => Ok(equal(a, b)),
        Comparison::Ne => Ok(!equal(a, b)),
        Comparison::Lt => ordered(|x, y| x < y),
        Comparison::Le => ordered(|x, y| x <= y),
        Comparison::Gt => ordered(|x, y| x > y),
        Comparison::Ge => ordered(|x, y| x >= y),
    }
}

fn arithmetic(op: Arithmetic, a: &Value, b: &Value) -> Result<Value, Fault> {
    match (Num::of(a, op.symbol())?, Num::of(b, op.symbol())?) {
        (Num::Int(x), Num::Int(y)) => whole(op, x, y)?,
        (x, y) => Num::Float(fraction(op, x.float(), y.float())),
    }
    .value(op.symbol())
}

/// Equality in which 1 is 1.0.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(x), Some(y)) => x == y,
        _ => a == b,
    }
}

fn whole(op: Arithmetic, x: i64, y: i64) -> Result<Num, Fault> {
    let divides = matches!(op, Arithmetic::Div | Arithmetic::FloorDiv | Arithmetic::Rem);
    if divides && y == 0 {
        return Err(Fault::DivisionByZero(x));
    }
    let result = match op {
        Arithmetic::Add => x.checked_add(y),
        Arithmetic::Sub => x.checked_sub(y),
        Arithmetic::Mul => x.checked_mul(y),
        Arithmetic::Div if x.checked_rem(y).is_some_and(|r| r != 0) => {
            return Err(Fault::Remainder { left: x, right: y });
        }
        Arithmetic::Div => x.checked_div(y),
        // Rounds down like the floor of the quotient, also for negative numbers.
        Arithmetic::FloorDiv => x
            .checked_div(y)
            .map(|q| q - i64::from(x % y != 0 && (x < 0) != (y < 0))),
        Arithmetic::Rem => x.checked_rem_euclid(y),
        Arithmetic::Pow if y < 0 => return Ok(Num::Float((x as f64).powf(y as f64))),
        Arithmetic::Pow => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
    };
    result.map(Num::Int).ok_or(Fault::Overflow(op.symbol()))
}

fn fraction(op: Arithmetic, x: f64, y: f64) -> f64 {
    match op {
        Arithmetic::Add => x + y,
        Arithmetic::Sub => x - y,
        Arithmetic::Mul => x * y,
        Arithmetic::Div => x / y,
        Arithmetic::FloorDiv => (x / y).floor(),
        Arithmetic::Rem => x.rem_euclid(y),
        Arithmetic::Pow => x.powf(y),
    }
}

#[cfg(test)]
mod tests;

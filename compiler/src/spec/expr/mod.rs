//! The expressions of specs: `head_dim ?? hidden_size / num_attention_heads`.
//!
//! Text goes in, a JSON value comes out. Names are looked up by the caller ([`Scope`]). Whole numbers stay whole: `/`
//! between them has to come out even. `a ?? b` is `b` where `a` is missing or null. There are no loops, no side effects
//! and no way to build lists, so that evaluation takes time in the length of the text.

mod parse;

use std::borrow::Cow;

use serde_json::{Number, Value};

use super::error::{Fault, Kind, Located};
use super::json::{equal, flag, number};

/// The deepest nesting of an evaluation, parameters that use parameters included: what a thread's stack of 2 MB holds even in a
/// build without optimisation.
pub(super) const MAX_DEPTH: usize = 80;

pub(super) use parse::parse;

/// Where names get their values.
pub(super) trait Scope<'a> {
    /// Value of a bare name; a [`Fault::NotInConfig`] or [`Fault::NullInConfig`] can be caught by `??`.
    fn lookup(&self, name: &str, depth: usize) -> Result<Cow<'a, Value>, Located>;
    /// Place of the expression, for messages.
    fn path(&self) -> &str;
    /// Takes `steps` from the budget of work.
    ///
    /// # Errors
    /// A fault once nothing is left.
    fn spend(&self, steps: usize) -> Result<(), Fault>;
    /// A fault of a value, with its place in the config where it is one of the config's own.
    fn fault_of(&self, value: &Value, fault: Fault) -> Located;
}

/// Evaluates a parsed expression; `depth` is how deep the caller is already.
pub(super) fn evaluate<'a>(
    expr: &Expr,
    scope: &dyn Scope<'a>,
    depth: usize,
) -> Result<Cow<'a, Value>, Located> {
    Evaluation { scope }.eval(expr, depth)
}

/// A parsed expression.
#[derive(Debug)]
pub(super) enum Expr {
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
pub(super) enum Arithmetic {
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
pub(super) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
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
        if let Some(whole) = value.as_i64() {
            return Ok(Num::Int(whole));
        }
        number(value).map(Num::Float).ok_or_else(|| Fault::Operand {
            op,
            found: Kind::of(value),
            expected: "a number",
        })
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
        self.scope.spend(1).map_err(at)?;
        let owned = |v: Value| Ok(Cow::Owned(v));
        match expr {
            Expr::Literal(v) => owned(v.clone()),
            Expr::Name(name) => self.scope.lookup(name, deeper),
            Expr::Field(of, key) => {
                let of_value = self.eval(of, deeper)?;
                self.of_operands(&[of_value], |v| field(v[0].clone(), key, &path_of(of)))
            }
            Expr::Index(of, index) => {
                let operands = [self.eval(of, deeper)?, self.eval(index, deeper)?];
                self.of_operands(&operands, |v| element(v[0].clone(), &v[1]))
            }
            Expr::Call(f, args) => {
                let args = args
                    .iter()
                    .map(|a| self.eval(a, deeper))
                    .collect::<Result<Vec<_>, _>>()?;
                // Functions of lists look at each element.
                let elements = args.iter().filter_map(|a| a.as_array()).map(Vec::len).sum();
                self.scope.spend(elements).map_err(at)?;
                self.of_operands(&args, |v| call(*f, v))
            }
            Expr::Negate(x) => {
                let x = self.eval(x, deeper)?;
                self.of_operands(&[x], |v| negate(&v[0]).map(Cow::Owned))
            }
            Expr::Not(x) => owned(Value::Bool(!self.truth(x, "!", deeper)?)),
            Expr::Arithmetic(op, a, b) => {
                let operands = [self.eval(a, deeper)?, self.eval(b, deeper)?];
                let result = |v: &[Cow<'a, Value>]| arithmetic(*op, &v[0], &v[1]).map(Cow::Owned);
                self.of_operands(&operands, result)
            }
            Expr::Comparison(op, a, b) => {
                let operands = [self.eval(a, deeper)?, self.eval(b, deeper)?];
                let result = |v: &[Cow<'a, Value>]| compare(*op, &v[0], &v[1]);
                self.of_operands(&operands, |v| {
                    result(v).map(|holds| Cow::Owned(Value::Bool(holds)))
                })
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

    /// What `f` makes of operands; where one of them is to blame, its place in the config is named.
    fn of_operands(
        &self,
        operands: &[Cow<'a, Value>],
        f: impl FnOnce(&[Cow<'a, Value>]) -> Result<Cow<'a, Value>, Fault>,
    ) -> Result<Cow<'a, Value>, Located> {
        f(operands).map_err(|fault| {
            let blamed = operands
                .iter()
                .find(|v| matches!(&fault, Fault::Operand { found, .. } if *found == Kind::of(v)));
            match blamed {
                Some(value) => self.scope.fault_of(value, fault),
                None => fault.at(self.scope.path()),
            }
        })
    }

    fn truth(&self, expr: &Expr, op: &'static str, depth: usize) -> Result<bool, Located> {
        let value = self.eval(expr, depth)?;
        flag(&value).ok_or_else(|| {
            let fault = Fault::Operand {
                op,
                found: Kind::of(&value),
                expected: "true or false",
            };
            self.scope.fault_of(&value, fault)
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
            .ok_or_else(|| Fault::not_in_config(name())),
        Cow::Owned(Value::Object(map)) => map
            .get(key)
            .cloned()
            .map(Cow::Owned)
            .ok_or_else(|| Fault::not_in_config(name())),
        other if other.is_null() => Err(Fault::not_in_config(name())),
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

fn call<'a>(f: Function, args: &[Cow<'a, Value>]) -> Result<Cow<'a, Value>, Fault> {
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
        Function::Contains => {
            let list = list(name, &args[0])?;
            return Ok(truth(list.iter().any(|v| equal(v, &args[1]))));
        }
        Function::Len => Num::Int(list(name, &args[0])?.len() as i64),
    }
    .value(name)
    .map(Cow::Owned)
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
    let missing = || {
        let value = Kind::of(value);
        Fault::not_in_config(format!("{value} among the first {end} of a list"))
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

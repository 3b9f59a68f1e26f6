//! Arithmetic and comparison. Whole numbers stay whole.

use serde_json::{Number, Value};

use super::super::error::{Fault, Kind};
use super::super::json::{equal, number};
use super::tree::{Arithmetic, Comparison};

/// A number as arithmetic sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Num {
    Int(i64),
    Float(f64),
}

impl Num {
    pub(super) fn of(value: &Value, op: &'static str) -> Result<Num, Fault> {
        if let Some(whole) = value.as_i64() {
            return Ok(Num::Int(whole));
        }
        number(value).map(Num::Float).ok_or_else(|| Fault::Operand {
            op,
            found: Kind::of(value),
            expected: "a number",
        })
    }

    pub(super) fn float(self) -> f64 {
        match self {
            Num::Int(i) => i as f64,
            Num::Float(f) => f,
        }
    }

    pub(super) fn value(self, op: &'static str) -> Result<Value, Fault> {
        match self {
            Num::Int(i) => Ok(i.into()),
            Num::Float(f) => Number::from_f64(f)
                .map(Value::Number)
                .ok_or(Fault::Overflow(op)),
        }
    }
}

pub(super) fn negate(x: &Value) -> Result<Value, Fault> {
    match Num::of(x, "-")? {
        Num::Int(i) => i.checked_neg().map(Num::Int).ok_or(Fault::Overflow("-"))?,
        Num::Float(f) => Num::Float(-f),
    }
    .value("-")
}

pub(super) fn compare(op: Comparison, a: &Value, b: &Value) -> Result<bool, Fault> {
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

pub(super) fn arithmetic(op: Arithmetic, a: &Value, b: &Value) -> Result<Value, Fault> {
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

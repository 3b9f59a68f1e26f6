//! Evaluation: an expression and a scope give a value.

use std::borrow::Cow;

use serde_json::Value;

use super::super::error::{Fault, Kind, Located};
use super::super::json::flag;
use super::access::{element, field};
use super::arithmetic::{arithmetic, compare, negate};
use super::call::call;
use super::function::Function;
use super::tree::Expr;

/// The deepest nesting of an evaluation, parameters that use parameters included: what a thread's stack of 2 MB holds even in a
/// build without optimisation.
pub(crate) const MAX_DEPTH: usize = 80;

/// Where names get their values.
pub(crate) trait Scope<'a> {
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
pub(crate) fn evaluate<'a>(
    expr: &Expr,
    scope: &dyn Scope<'a>,
    depth: usize,
) -> Result<Cow<'a, Value>, Located> {
    Evaluation { scope }.eval(expr, depth)
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
            // The default of `get` is looked at only where it matters, as that of `??`.
            Expr::Call(Function::Get, args) if args.len() == 3 => {
                let operands = [self.eval(&args[0], deeper)?, self.eval(&args[1], deeper)?];
                let found = self.of_operands(&operands, |v| call(Function::Get, v));
                match found {
                    Err(e) if e.is_missing() => self.eval(&args[2], deeper),
                    other => other,
                }
            }
            Expr::Call(f, args) => {
                let args = args
                    .iter()
                    .map(|a| self.eval(a, deeper))
                    .collect::<Result<Vec<_>, _>>()?;
                // Functions of lists look at each element, and those of strings at each character.
                let elements = args.iter().map(|a| length(a)).sum();
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
                Err(e) if e.is_missing() => self.eval(b, deeper),
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

/// Elements of a list, or bytes of a string.
fn length(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.len(),
        Value::String(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => 0,
    }
}

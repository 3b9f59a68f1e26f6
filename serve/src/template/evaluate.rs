//! Evaluates expressions.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::{Given, as_int, as_text};
use super::ast::{Arguments, Expr, ExprKind};
use super::error::{Fault, Outcome};
use super::frame::Frame;
use super::fuel::Writer;
use super::methods;
use super::names;
use super::operate;
use super::print;
use super::renderer::{Renderer, set_field};
use super::value::{Global, ListKind, Value};

/// The longest range, as the reference has it.
const LONGEST_RANGE: i128 = 100_000;
/// Bytes that a byte of a name takes in a message, at most.
const LONGEST_ESCAPE: usize = 6;

impl Renderer<'_> {
    /// The value of an expression.
    pub(super) fn evaluate(&self, expr: &Expr, frame: &Rc<Frame>) -> Outcome<Value> {
        self.fuel.spend(1)?;
        self.fuel.deeper(|| self.evaluate_kind(&expr.kind, frame))
    }

    fn evaluate_kind(&self, kind: &ExprKind, frame: &Rc<Frame>) -> Outcome<Value> {
        Ok(match kind {
            ExprKind::None => Value::None,
            ExprKind::Bool(is) => Value::Bool(*is),
            ExprKind::Int(number) => Value::Int(*number),
            ExprKind::Float(number) => Value::Float(*number),
            ExprKind::Text(text) => Value::Text(Arc::clone(text)),
            ExprKind::Name(name) => self.variable(name, frame)?,
            ExprKind::List(items) => Value::list(ListKind::List, self.all(items, frame)?)?,
            ExprKind::Tuple(items) => Value::list(ListKind::Tuple, self.all(items, frame)?)?,
            ExprKind::Dict(entries) => self.dict(entries, frame)?,
            ExprKind::Attribute(of, name) => self.attribute(&self.evaluate(of, frame)?, name)?,
            ExprKind::Item(of, index) => {
                let (of, index) = (self.evaluate(of, frame)?, self.evaluate(index, frame)?);
                self.item(&of, &index)?
            }
            ExprKind::Slice(of, bounds) => self.slice(of, bounds, frame)?,
            ExprKind::Call(callee, arguments) => self.call(callee, arguments, None, frame)?,
            ExprKind::Filter(of, call) => {
                let of = self.evaluate(of, frame)?;
                self.filter(&call.name, of, self.given(&call.arguments, frame)?)?
            }
            ExprKind::Test(of, call) => {
                let of = self.evaluate(of, frame)?;
                let given = self.given(&call.arguments, frame)?;
                Value::Bool(self.test(&call.name, &of, given)?)
            }
            ExprKind::Not(of) => Value::Bool(!self.evaluate(of, frame)?.is_true()),
            ExprKind::Negate(of) => operate::negate(&self.evaluate(of, frame)?, true)?,
            ExprKind::Positive(of) => operate::negate(&self.evaluate(of, frame)?, false)?,
            ExprKind::Binary(op, left, right) => {
                let (left, right) = (self.evaluate(left, frame)?, self.evaluate(right, frame)?);
                operate::binary(*op, &left, &right, &self.fuel)?
            }
            ExprKind::Compare(first, rest) => {
                let mut left = self.evaluate(first, frame)?;
                for (op, right) in rest {
                    let right = self.evaluate(right, frame)?;
                    if !operate::compare(*op, &left, &right, &self.fuel)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            ExprKind::Concat(parts) => {
                let mut out = Writer::new(&self.fuel);
                for part in parts {
                    print::write(&self.evaluate(part, frame)?, &mut out)?;
                }
                Value::text(out.finish())
            }
            ExprKind::And(left, right) => match self.evaluate(left, frame)? {
                left if left.is_true() => self.evaluate(right, frame)?,
                left => left,
            },
            ExprKind::Or(left, right) => match self.evaluate(left, frame)? {
                left if left.is_true() => left,
                _left => self.evaluate(right, frame)?,
            },
            ExprKind::If(both, otherwise) => {
                let [then, condition] = &**both;
                match (self.evaluate(condition, frame)?.is_true(), otherwise) {
                    (true, _) => self.evaluate(then, frame)?,
                    (false, Some(otherwise)) => self.evaluate(otherwise, frame)?,
                    (false, None) => Value::undefined("the value of an if without else"),
                }
            }
        })
    }

    /// A variable, else what every template has under the name.
    fn variable(&self, name: &Arc<str>, frame: &Rc<Frame>) -> Outcome<Value> {
        let found = frame.get(name, &self.fuel)?;
        Ok(found.unwrap_or_else(|| match &**name {
            "range" => Value::Global(Global::Range),
            "dict" => Value::Global(Global::Dict),
            "namespace" => Value::Global(Global::Namespace),
            "raise_exception" => Value::Global(Global::Raise),
            "strftime_now" => Value::Global(Global::Now),
            _unknown => Value::Undefined(Arc::clone(name)),
        }))
    }

    fn all(&self, items: &[Expr], frame: &Rc<Frame>) -> Outcome<Vec<Value>> {
        self.fuel.values(items.len())?;
        items
            .iter()
            .map(|item| self.evaluate(item, frame))
            .collect()
    }

    fn dict(&self, entries: &[(Expr, Expr)], frame: &Rc<Frame>) -> Outcome<Value> {
        self.fuel.values(2 * entries.len())?;
        let mut all = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let (key, value) = (self.evaluate(key, frame)?, self.evaluate(value, frame)?);
            operate::put(&mut all, key, value, &self.fuel)?;
        }
        Value::dict(all)
    }

    /// `of.name`: a method, else what is stored under the name.
    pub(super) fn attribute(&self, of: &Value, name: &Arc<str>) -> Outcome<Value> {
        let found = match of.defined()? {
            of if methods::exists(of, name) => {
                Some(Value::Method(Rc::new((of.clone(), Arc::clone(name)))))
            }
            Value::Dict(dict) => {
                let key = Value::Text(Arc::clone(name));
                operate::look_up(&dict.entries, &key, &self.fuel)?.cloned()
            }
            Value::Namespace(fields) => {
                let fields = fields.borrow();
                let at = names::position(&fields, name, &self.fuel)?;
                at.map(|at| fields[at].1.clone())
            }
            Value::Loop(it) => it.attribute(name),
            Value::Macro(it) if &**name == "name" => {
                Some(Value::Text(Arc::clone(&it.definition.name)))
            }
            _other => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
        self.fuel.look(LONGEST_ESCAPE * name.len())?;
        let what = format!("the attribute {name:?} of a {}", of.type_name());
        Ok(Value::undefined(&what))
    }

    /// `of[index]`: what is stored, else an attribute of that name.
    pub(super) fn item(&self, of: &Value, index: &Value) -> Outcome<Value> {
        if let Some(value) = operate::item(of, index, &self.fuel)? {
            return Ok(value);
        }
        match index {
            Value::Text(name) => self.attribute(of, name),
            index => {
                let index = match index {
                    Value::Int(number) => number.to_string(),
                    other => other.type_name().into(),
                };
                let what = format!("item {index} of a {}", of.type_name());
                Ok(Value::undefined(&what))
            }
        }
    }

    fn slice(
        &self,
        of: &Expr,
        bounds: &[Option<Box<Expr>>; 3],
        frame: &Rc<Frame>,
    ) -> Outcome<Value> {
        let of = self.evaluate(of, frame)?;
        let mut numbers = [None; 3];
        for (number, bound) in numbers.iter_mut().zip(bounds) {
            if let Some(bound) = bound {
                let bound = self.evaluate(bound, frame)?;
                if !matches!(bound, Value::None) {
                    *number = Some(as_int(&bound, "a slice")?);
                }
            }
        }
        operate::slice(&of, numbers, &self.fuel)
    }

    /// The values of arguments.
    pub(super) fn given(&self, arguments: &Arguments, frame: &Rc<Frame>) -> Outcome<Given> {
        let positional = self.all(&arguments.positional, frame)?;
        let mut named = Vec::with_capacity(arguments.named.len());
        for (name, value) in &arguments.named {
            named.push((Arc::clone(name), self.evaluate(value, frame)?));
        }
        Ok(Given { positional, named })
    }

    /// An expression that has to be a call, which is given something more.
    pub(super) fn evaluate_call(
        &self,
        expr: &Expr,
        more: Option<(Arc<str>, Value)>,
        frame: &Rc<Frame>,
    ) -> Outcome<Value> {
        match &expr.kind {
            ExprKind::Call(callee, arguments) => self.call(callee, arguments, more, frame),
            _other => Err(Fault::wrong("{% call %} is followed by no call of a macro")),
        }
    }

    fn call(
        &self,
        callee: &Expr,
        arguments: &Arguments,
        more: Option<(Arc<str>, Value)>,
        frame: &Rc<Frame>,
    ) -> Outcome<Value> {
        let callee = self.evaluate(callee, frame)?;
        let mut given = self.given(arguments, frame)?;
        given.named.extend(more);
        match callee.defined()? {
            Value::Method(method) => match &method.0 {
                Value::Loop(it) => methods::of_loop(it, &method.1, given, &self.fuel),
                of => methods::call(of, &method.1, given, &self.fuel),
            },
            Value::Macro(it) => self.call_macro(it, given),
            Value::Global(global) => self.call_global(*global, given),
            Value::Loop(it) if it.definition.recursive => {
                let over = given.one("loop", "iterable")?;
                let around = it
                    .around
                    .upgrade()
                    .ok_or_else(|| Fault::wrong("a loop is called after its end"))?;
                let mut out = Writer::new(&self.fuel);
                self.repeat(&it.definition, &over, it.depth + 1, &around, &mut out)?;
                Ok(Value::text(out.finish()))
            }
            other => Err(Fault::wrong(format!(
                "a value of type {} cannot be called",
                other.type_name()
            ))),
        }
    }

    fn call_global(&self, global: Global, given: Given) -> Outcome<Value> {
        match global {
            Global::Raise => {
                let message = given.one("raise_exception", "message")?;
                Err(Fault::raised(
                    print::text(&message, &self.fuel)?.to_string(),
                ))
            }
            Global::Now => {
                let format = given.one("strftime_now", "format")?;
                let format = as_text(&format, "strftime_now")?;
                self.fuel.bytes(64 * format.len())?;
                Ok(Value::text(self.clock.format(&format)))
            }
            Global::Range => self.range(given),
            Global::Dict => Value::dict(self.entries("dict", given)?),
            Global::Namespace => {
                let mut fields = Vec::new();
                for (key, value) in self.entries("namespace", given)? {
                    let name = as_text(&key, "namespace")?;
                    set_field(&mut fields, &name, value, &self.fuel)?;
                }
                Ok(Value::Namespace(Rc::new(RefCell::new(fields))))
            }
        }
    }

    /// Entries of a dict that is given, with those that are given by name.
    fn entries(&self, callee: &str, given: Given) -> Outcome<Vec<(Value, Value)>> {
        let mut entries = Vec::new();
        let named = given.named;
        let [from] = Given::of(given.positional).bind(callee, ["mapping"])?;
        match from {
            None => {}
            Some(Value::Dict(dict)) => {
                self.fuel.values(2 * dict.entries.len())?;
                entries.extend(dict.entries.iter().cloned());
            }
            Some(pairs) => {
                for pair in &pairs.items(&self.fuel)?.items {
                    let pair = pair.items(&self.fuel)?;
                    let [key, value] = pair.items.as_slice() else {
                        let found = pair.items.len();
                        let what = format!("{callee}: {found} values, expected a key and a value");
                        return Err(Fault::wrong(what));
                    };
                    operate::put(&mut entries, key.clone(), value.clone(), &self.fuel)?;
                }
            }
        }
        for (name, value) in named {
            operate::put(&mut entries, Value::Text(name), value, &self.fuel)?;
        }
        Ok(entries)
    }

    fn range(&self, given: Given) -> Outcome<Value> {
        let [first, second, step] = given.bind("range", ["start", "stop", "step"])?;
        let number = |value: &Value| as_int(value, "range");
        let first = first.ok_or_else(|| Fault::wrong("range: an end is not given"))?;
        let (from, to) = match second {
            Some(second) => (number(&first)?, number(&second)?),
            None => (0, number(&first)?),
        };
        let step = step.as_ref().map_or(Ok(1), number)?;
        let distance = if step < 0 {
            from.saturating_sub(to)
        } else {
            to.saturating_sub(from)
        };
        let count = match step.unsigned_abs() {
            0 => return Err(Fault::wrong("range: a step of 0")),
            step => (distance.max(0) as u128).div_ceil(step),
        };
        if count > LONGEST_RANGE as u128 {
            let what = format!("range: {count} numbers, at most {LONGEST_RANGE} are given");
            return Err(Fault::wrong(what));
        }
        self.fuel.values(count as usize)?;
        let items = (0..count as i128).map(|at| Value::Int(from + at * step));
        Value::list(ListKind::List, items.collect())
    }
}

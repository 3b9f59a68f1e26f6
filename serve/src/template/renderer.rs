//! Runs statements: text out, variables in frames.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Given;
use super::ast::{Body, Expr, FilterCall, For, MacroDef, Statement, StatementKind, Target};
use super::clock::Clock;
use super::error::{Fault, Outcome};
use super::frame::Frame;
use super::fuel::{Fuel, Writer};
use super::names;
use super::operate;
use super::print;
use super::repeat::Loop;
use super::value::{Fields, Macro, Value};

/// One rendering.
pub(super) struct Renderer<'c> {
    pub(super) fuel: Fuel,
    pub(super) clock: &'c Clock,
}

/// Where to go on after a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

impl Renderer<'_> {
    /// Runs statements one after the other.
    pub(super) fn run(
        &self,
        body: &Body,
        frame: &Rc<Frame>,
        out: &mut Writer<'_>,
    ) -> Outcome<Flow> {
        for statement in body {
            self.fuel.spend(1)?;
            let flow = self.fuel.deeper(|| self.statement(statement, frame, out));
            let flow = flow.map_err(|fault| fault.at(statement.line))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(
        &self,
        statement: &Statement,
        frame: &Rc<Frame>,
        out: &mut Writer<'_>,
    ) -> Outcome<Flow> {
        match &statement.kind {
            StatementKind::Data(text) => out.push(text)?,
            StatementKind::Print(expr) => print::write(&self.evaluate(expr, frame)?, out)?,
            StatementKind::If(arms) => return self.conditions(arms, frame, out),
            StatementKind::For(repetition) => self.repetition(repetition, frame, out)?,
            StatementKind::Set(target, value) => {
                self.assign(target, self.evaluate(value, frame)?, frame)?;
            }
            StatementKind::Capture(target, filters, body) => {
                let text = self.capture(body, &Frame::within(frame))?;
                self.assign(target, self.filtered(text, filters, frame)?, frame)?;
            }
            StatementKind::Macro(definition) => {
                let value = made(definition, frame);
                frame.set(&definition.name, value, &self.fuel)?;
            }
            StatementKind::Call(definition, call) => {
                self.call_block(definition, call, frame, out)?
            }
            StatementKind::Filter(filters, body) => {
                let text = self.capture(body, &Frame::within(frame))?;
                print::write(&self.filtered(text, filters, frame)?, out)?;
            }
            StatementKind::With(values, body) => {
                let inner = Frame::within(frame);
                for (target, value) in values {
                    self.assign(target, self.evaluate(value, frame)?, &inner)?;
                }
                return self.run(body, &inner, out);
            }
            StatementKind::Scope(body) => return self.run(body, &Frame::within(frame), out),
            StatementKind::Break => return Ok(Flow::Break),
            StatementKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn conditions(
        &self,
        arms: &[(Option<Expr>, Body)],
        frame: &Rc<Frame>,
        out: &mut Writer<'_>,
    ) -> Outcome<Flow> {
        for (condition, body) in arms {
            let applies = match condition {
                Some(condition) => self.evaluate(condition, frame)?.is_true(),
                None => true,
            };
            if applies {
                return self.run(body, frame, out);
            }
        }
        Ok(Flow::Next)
    }

    fn repetition(
        &self,
        repetition: &Arc<For>,
        frame: &Rc<Frame>,
        out: &mut Writer<'_>,
    ) -> Outcome<()> {
        let over = self.evaluate(&repetition.over, frame)?;
        self.repeat(repetition, &over, 0, frame, out)
    }

    /// Runs a loop over something, `depth` loops of the same definition deep.
    pub(super) fn repeat(
        &self,
        repetition: &Arc<For>,
        over: &Value,
        depth: usize,
        frame: &Rc<Frame>,
        out: &mut Writer<'_>,
    ) -> Outcome<()> {
        let mut items = over.items(&self.fuel)?;
        if let Some(condition) = &repetition.condition {
            let mut kept = Vec::new();
            for item in &items.items {
                let inner = Frame::within(frame);
                self.assign(&repetition.target, item.clone(), &inner)?;
                if self.evaluate(condition, &inner)?.is_true() {
                    kept.push(item.clone());
                }
            }
            items = Value::list(items.kind, kept)?.items(&self.fuel)?;
        }
        if items.items.is_empty() {
            self.run(&repetition.otherwise, &Frame::within(frame), out)?;
            return Ok(());
        }
        let state = Rc::new(Loop {
            definition: Arc::clone(repetition),
            items: Rc::clone(&items),
            index: Cell::new(0),
            depth,
            around: Rc::downgrade(frame),
            last: RefCell::default(),
        });
        let outcome = self.rounds(&state, frame, out);
        let last = state.last.take();
        drop(last);
        outcome
    }

    fn rounds(&self, state: &Rc<Loop>, frame: &Rc<Frame>, out: &mut Writer<'_>) -> Outcome<()> {
        let name: Arc<str> = "loop".into();
        for (index, item) in state.items.items.iter().enumerate() {
            self.fuel.spend(1)?;
            state.index.set(index);
            let inner = Frame::within(frame);
            inner.set(&name, Value::Loop(Rc::clone(state)), &self.fuel)?;
            self.assign(&state.definition.target, item.clone(), &inner)?;
            if self.run(&state.definition.body, &inner, out)? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn assign(&self, target: &Target, value: Value, frame: &Rc<Frame>) -> Outcome<()> {
        match target {
            Target::Name(name) => frame.set(name, value, &self.fuel),
            Target::Field(namespace, field) => {
                let Some(Value::Namespace(fields)) = frame.get(namespace, &self.fuel)? else {
                    let what = format!("{namespace} is not a namespace; {field} cannot be set");
                    return Err(Fault::wrong(what));
                };
                set_field(&mut fields.borrow_mut(), field, value, &self.fuel)
            }
            Target::Tuple(targets) => {
                let items = value.items(&self.fuel)?;
                if items.items.len() != targets.len() {
                    let (found, expected) = (items.items.len(), targets.len());
                    let what = format!("found {found} values, expected {expected}");
                    return Err(Fault::wrong(what));
                }
                self.fuel.spend(targets.len())?;
                for (target, item) in targets.iter().zip(&items.items) {
                    self.assign(target, item.clone(), frame)?;
                }
                Ok(())
            }
        }
    }

    /// What a body writes.
    pub(super) fn capture(&self, body: &Body, frame: &Rc<Frame>) -> Outcome<Value> {
        let mut out = Writer::new(&self.fuel);
        self.run(body, frame, &mut out)?;
        Ok(Value::text(out.finish()))
    }

    fn filtered(
        &self,
        mut value: Value,
        filters: &[FilterCall],
        frame: &Rc<Frame>,
    ) -> Outcome<Value> {
        for filter in filters {
            let given = self.given(&filter.arguments, frame)?;
            value = self.filter(&filter.name, value, given)?;
        }
        Ok(value)
    }

    fn call_block(
        &self,
        definition: &Arc<MacroDef>,
        call: &Expr,
        frame: &Rc<Frame>,
        out: &mut Writer<'_>,
    ) -> Outcome<()> {
        let caller = ("caller".into(), made(definition, frame));
        let result = self.evaluate_call(call, Some(caller), frame)?;
        print::write(&result, out)
    }

    /// What a macro writes.
    pub(super) fn call_macro(&self, it: &Macro, given: Given) -> Outcome<Value> {
        let definition = &it.definition;
        let name = &definition.name;
        let around = it.around.upgrade().ok_or_else(|| {
            Fault::wrong(format!("{name} is called outside of where it was defined"))
        })?;
        self.fuel.spend(definition.parameters.len())?;
        let frame = Frame::within(&around);
        let mut positional = given.positional.into_iter();
        let mut named = given.named;
        let mut missing = Vec::new();
        for (parameter, default) in &definition.parameters {
            let by_name = names::position(&named, parameter, &self.fuel)?;
            let value = match (positional.next(), by_name) {
                (Some(value), _) => Some(value),
                (None, Some(at)) => Some(named.remove(at).1),
                (None, None) => None,
            };
            match value {
                Some(value) => frame.set(parameter, value, &self.fuel)?,
                None => missing.push((parameter, default)),
            }
        }
        for (parameter, default) in missing {
            let value = match default {
                Some(default) => self.evaluate(default, &frame)?,
                None => Value::Undefined(Arc::clone(parameter)),
            };
            frame.set(parameter, value, &self.fuel)?;
        }
        let mut rest = Vec::new();
        for (given, value) in named {
            match &*given {
                "caller" => frame.set(&given, value, &self.fuel)?,
                _extra => operate::put(&mut rest, Value::Text(given), value, &self.fuel)?,
            }
        }
        frame.set(&"kwargs".into(), Value::dict(rest)?, &self.fuel)?;
        let rest = Value::list(super::value::ListKind::Tuple, positional.collect())?;
        frame.set(&"varargs".into(), rest, &self.fuel)?;
        self.capture(&definition.body, &frame)
    }
}

fn made(definition: &Arc<MacroDef>, frame: &Rc<Frame>) -> Value {
    Value::Macro(Rc::new(Macro {
        definition: Arc::clone(definition),
        around: Rc::downgrade(frame),
    }))
}

/// Sets a field of a namespace to what cannot hold the namespace.
pub(super) fn set_field(
    fields: &mut Fields,
    field: &Arc<str>,
    value: Value,
    fuel: &Fuel,
) -> Outcome<()> {
    if field.starts_with('_') {
        let what = format!("{field}: fields of a namespace do not begin with an underscore");
        return Err(Fault::wrong(what));
    }
    if value.can_change() {
        let what = format!("{field}: a namespace cannot hold another one, or a loop");
        return Err(Fault::wrong(what));
    }
    match names::position(fields, field, fuel)? {
        Some(at) => fields[at].1 = value,
        None => fields.push((Arc::clone(field), value)),
    }
    Ok(())
}

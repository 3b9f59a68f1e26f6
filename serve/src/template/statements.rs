//! Tokens to statements.

use std::sync::Arc;

use super::ast::{Body, Expr, FilterCall, For, MacroDef, Statement, StatementKind, Target};
use super::cursor::Cursor;
use super::error::{Fault, Outcome};
use super::expressions::{expression, filter, tuple, unconditional};
use super::lexer::{self, Kind};

/// Reads a whole template.
pub(super) fn parse(source: &str) -> Outcome<Body> {
    let mut at = Cursor::new(lexer::tokens(source)?);
    let mut parser = Parser { loops: 0 };
    let body = parser.body(&mut at, &[])?;
    match at.peek() {
        None => Ok(body),
        Some(_) => Err(at.unexpected("the end of the template")),
    }
}

struct Parser {
    /// Loops around the place that is read.
    loops: usize,
}

impl Parser {
    /// Statements up to a block that begins with one of `ends`, whose `{%` is taken, or to the end of the template.
    fn body(&mut self, at: &mut Cursor, ends: &[&str]) -> Outcome<Body> {
        let mut body = Body::new();
        loop {
            let kind = match at.next() {
                None if ends.is_empty() => return Ok(body),
                None => {
                    let what = format!("the template ends before {{% {} %}}", ends[ends.len() - 1]);
                    return Err(Fault::syntax(at.line(), what));
                }
                Some(Kind::Data(text)) => StatementKind::Data(text),
                Some(Kind::PrintBegin) => print(at)?,
                Some(Kind::BlockBegin) => {
                    if ends.iter().any(|end| at.at_name(end)) {
                        return Ok(body);
                    }
                    let line = at.line();
                    let kind = at.deeper(|at| self.statement(at))?;
                    body.push(Statement { line, kind });
                    continue;
                }
                Some(_other) => return Err(at.unexpected("text or a tag")),
            };
            let line = at.line();
            body.push(Statement { line, kind });
        }
    }

    /// A body, and the end of the block that ends it, called `end`.
    fn body_and_end(&mut self, at: &mut Cursor, end: &str) -> Outcome<Body> {
        at.expect_block_end()?;
        let body = self.body(at, &[end])?;
        at.expect_word(end)?;
        at.expect_block_end()?;
        Ok(body)
    }

    /// A body that no loop around it may be left from.
    fn closed_body(&mut self, at: &mut Cursor, end: &str) -> Outcome<Body> {
        let loops = std::mem::take(&mut self.loops);
        let body = self.body_and_end(at, end);
        self.loops = loops;
        body
    }

    fn statement(&mut self, at: &mut Cursor) -> Outcome<StatementKind> {
        let word = at.expect_name()?;
        match &*word {
            "if" => self.conditions(at),
            "for" => self.repetition(at),
            "set" => self.assignment(at),
            "macro" => self.macro_definition(at),
            "call" => self.call(at),
            "with" => self.with(at),
            "filter" => {
                let first = filter(at)?;
                let filters = filters(at, vec![first])?;
                let body = self.closed_body(at, "endfilter")?;
                Ok(StatementKind::Filter(filters, body))
            }
            "generation" => {
                let body = self.closed_body(at, "endgeneration")?;
                Ok(StatementKind::Scope(body))
            }
            "block" => self.block(at),
            "break" | "continue" => {
                if self.loops == 0 {
                    let what = format!("{{% {word} %}} outside of a loop");
                    return Err(Fault::syntax(at.line(), what));
                }
                at.expect_block_end()?;
                Ok(match &*word {
                    "break" => StatementKind::Break,
                    _continue => StatementKind::Continue,
                })
            }
            other => Err(Fault::syntax(
                at.line(),
                format!("unknown tag {other:?}; templates of other files cannot be included"),
            )),
        }
    }

    fn conditions(&mut self, at: &mut Cursor) -> Outcome<StatementKind> {
        let mut arms = Vec::new();
        loop {
            let condition = tuple(at, expression)?;
            at.expect_block_end()?;
            let body = self.body(at, &["elif", "else", "endif"])?;
            arms.push((Some(condition), body));
            if at.skip_name("elif") {
                continue;
            }
            if at.skip_name("else") {
                arms.push((None, self.body_and_end(at, "endif")?));
            } else {
                at.expect_word("endif")?;
                at.expect_block_end()?;
            }
            return Ok(StatementKind::If(arms));
        }
    }

    fn repetition(&mut self, at: &mut Cursor) -> Outcome<StatementKind> {
        let target = targets(at)?;
        at.expect_word("in")?;
        let over = tuple(at, unconditional)?;
        let condition = match at.skip_name("if") {
            true => Some(expression(at)?),
            false => None,
        };
        let recursive = at.skip_name("recursive");
        at.expect_block_end()?;
        self.loops += 1;
        let body = self.body(at, &["endfor", "else"]);
        self.loops -= 1;
        let body = body?;
        let otherwise = match at.skip_name("else") {
            true => self.body_and_end(at, "endfor")?,
            false => {
                at.expect_word("endfor")?;
                at.expect_block_end()?;
                Body::new()
            }
        };
        Ok(StatementKind::For(Arc::new(For {
            target,
            over,
            condition,
            recursive,
            body,
            otherwise,
        })))
    }

    fn assignment(&mut self, at: &mut Cursor) -> Outcome<StatementKind> {
        let target = targets(at)?;
        if at.skip_op("=") {
            let value = tuple(at, expression)?;
            at.expect_block_end()?;
            return Ok(StatementKind::Set(target, value));
        }
        let filters = filters(at, Vec::new())?;
        let body = self.closed_body(at, "endset")?;
        Ok(StatementKind::Capture(target, filters, body))
    }

    fn macro_definition(&mut self, at: &mut Cursor) -> Outcome<StatementKind> {
        let name = at.expect_name()?;
        let parameters = parameters(at)?;
        let body = self.closed_body(at, "endmacro")?;
        Ok(StatementKind::Macro(Arc::new(MacroDef {
            name,
            parameters,
            body,
        })))
    }

    fn call(&mut self, at: &mut Cursor) -> Outcome<StatementKind> {
        let parameters = match at.at_op("(") {
            true => parameters(at)?,
            false => Vec::new(),
        };
        let call = expression(at)?;
        let body = self.closed_body(at, "endcall")?;
        let definition = MacroDef {
            name: "caller".into(),
            parameters,
            body,
        };
        Ok(StatementKind::Call(Arc::new(definition), call))
    }

    fn with(&mut self, at: &mut Cursor) -> Outcome<StatementKind> {
        let mut values = Vec::new();
        while let Some(Kind::Name(_)) = at.peek() {
            let target = Target::Name(at.expect_name()?);
            at.expect_op("=")?;
            values.push((target, expression(at)?));
            if !at.skip_op(",") {
                break;
            }
        }
        let body = self.body_and_end(at, "endwith")?;
        Ok(StatementKind::With(values, body))
    }

    /// A block of a template that nothing extends stands where it is.
    fn block(&mut self, at: &mut Cursor) -> Outcome<StatementKind> {
        at.expect_name()?;
        at.expect_block_end()?;
        let loops = std::mem::take(&mut self.loops);
        let body = self.body(at, &["endblock"]);
        self.loops = loops;
        let body = body?;
        at.expect_word("endblock")?;
        if let Some(Kind::Name(_)) = at.peek() {
            at.next();
        }
        at.expect_block_end()?;
        Ok(StatementKind::Scope(body))
    }
}

fn print(at: &mut Cursor) -> Outcome<StatementKind> {
    let value = tuple(at, expression)?;
    match at.peek() {
        Some(Kind::PrintEnd) => {
            at.next();
            Ok(StatementKind::Print(value))
        }
        _other => Err(at.unexpected("the end of the expression, }}")),
    }
}

/// Further filters, each after a bar.
fn filters(at: &mut Cursor, mut filters: Vec<FilterCall>) -> Outcome<Vec<FilterCall>> {
    while at.skip_op("|") {
        filters.push(filter(at)?);
    }
    Ok(filters)
}

/// One target, or several with commas between them.
fn targets(at: &mut Cursor) -> Outcome<Target> {
    let first = target(at)?;
    if !at.at_op(",") {
        return Ok(first);
    }
    let mut all = vec![first];
    while at.skip_op(",") {
        match at.peek() {
            Some(Kind::Name(name)) if &**name != "in" => all.push(target(at)?),
            Some(Kind::Op("(")) => all.push(target(at)?),
            _end => break,
        }
    }
    Ok(Target::Tuple(all))
}

fn target(at: &mut Cursor) -> Outcome<Target> {
    if at.skip_op("(") {
        let inner = at.deeper(targets)?;
        at.expect_op(")")?;
        return Ok(inner);
    }
    let name = at.expect_name()?;
    Ok(match at.skip_op(".") {
        true => Target::Field(name, at.expect_name()?),
        false => Target::Name(name),
    })
}

/// A macro's parameters, with defaults.
fn parameters(at: &mut Cursor) -> Outcome<Vec<(Arc<str>, Option<Expr>)>> {
    at.expect_op("(")?;
    let mut all = Vec::new();
    while !at.at_op(")") {
        let name = at.expect_name()?;
        let default = match at.skip_op("=") {
            true => Some(expression(at)?),
            false => None,
        };
        all.push((name, default));
        if !at.skip_op(",") {
            break;
        }
    }
    at.expect_op(")")?;
    Ok(all)
}

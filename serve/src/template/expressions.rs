//! Tokens to expressions, with Jinja's precedence: `or`, `and`, `not`, comparisons, `+ -`, `~`, `* / // %`, `**`, signs, then
//! what follows a value (`.name`, `[item]`, calls), then filters and tests.

use std::sync::Arc;

use super::ast::{Arguments, Binary, Compare, Expr, ExprKind, FilterCall};
use super::cursor::Cursor;
use super::error::Outcome;
use super::lexer::Kind;

/// An expression, with `a if b else c`.
pub(super) fn expression(at: &mut Cursor) -> Outcome<Expr> {
    at.deeper(|at| {
        let mut value = or(at)?;
        while at.skip_name("if") {
            let condition = or(at)?;
            let otherwise = match at.skip_name("else") {
                true => Some(Box::new(expression(at)?)),
                false => None,
            };
            value = make(at, ExprKind::If(Box::new([value, condition]), otherwise))?;
        }
        Ok(value)
    })
}

/// An expression without `if` at its end: what a loop goes over.
pub(super) fn unconditional(at: &mut Cursor) -> Outcome<Expr> {
    at.deeper(or)
}

/// One expression, or several with commas between them, which are a tuple.
pub(super) fn tuple(at: &mut Cursor, item: fn(&mut Cursor) -> Outcome<Expr>) -> Outcome<Expr> {
    let first = item(at)?;
    if !at.at_op(",") {
        return Ok(first);
    }
    let mut items = vec![first];
    while at.skip_op(",") {
        if ends_tuple(at) {
            break;
        }
        items.push(item(at)?);
    }
    make(at, ExprKind::Tuple(items))
}

fn ends_tuple(at: &mut Cursor) -> bool {
    match at.peek() {
        Some(Kind::BlockEnd | Kind::PrintEnd) | None => true,
        Some(Kind::Op(op)) => matches!(*op, ")" | "="),
        Some(Kind::Name(name)) => &**name == "recursive",
        Some(_) => false,
    }
}

fn make(at: &Cursor, kind: ExprKind) -> Outcome<Expr> {
    at.placed(Expr::new(kind))
}

fn or(at: &mut Cursor) -> Outcome<Expr> {
    let mut left = and(at)?;
    while at.skip_name("or") {
        let right = and(at)?;
        left = make(at, ExprKind::Or(Box::new(left), Box::new(right)))?;
    }
    Ok(left)
}

fn and(at: &mut Cursor) -> Outcome<Expr> {
    let mut left = not(at)?;
    while at.skip_name("and") {
        let right = not(at)?;
        left = make(at, ExprKind::And(Box::new(left), Box::new(right)))?;
    }
    Ok(left)
}

fn not(at: &mut Cursor) -> Outcome<Expr> {
    if !at.at_name("not") {
        return compare(at);
    }
    at.next();
    let negated = at.deeper(not)?;
    make(at, ExprKind::Not(Box::new(negated)))
}

fn compare(at: &mut Cursor) -> Outcome<Expr> {
    let first = sum(at)?;
    let mut rest = Vec::new();
    while let Some(op) = comparison(at) {
        rest.push((op, sum(at)?));
    }
    match rest.is_empty() {
        true => Ok(first),
        false => make(at, ExprKind::Compare(Box::new(first), rest)),
    }
}

/// Takes a comparison operator if one is next.
fn comparison(at: &mut Cursor) -> Option<Compare> {
    let second_is_in =
        at.at_name("not") && matches!(at.peek_second(), Some(Kind::Name(name)) if &**name == "in");
    let op = match at.peek()? {
        Kind::Op("==") => Compare::Equal,
        Kind::Op("!=") => Compare::NotEqual,
        Kind::Op("<") => Compare::Less,
        Kind::Op("<=") => Compare::LessOrEqual,
        Kind::Op(">") => Compare::Greater,
        Kind::Op(">=") => Compare::GreaterOrEqual,
        Kind::Name(name) if &**name == "in" => Compare::In,
        Kind::Name(_) if second_is_in => {
            at.next();
            Compare::NotIn
        }
        _other => return None,
    };
    at.next();
    Some(op)
}

/// Takes one of some binary operators.
fn binary(at: &mut Cursor, among: &[(&str, Binary)]) -> Option<Binary> {
    let found = among.iter().find(|(text, _)| at.at_op(text));
    let op = found.map(|(_, op)| *op);
    if op.is_some() {
        at.next();
    }
    op
}

fn sum(at: &mut Cursor) -> Outcome<Expr> {
    let mut left = concat(at)?;
    while let Some(op) = binary(at, &[("+", Binary::Add), ("-", Binary::Subtract)]) {
        let right = concat(at)?;
        left = make(at, ExprKind::Binary(op, Box::new(left), Box::new(right)))?;
    }
    Ok(left)
}

fn concat(at: &mut Cursor) -> Outcome<Expr> {
    let first = product(at)?;
    if !at.at_op("~") {
        return Ok(first);
    }
    let mut parts = vec![first];
    while at.skip_op("~") {
        parts.push(product(at)?);
    }
    make(at, ExprKind::Concat(parts))
}

fn product(at: &mut Cursor) -> Outcome<Expr> {
    let operators = [
        ("*", Binary::Multiply),
        ("/", Binary::Divide),
        ("//", Binary::FloorDivide),
        ("%", Binary::Remainder),
    ];
    let mut left = power(at)?;
    while let Some(op) = binary(at, &operators) {
        let right = power(at)?;
        left = make(at, ExprKind::Binary(op, Box::new(left), Box::new(right)))?;
    }
    Ok(left)
}

fn power(at: &mut Cursor) -> Outcome<Expr> {
    let mut left = signed(at, true)?;
    while at.skip_op("**") {
        let right = signed(at, true)?;
        let kind = ExprKind::Binary(Binary::Power, Box::new(left), Box::new(right));
        left = make(at, kind)?;
    }
    Ok(left)
}

fn signed(at: &mut Cursor, with_filters: bool) -> Outcome<Expr> {
    let is_negative = at.at_op("-");
    let mut value = if is_negative || at.at_op("+") {
        at.next();
        let inner = Box::new(at.deeper(|at| signed(at, false))?);
        let kind = match is_negative {
            true => ExprKind::Negate(inner),
            false => ExprKind::Positive(inner),
        };
        make(at, kind)?
    } else {
        primary(at)?
    };
    value = postfix(at, value)?;
    match with_filters {
        true => filters_and_tests(at, value),
        false => Ok(value),
    }
}

fn primary(at: &mut Cursor) -> Outcome<Expr> {
    if at.at_op("(") {
        return parenthesised(at);
    }
    if at.at_op("[") {
        return list(at);
    }
    if at.at_op("{") {
        return dict(at);
    }
    let is_value = matches!(
        at.peek(),
        Some(Kind::Name(_) | Kind::Text(_) | Kind::Int(_) | Kind::Float(_))
    );
    if !is_value {
        return Err(at.unexpected("a value"));
    }
    let kind = match at.next() {
        Some(Kind::Name(name)) => named(name),
        Some(Kind::Int(number)) => ExprKind::Int(number),
        Some(Kind::Float(number)) => ExprKind::Float(number),
        Some(Kind::Text(mut text)) => {
            // Strings that follow each other are one.
            while let Some(Kind::Text(more)) = at.peek() {
                text.push_str(more);
                at.next();
            }
            ExprKind::Text(text.into())
        }
        _other => return Err(at.unexpected("a value")),
    };
    make(at, kind)
}

fn named(name: Arc<str>) -> ExprKind {
    match &*name {
        "true" | "True" => ExprKind::Bool(true),
        "false" | "False" => ExprKind::Bool(false),
        "none" | "None" => ExprKind::None,
        _variable => ExprKind::Name(name),
    }
}

fn parenthesised(at: &mut Cursor) -> Outcome<Expr> {
    at.expect_op("(")?;
    let value = match at.at_op(")") {
        true => make(at, ExprKind::Tuple(Vec::new()))?,
        false => tuple(at, expression)?,
    };
    at.expect_op(")")?;
    Ok(value)
}

fn list(at: &mut Cursor) -> Outcome<Expr> {
    at.expect_op("[")?;
    let mut items = Vec::new();
    while !at.at_op("]") {
        items.push(expression(at)?);
        if !at.skip_op(",") {
            break;
        }
    }
    at.expect_op("]")?;
    make(at, ExprKind::List(items))
}

fn dict(at: &mut Cursor) -> Outcome<Expr> {
    at.expect_op("{")?;
    let mut entries = Vec::new();
    while !at.at_op("}") {
        let key = expression(at)?;
        at.expect_op(":")?;
        entries.push((key, expression(at)?));
        if !at.skip_op(",") {
            break;
        }
    }
    at.expect_op("}")?;
    make(at, ExprKind::Dict(entries))
}

/// `.name`, `[item]`, `[a:b:c]` and calls behind a value.
fn postfix(at: &mut Cursor, mut value: Expr) -> Outcome<Expr> {
    loop {
        value = if at.skip_op(".") {
            let kind = match at.peek() {
                Some(Kind::Int(index)) => {
                    let index = *index;
                    at.next();
                    let index = make(at, ExprKind::Int(index))?;
                    ExprKind::Item(Box::new(value), Box::new(index))
                }
                _name => ExprKind::Attribute(Box::new(value), at.expect_name()?),
            };
            make(at, kind)?
        } else if at.skip_op("[") {
            let kind = subscript(at, value)?;
            at.expect_op("]")?;
            make(at, kind)?
        } else if at.at_op("(") {
            let arguments = arguments(at)?;
            make(at, ExprKind::Call(Box::new(value), arguments))?
        } else {
            return Ok(value);
        };
    }
}

fn subscript(at: &mut Cursor, of: Expr) -> Outcome<ExprKind> {
    let mut bounds = [None, None, None];
    let mut colons = 0;
    loop {
        if at.skip_op(":") {
            colons += 1;
            if colons > 2 {
                return Err(at.unexpected("at most two colons"));
            }
        } else if at.at_op("]") || bounds[colons].is_some() {
            break;
        } else {
            bounds[colons] = Some(Box::new(tuple(at, expression)?));
        }
    }
    let [first, second, third] = bounds;
    match (colons, first) {
        (0, Some(item)) => Ok(ExprKind::Item(Box::new(of), item)),
        (0, None) => Err(at.unexpected("an index")),
        (_, first) => Ok(ExprKind::Slice(Box::new(of), [first, second, third])),
    }
}

/// Arguments in parentheses.
pub(super) fn arguments(at: &mut Cursor) -> Outcome<Arguments> {
    at.expect_op("(")?;
    let mut arguments = Arguments::default();
    while !at.at_op(")") {
        if at.at_op("*") || at.at_op("**") {
            return Err(at.unexpected("an argument; unpacked ones are not supported"));
        }
        let is_named = matches!(at.peek_second(), Some(Kind::Op("=")));
        match is_named {
            true => {
                let name = at.expect_name()?;
                at.expect_op("=")?;
                arguments.named.push((name, expression(at)?));
            }
            false if arguments.named.is_empty() => arguments.positional.push(expression(at)?),
            false => return Err(at.unexpected("a name, as after other named arguments")),
        }
        if !at.skip_op(",") {
            break;
        }
    }
    at.expect_op(")")?;
    Ok(arguments)
}

fn filters_and_tests(at: &mut Cursor, mut value: Expr) -> Outcome<Expr> {
    loop {
        value = if at.skip_op("|") {
            let call = Box::new(filter(at)?);
            make(at, ExprKind::Filter(Box::new(value), call))?
        } else if at.skip_name("is") {
            test(at, value)?
        } else if at.at_op("(") {
            let arguments = arguments(at)?;
            make(at, ExprKind::Call(Box::new(value), arguments))?
        } else {
            return Ok(value);
        };
    }
}

/// A filter's name and arguments.
pub(super) fn filter(at: &mut Cursor) -> Outcome<FilterCall> {
    let name = at.expect_name()?;
    let arguments = match at.at_op("(") {
        true => arguments(at)?,
        false => Arguments::default(),
    };
    Ok(FilterCall { name, arguments })
}

fn test(at: &mut Cursor, value: Expr) -> Outcome<Expr> {
    let is_negated = at.skip_name("not");
    let name = at.expect_name()?;
    let arguments = test_arguments(at)?;
    let call = Box::new(FilterCall { name, arguments });
    let result = make(at, ExprKind::Test(Box::new(value), call))?;
    match is_negated {
        true => make(at, ExprKind::Not(Box::new(result))),
        false => Ok(result),
    }
}

/// Arguments in parentheses, or one value without.
fn test_arguments(at: &mut Cursor) -> Outcome<Arguments> {
    if at.at_op("(") {
        return arguments(at);
    }
    let has_one = match at.peek() {
        Some(Kind::Name(name)) => {
            !matches!(&**name, "else" | "or" | "and" | "is" | "if" | "in" | "not")
        }
        Some(Kind::Text(_) | Kind::Int(_) | Kind::Float(_)) => true,
        Some(Kind::Op(op)) => matches!(*op, "[" | "{"),
        _other => false,
    };
    let mut arguments = Arguments::default();
    if has_one {
        let value = primary(at)?;
        arguments.positional.push(postfix(at, value)?);
    }
    Ok(arguments)
}

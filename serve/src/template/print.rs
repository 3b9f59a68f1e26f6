//! Values as text: Python's `str` and `repr`.

use std::sync::Arc;

use super::error::Outcome;
use super::fuel::{Fuel, Writer};
use super::value::{Global, ListKind, Value};

/// Digits of a float that are worth a unit: each takes a division of a long number.
pub(super) const DIGITS: usize = 8;

/// `str(value)`
pub(super) fn text(value: &Value, fuel: &Fuel) -> Outcome<Arc<str>> {
    if let Value::Text(text) = value {
        return Ok(Arc::clone(text));
    }
    let mut out = Writer::new(fuel);
    write(value, &mut out)?;
    Ok(out.finish().into())
}

/// Writes `str(value)`.
pub(super) fn write(value: &Value, out: &mut Writer<'_>) -> Outcome<()> {
    match value {
        Value::Undefined(_) => Ok(()),
        Value::Text(text) => out.push(text),
        other => write_repr(other, out),
    }
}

/// Writes `repr(value)`.
pub(super) fn write_repr(value: &Value, out: &mut Writer<'_>) -> Outcome<()> {
    match value {
        Value::Undefined(_) => out.push("Undefined"),
        Value::None => out.push("None"),
        Value::Bool(true) => out.push("True"),
        Value::Bool(false) => out.push("False"),
        Value::Int(number) => out.push(&number.to_string()),
        Value::Float(number) => out.push(&float(*number)),
        Value::Text(text) => write_quoted(text, out),
        Value::List(list) => {
            let (begin, end) = match list.kind {
                ListKind::List | ListKind::Iterator => ("[", "]"),
                ListKind::Tuple => ("(", ")"),
            };
            out.push(begin)?;
            for (index, item) in list.items.iter().enumerate() {
                if index > 0 {
                    out.push(", ")?;
                }
                write_repr(item, out)?;
            }
            if list.kind == ListKind::Tuple && list.items.len() == 1 {
                out.push(",")?;
            }
            out.push(end)
        }
        Value::Dict(dict) => {
            let entries = dict.entries.iter();
            write_entries(entries.map(|(key, value)| (key.clone(), value)), out)
        }
        Value::Namespace(fields) => {
            out.push("<Namespace ")?;
            let fields = fields.borrow();
            let fields = fields.iter();
            let entries = fields.map(|(key, value)| (Value::Text(Arc::clone(key)), value));
            write_entries(entries, out)?;
            out.push(">")
        }
        Value::Macro(it) => out.push(&format!("<Macro '{}'>", it.definition.name)),
        Value::Loop(it) => {
            let (at, all) = (it.index.get() + 1, it.items.items.len());
            out.push(&format!("<LoopContext {at}/{all}>"))
        }
        Value::Global(global) => out.push(match global {
            Global::Range => "<function range>",
            Global::Dict => "<class 'dict'>",
            Global::Namespace => "<class 'namespace'>",
            Global::Raise => "<function raise_exception>",
            Global::Now => "<function strftime_now>",
        }),
        Value::Method(method) => {
            let (of, name) = &**method;
            let of = of.type_name();
            out.push(&format!("<built-in method {name} of {of} object>"))
        }
    }
}

fn write_entries<'a>(
    entries: impl Iterator<Item = (Value, &'a Value)>,
    out: &mut Writer<'_>,
) -> Outcome<()> {
    out.push("{")?;
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            out.push(", ")?;
        }
        write_repr(&key, out)?;
        out.push(": ")?;
        write_repr(value, out)?;
    }
    out.push("}")
}

/// A string in quotes: single ones, unless it has those and no double ones.
fn write_quoted(text: &str, out: &mut Writer<'_>) -> Outcome<()> {
    let quote = match text.contains('\'') && !text.contains('"') {
        true => '"',
        false => '\'',
    };
    let mut quoted = String::new();
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c == quote => quoted.extend(['\\', c]),
            c if is_printable(c) => quoted.push(c),
            c if (c as u32) < 0x100 => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x1_0000 => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push_str(&format!("\\U{:08x}", c as u32)),
        }
        // Pieces, so that what was not paid for stays small.
        if quoted.len() > 4096 {
            out.push(&quoted)?;
            quoted.clear();
        }
    }
    quoted.push(quote);
    out.push(&quoted)
}

/// Whether Python shows a character as it is: no control, format, surrogate, private or separating one but the space. Characters
/// that no version of Unicode has assigned are taken for printable.
fn is_printable(c: char) -> bool {
    let is_format = matches!(c,
        '\u{AD}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}' | '\u{890}'..='\u{891}' | '\u{8E2}'
        | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}' | '\u{110BD}' | '\u{110CD}' | '\u{13430}'..='\u{1343F}' | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E007F}');
    let is_private = matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || is_format || is_private)
}

/// A number with so many digits behind the point, all of which are exact and paid for.
pub(super) fn digits(number: f64, precision: usize, fuel: &Fuel) -> Outcome<String> {
    let before = number.abs().log10().clamp(0.0, 310.0) as usize;
    fuel.spend((before + precision) / DIGITS)?;
    Ok(format!("{number:.precision$}"))
}

/// `repr` of a float: the shortest digits that are read back as the same number, with an exponent where that is large or small.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = number.to_string();
        return match plain.contains('.') {
            true => plain,
            false => plain + ".0",
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

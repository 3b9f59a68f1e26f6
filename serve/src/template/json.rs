//! `tojson`: Python's `json.dumps`, with its separators, its indent and its sorted keys.

use std::sync::Arc;

use super::error::{Fault, Outcome};
use super::fuel::{Fuel, Writer};
use super::operate;
use super::print;
use super::value::Value;

/// How JSON is to be written.
pub(super) struct Style {
    pub(super) ascii: bool,
    /// What lines are indented by at each level; none for one line.
    pub(super) indent: Option<Arc<str>>,
    pub(super) between_items: Arc<str>,
    pub(super) behind_key: Arc<str>,
    pub(super) sorted: bool,
}

/// Writes a value.
pub(super) fn dump(value: &Value, style: &Style, fuel: &Fuel) -> Outcome<Value> {
    let mut out = Writer::new(fuel);
    write(value, style, 0, &mut out, fuel)?;
    Ok(Value::text(out.finish()))
}

fn write(
    value: &Value,
    style: &Style,
    level: usize,
    out: &mut Writer<'_>,
    fuel: &Fuel,
) -> Outcome<()> {
    match value {
        Value::None => out.push("null"),
        Value::Bool(true) => out.push("true"),
        Value::Bool(false) => out.push("false"),
        Value::Int(number) => out.push(&number.to_string()),
        Value::Float(number) => out.push(&float(*number)),
        Value::Text(text) => write_string(text, style.ascii, out),
        Value::List(list) => {
            if list.items.is_empty() {
                return out.push("[]");
            }
            out.push("[")?;
            for (index, item) in list.items.iter().enumerate() {
                begin_item(style, index, level + 1, out)?;
                write(item, style, level + 1, out, fuel)?;
            }
            begin_line(style, level, out)?;
            out.push("]")
        }
        Value::Dict(dict) => {
            if dict.entries.is_empty() {
                return out.push("{}");
            }
            out.push("{")?;
            fuel.look(size_of::<&(Value, Value)>() * dict.entries.len())?;
            let mut entries: Vec<&(Value, Value)> = dict.entries.iter().collect();
            if style.sorted {
                entries = operate::sorted(entries, &|entry| &entry.0, fuel)?;
            }
            for (index, (key, value)) in entries.into_iter().enumerate() {
                begin_item(style, index, level + 1, out)?;
                match key {
                    Value::Text(key) => write_string(key, style.ascii, out)?,
                    key => write_string(&key_text(key)?, style.ascii, out)?,
                }
                out.push(&style.behind_key)?;
                write(value, style, level + 1, out, fuel)?;
            }
            begin_line(style, level, out)?;
            out.push("}")
        }
        other => Err(Fault::wrong(format!(
            "tojson: a value of type {} is not JSON serializable",
            other.type_name()
        ))),
    }
}

fn begin_item(style: &Style, index: usize, level: usize, out: &mut Writer<'_>) -> Outcome<()> {
    if index > 0 {
        out.push(&style.between_items)?;
    }
    begin_line(style, level, out)
}

fn begin_line(style: &Style, level: usize, out: &mut Writer<'_>) -> Outcome<()> {
    match &style.indent {
        Some(indent) => {
            out.push("\n")?;
            out.repeat(indent, level)
        }
        None => Ok(()),
    }
}

/// A key that is no string, which JSON has as one.
fn key_text(key: &Value) -> Outcome<String> {
    Ok(match key {
        Value::None => "null".into(),
        Value::Bool(is) => is.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => float(*number),
        other => {
            let what = format!("tojson: a key of type {}", other.type_name());
            return Err(Fault::wrong(what));
        }
    })
}

fn float(number: f64) -> String {
    match number {
        number if number.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        finite => print::float(finite),
    }
}

fn write_string(text: &str, ascii: bool, out: &mut Writer<'_>) -> Outcome<()> {
    out.push("\"")?;
    let mut from = 0;
    for (at, c) in text.char_indices() {
        let escaped = match c {
            '"' => "\\\"".into(),
            '\\' => "\\\\".into(),
            '\n' => "\\n".into(),
            '\r' => "\\r".into(),
            '\t' => "\\t".into(),
            '\x0C' => "\\f".into(),
            '\x08' => "\\b".into(),
            c if (c as u32) < 0x20 || (ascii && c > '~') => {
                let mut units = [0; 2];
                let units = c.encode_utf16(&mut units).iter();
                units
                    .map(|unit| format!("\\u{unit:04x}"))
                    .collect::<String>()
            }
            _plain => continue,
        };
        out.push(&text[from..at])?;
        out.push(&escaped)?;
        from = at + c.len_utf8();
    }
    out.push(&text[from..])?;
    out.push("\"")
}

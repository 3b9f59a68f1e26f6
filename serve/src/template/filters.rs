//! Filters: what stands behind `|`. Those of lists are in `sequences.rs`.

use std::sync::Arc;

use super::arguments::{Given, as_count, as_int, as_text};
use super::error::{Fault, Outcome};
use super::fuel::{Fuel, Writer};
use super::json::{self, Style};
use super::methods;
use super::operate;
use super::percent;
use super::print;
use super::renderer::Renderer;
use super::strings;
use super::value::{ListKind, Value};

impl Renderer<'_> {
    /// `value | name(given)`
    pub(super) fn filter(&self, name: &str, value: Value, given: Given) -> Outcome<Value> {
        self.fuel.spend(1)?;
        match name {
            "tojson" => self.to_json(&value, given),
            "string" => {
                given.none(name)?;
                Ok(Value::Text(print::text(&value, &self.fuel)?))
            }
            "safe" => given.none(name).map(|()| value),
            "default" | "d" => {
                let [default, boolean] = given.bind(name, ["default_value", "boolean"])?;
                let is_missing = match boolean.is_some_and(|boolean| boolean.is_true()) {
                    true => !value.is_true(),
                    false => matches!(value, Value::Undefined(_)),
                };
                let default = default.unwrap_or_else(|| Value::text(""));
                Ok(if is_missing { default } else { value })
            }
            "length" | "count" => {
                given.none(name)?;
                length(&value, &self.fuel)
            }
            "items" => {
                given.none(name)?;
                match &value {
                    Value::Dict(dict) => methods::items(dict, &self.fuel),
                    Value::Undefined(_) => Value::list(ListKind::Iterator, Vec::new()),
                    other => {
                        let found = other.type_name();
                        Err(Fault::wrong(format!(
                            "items: found a {found}, expected a dict"
                        )))
                    }
                }
            }
            "attr" => {
                let attribute = as_text(&given.one(name, "name")?, name)?;
                match &value {
                    Value::Dict(_) if !methods::exists(&value, &attribute) => {
                        Ok(Value::Undefined(attribute))
                    }
                    value => self.attribute(value, &attribute),
                }
            }
            "abs" | "int" | "float" | "round" => number(name, &value, given, &self.fuel),
            "trim" | "upper" | "lower" | "capitalize" | "title" | "replace" | "indent"
            | "center" | "truncate" | "wordcount" | "escape" | "e" | "forceescape" | "format" => {
                self.text_filter(name, &value, given)
            }
            name => self.sequence_filter(name, &value, given),
        }
    }

    fn to_json(&self, value: &Value, given: Given) -> Outcome<Value> {
        let parameters = ["ensure_ascii", "indent", "separators", "sort_keys"];
        let [ascii, indent, separators, sorted] = given.bind("tojson", parameters)?;
        let indent = match indent {
            None | Some(Value::None) => None,
            Some(Value::Text(indent)) => Some(indent),
            Some(width) => {
                let width = as_count(&width, "tojson")?;
                let mut indent = Writer::new(&self.fuel);
                indent.repeat(" ", width)?;
                Some(indent.finish().into())
            }
        };
        let usual: (Arc<str>, Arc<str>) = match indent {
            Some(_) => (",".into(), ": ".into()),
            None => (", ".into(), ": ".into()),
        };
        let (between_items, behind_key) = match separators {
            None | Some(Value::None) => usual,
            Some(Value::List(pair)) if pair.items.len() == 2 => (
                as_text(&pair.items[0], "tojson")?,
                as_text(&pair.items[1], "tojson")?,
            ),
            Some(other) => {
                let found = other.type_name();
                let what = format!("tojson: separators: found a {found}, expected a pair of str");
                return Err(Fault::wrong(what));
            }
        };
        let is = |given: Option<Value>| given.is_some_and(|given| given.is_true());
        let style = Style {
            ascii: is(ascii),
            indent,
            between_items,
            behind_key,
            sorted: is(sorted),
        };
        json::dump(value, &style, &self.fuel)
    }

    /// Filters that take their value as text.
    fn text_filter(&self, name: &str, value: &Value, given: Given) -> Outcome<Value> {
        let text = print::text(value, &self.fuel)?;
        self.fuel.bytes(2 * text.len())?;
        match name {
            "trim" => {
                let [chars] = given.bind(name, ["chars"])?;
                let chars = chars.filter(|chars| !matches!(chars, Value::None));
                let chars = chars.map(|chars| as_text(&chars, name)).transpose()?;
                strings::stripped(&text, "strip", chars.as_deref(), &self.fuel).map(Value::text)
            }
            "upper" | "lower" | "capitalize" => {
                given.none(name)?;
                Ok(Value::text(strings::cased(&text, name)))
            }
            "title" => {
                given.none(name)?;
                Ok(Value::text(title(&text)))
            }
            "replace" => {
                let [old, new, count] = given.bind(name, ["old", "new", "count"])?;
                let (Some(old), Some(new)) = (old, new) else {
                    return Err(Fault::wrong("replace: an argument is not given"));
                };
                let (old, new) = (
                    print::text(&old, &self.fuel)?,
                    print::text(&new, &self.fuel)?,
                );
                let most = match count {
                    None | Some(Value::None) => usize::MAX,
                    Some(count) => as_count(&count, name)?,
                };
                strings::replaced(&text, &old, &new, most, &self.fuel).map(Value::text)
            }
            "indent" => self.indent(&text, given),
            "center" => {
                let [width] = given.bind(name, ["width"])?;
                let given = Given::of(vec![width.unwrap_or(Value::Int(80))]);
                strings::call(&text, "center", given, &self.fuel)
            }
            "truncate" => truncate(&text, given, &self.fuel),
            "wordcount" => {
                let is_inside = |c: char| c.is_alphanumeric() || c == '_';
                let words = text
                    .split(|c| !is_inside(c))
                    .filter(|word| !word.is_empty());
                Ok(Value::Int(words.count() as i128))
            }
            "format" => {
                let values = match given.named.is_empty() {
                    true => Value::list(ListKind::Tuple, given.positional)?,
                    false => {
                        let named = given.named.into_iter();
                        Value::dict(
                            named
                                .map(|(name, value)| (Value::Text(name), value))
                                .collect(),
                        )?
                    }
                };
                percent::format(&text, &values, &self.fuel)
            }
            _escape => {
                given.none(name)?;
                self.escape(&text)
            }
        }
    }

    fn escape(&self, text: &str) -> Outcome<Value> {
        let mut out = Writer::new(&self.fuel);
        let special = ['&', '<', '>', '\'', '"'];
        for part in text.split_inclusive(special) {
            let plain = part.trim_end_matches(special);
            out.push(plain)?;
            match &part[plain.len()..] {
                "&" => out.push("&amp;")?,
                "<" => out.push("&lt;")?,
                ">" => out.push("&gt;")?,
                "'" => out.push("&#39;")?,
                "\"" => out.push("&#34;")?,
                _nothing => {}
            }
        }
        Ok(Value::text(out.finish()))
    }

    fn indent(&self, text: &str, given: Given) -> Outcome<Value> {
        let [width, first, blank] = given.bind("indent", ["width", "first", "blank"])?;
        let indentation: Arc<str> = match width {
            Some(Value::Text(indentation)) => indentation,
            width => {
                let width = width.map_or(Ok(4), |width| as_count(&width, "indent"))?;
                let mut out = Writer::new(&self.fuel);
                out.repeat(" ", width)?;
                out.finish().into()
            }
        };
        let is = |given: Option<Value>| given.is_some_and(|given| given.is_true());
        let (first, blank) = (is(first), is(blank));
        let mut out = Writer::new(&self.fuel);
        for (at, line) in text.split('\n').enumerate() {
            if at > 0 {
                out.push("\n")?;
            }
            let is_indented = if at == 0 {
                first
            } else {
                blank || !line.is_empty()
            };
            if is_indented {
                out.push(&indentation)?;
            }
            out.push(line.strip_suffix('\r').unwrap_or(line))?;
        }
        Ok(Value::text(out.finish()))
    }
}

fn length(value: &Value, fuel: &Fuel) -> Outcome<Value> {
    let length = match value {
        Value::Undefined(_) => 0,
        Value::Text(text) => {
            fuel.bytes(text.len())?;
            text.chars().count()
        }
        Value::List(list) => list.items.len(),
        Value::Dict(dict) => dict.entries.len(),
        Value::Loop(it) => it.items.items.len(),
        other => {
            let found = other.type_name();
            return Err(Fault::wrong(format!(
                "a value of type {found} has no length"
            )));
        }
    };
    Ok(Value::Int(length as i128))
}

/// Words with a large letter, where a word begins behind white space, a hyphen or a bracket.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    for c in text.chars() {
        match begins {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
        begins = c.is_whitespace() || matches!(c, '-' | '(' | '{' | '[' | '<');
    }
    out
}

fn truncate(text: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    let parameters = ["length", "killwords", "end", "leeway"];
    let [length, kill, end, leeway] = given.bind("truncate", parameters)?;
    let length = length.map_or(Ok(255), |n| as_count(&n, "truncate"))?;
    let end = end.map_or(Ok("...".into()), |end| as_text(&end, "truncate"))?;
    let leeway = match leeway {
        None | Some(Value::None) => 5,
        Some(leeway) => as_count(&leeway, "truncate")?,
    };
    fuel.look(2 * end.len())?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(Value::text(text));
    }
    let kept = length.saturating_sub(end.chars().count());
    let cut: String = text.chars().take(kept).collect();
    let cut = match kill.is_some_and(|kill| kill.is_true()) {
        true => &cut,
        false => cut.rsplit_once(' ').map_or(&*cut, |(before, _)| before),
    };
    Ok(Value::text(format!("{cut}{end}")))
}

fn number(name: &str, value: &Value, given: Given, fuel: &Fuel) -> Outcome<Value> {
    if let Value::Text(text) = value {
        fuel.bytes(2 * text.len())?;
    }
    match name {
        "abs" => {
            given.none(name)?;
            match value.as_float() {
                Some(number) if number < 0.0 => operate::negate(value, true),
                _positive => operate::negate(value, false),
            }
        }
        "float" => {
            let [default] = given.bind(name, ["default"])?;
            let parsed = match value.defined()? {
                Value::Text(text) => text.trim().replace('_', "").parse().ok(),
                other => other.as_float(),
            };
            let default = default.unwrap_or(Value::Float(0.0));
            Ok(parsed.map_or(default, Value::Float))
        }
        "int" => {
            let [default, base] = given.bind(name, ["default", "base"])?;
            let base = base.map_or(Ok(10), |base| as_count(&base, name))?;
            let radix = u32::try_from(base)
                .ok()
                .filter(|base| (2..=36).contains(base));
            let parsed = match value.defined()? {
                Value::Text(text) => {
                    let clean = text.trim().replace('_', "");
                    let whole = radix.and_then(|radix| i128::from_str_radix(&clean, radix).ok());
                    whole.or_else(|| clean.parse::<f64>().ok().and_then(truncated))
                }
                Value::Float(number) => truncated(*number),
                other => other.as_int(),
            };
            Ok(parsed.map_or(default.unwrap_or(Value::Int(0)), Value::Int))
        }
        _round => {
            let [precision, method] = given.bind(name, ["precision", "method"])?;
            let precision = precision.map_or(Ok(0), |digits| as_int(&digits, name))?;
            let method = method.map_or(Ok("common".into()), |method| as_text(&method, name))?;
            let number = value.as_float().ok_or_else(|| {
                let found = value.type_name();
                Fault::wrong(format!("round: found a {found}, expected a number"))
            })?;
            let precision = i32::try_from(precision).unwrap_or(0);
            let factor = 10f64.powi(precision);
            Ok(match &*method {
                "ceil" => Value::Float((number * factor).ceil() / factor),
                "floor" => Value::Float((number * factor).floor() / factor),
                _common if value.as_int().is_some() && precision >= 0 => value.clone(),
                // Digits of the exact value, halves to even, as Python rounds.
                _common if (0..=300).contains(&precision) => {
                    let digits = print::digits(number, precision as usize, fuel)?;
                    Value::Float(digits.parse().unwrap_or(number))
                }
                _common => Value::Float((number * factor).round_ties_even() / factor),
            })
        }
    }
}

fn truncated(number: f64) -> Option<i128> {
    number.is_finite().then_some(number.trunc() as i128)
}

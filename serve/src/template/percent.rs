//! `"%s of %d" % values`: Python's printf, and the same conversions where `format` asks for them.

use super::error::{Fault, Outcome};
use super::fuel::{Fuel, Writer};
use super::print;
use super::value::{ListKind, Value};

/// The widest field that is filled.
const WIDEST: usize = 10_000;

/// Fills the fields of a format.
pub(super) fn format(format: &str, values: &Value, fuel: &Fuel) -> Outcome<Value> {
    fuel.bytes(2 * format.len())?;
    let mut out = Writer::new(fuel);
    let list = match values {
        Value::List(list) if list.kind == ListKind::Tuple => list.items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut list = list.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push(&rest[..at])?;
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push("%")?;
            rest = after;
            continue;
        }
        let mut named = None;
        if let Some(after) = rest.strip_prefix('(') {
            let end = after.find(')').ok_or_else(|| bad(format))?;
            named = Some(&after[..end]);
            rest = &after[end + 1..];
        }
        let (spec, after) = Spec::parse(rest).ok_or_else(|| bad(format))?;
        rest = after;
        let value = match named {
            None => list.next().cloned(),
            Some(name) => super::operate::item(values, &Value::text(name), fuel)?,
        };
        let missing = || Fault::wrong(format!("not enough values for the format {format:?}"));
        spec.write(&value.ok_or_else(missing)?, &mut out, fuel)?;
    }
    out.push(rest)?;
    let is_used = list.next().is_none() || matches!(values, Value::Dict(_));
    match is_used {
        true => Ok(Value::text(out.finish())),
        false => Err(Fault::wrong(format!(
            "too many values for the format {format:?}"
        ))),
    }
}

fn bad(format: &str) -> Fault {
    Fault::wrong(format!(
        "the format {format:?} has a field that is not understood"
    ))
}

/// How one field is written.
pub(super) struct Spec {
    left: bool,
    plus: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

impl Spec {
    /// Reads flags, width, precision and conversion, and gives what follows.
    fn parse(text: &str) -> Option<(Spec, &str)> {
        let flags = text.len() - text.trim_start_matches(['-', '+', ' ', '0', '#']).len();
        let (flags, rest) = text.split_at(flags);
        let (width, rest) = number(rest)?;
        let (precision, rest) = match rest.strip_prefix('.') {
            Some(rest) => number(rest).map(|(n, rest)| (Some(n.unwrap_or(0)), rest))?,
            None => (None, rest),
        };
        let conversion = rest.chars().next()?;
        let spec = Spec {
            left: flags.contains('-'),
            plus: flags.contains('+'),
            zero: flags.contains('0'),
            width: width.unwrap_or(0),
            precision,
            conversion,
        };
        Some((spec, &rest[conversion.len_utf8()..]))
    }

    fn write(&self, value: &Value, out: &mut Writer<'_>, fuel: &Fuel) -> Outcome<()> {
        let text = self.convert(value, fuel)?;
        let length = text.chars().count();
        let fill = self.width.saturating_sub(length);
        if self.left {
            out.push(&text)?;
            return out.repeat(" ", fill);
        }
        let is_number = matches!(
            self.conversion,
            'd' | 'i' | 'u' | 'f' | 'F' | 'e' | 'g' | 'x' | 'X'
        );
        if self.zero && is_number {
            let sign = text.len() - text.trim_start_matches(['-', '+']).len();
            out.push(&text[..sign])?;
            out.repeat("0", fill)?;
            return out.push(&text[sign..]);
        }
        out.repeat(" ", fill)?;
        out.push(&text)
    }

    fn convert(&self, value: &Value, fuel: &Fuel) -> Outcome<String> {
        let wrong = || {
            let (conversion, found) = (self.conversion, value.type_name());
            Fault::wrong(format!("%{conversion} with a value of type {found}"))
        };
        let signed = |text: String| match self.plus && !text.starts_with('-') {
            true => format!("+{text}"),
            false => text,
        };
        let as_float = || value.as_float().ok_or_else(wrong);
        let precision = self.precision.unwrap_or(6);
        Ok(match self.conversion {
            's' | 'r' | 'a' => {
                let mut text = Writer::new(fuel);
                match self.conversion {
                    's' => print::write(value, &mut text)?,
                    _repr => print::write_repr(value, &mut text)?,
                }
                let text = text.finish();
                match self.precision {
                    Some(most) => text.chars().take(most).collect(),
                    None => text,
                }
            }
            'd' | 'i' | 'u' => {
                let truncated = value.as_float().map(|number| number.trunc() as i128);
                let int = value.as_int().or(truncated).ok_or_else(wrong)?;
                signed(int.to_string())
            }
            'x' => format!("{:x}", value.as_int().ok_or_else(wrong)?),
            'X' => format!("{:X}", value.as_int().ok_or_else(wrong)?),
            'c' => {
                let text = print::text(value, fuel)?;
                fuel.bytes(text.len())?;
                text.to_string()
            }
            'f' | 'F' => signed(print::digits(as_float()?, precision, fuel)?),
            'e' => {
                fuel.spend(precision / print::DIGITS)?;
                let text = format!("{:.precision$e}", as_float()?);
                let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let exponent: i32 = exponent.parse().unwrap_or(0);
                let sign = if exponent < 0 { '-' } else { '+' };
                signed(format!("{digits}e{sign}{:02}", exponent.abs()))
            }
            _unknown => return Err(wrong()),
        })
    }
}

/// A number of at most [`WIDEST`], if there is one.
fn number(text: &str) -> Option<(Option<usize>, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    match digits.is_empty() {
        true => Some((None, rest)),
        false => {
            let number = digits.parse().ok().filter(|n| *n <= WIDEST)?;
            Some((Some(number), rest))
        }
    }
}

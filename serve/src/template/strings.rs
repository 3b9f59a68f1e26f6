//! Methods of Python's strings.

use std::sync::Arc;

use super::arguments::{Given, as_count, as_int, as_text};
use super::error::{Fault, Outcome};
use super::fuel::{Fuel, Writer};
use super::names;
use super::print;
use super::value::{ListKind, Value};

/// Their names.
pub(super) const METHODS: [&str; 41] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isspace",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
    "encode",
    "expandtabs",
];

/// Calls a method.
pub(super) fn call(text: &Arc<str>, name: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    fuel.bytes(text.len())?;
    match name {
        "upper" | "lower" | "casefold" | "capitalize" | "title" | "swapcase" => {
            given.none(name)?;
            fuel.bytes(2 * text.len())?;
            Ok(Value::text(cased(text, name)))
        }
        "isalnum" | "isalpha" | "isascii" | "isdecimal" | "isdigit" | "islower" | "isnumeric"
        | "isspace" | "isupper" => {
            given.none(name)?;
            Ok(Value::Bool(is_of(text, name)))
        }
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = given.bind(name, ["chars"])?;
            let chars = chars.filter(|chars| !matches!(chars, Value::None));
            let chars = chars.map(|chars| as_text(&chars, name)).transpose()?;
            stripped(text, name, chars.as_deref(), fuel).map(Value::text)
        }
        "startswith" | "endswith" => {
            let [affix] = given.bind(name, ["prefix"])?;
            let affix = affix.ok_or_else(|| missing(name))?;
            has_affix(text, name, &affix, fuel)
        }
        "removeprefix" | "removesuffix" => {
            let affix = as_text(&given.one(name, "prefix")?, name)?;
            let rest = match name {
                "removeprefix" => text.strip_prefix(&*affix),
                _suffix => text.strip_suffix(&*affix),
            };
            Ok(Value::text(rest.unwrap_or(text)))
        }
        "find" | "rfind" | "index" | "rindex" => find(text, name, given, fuel),
        "count" => {
            let part = as_text(&given.one(name, "sub")?, name)?;
            fuel.look(part.len())?;
            let count = match part.is_empty() {
                true => text.chars().count() + 1,
                false => text.matches(&*part).count(),
            };
            Ok(Value::Int(count as i128))
        }
        "replace" => replace(text, given, fuel),
        "split" | "rsplit" => split(text, name, given, fuel),
        "splitlines" => splitlines(text, given, fuel),
        "partition" | "rpartition" => partition(text, name, given, fuel),
        "join" => {
            let items = given.one("join", "iterable")?.items(fuel)?;
            let mut out = Writer::new(fuel);
            for (at, item) in items.items.iter().enumerate() {
                if at > 0 {
                    out.push(text)?;
                }
                out.push(&as_text(item, "join")?)?;
            }
            Ok(Value::text(out.finish()))
        }
        "center" | "ljust" | "rjust" | "zfill" => padded(text, name, given, fuel),
        "format" => format(text, given, fuel),
        other => Err(Fault::wrong(format!(
            "the method {other} of a str is not supported"
        ))),
    }
}

fn missing(name: &str) -> Fault {
    Fault::wrong(format!("{name}: an argument is not given"))
}

/// A text in other letters.
pub(super) fn cased(text: &str, how: &str) -> String {
    let mut out = String::with_capacity(text.len());
    match how {
        "upper" => out = text.to_uppercase(),
        "lower" | "casefold" => out = text.to_lowercase(),
        "capitalize" => {
            let mut chars = text.chars();
            out.extend(chars.next().into_iter().flat_map(char::to_uppercase));
            out.push_str(&chars.as_str().to_lowercase());
        }
        "title" => {
            let mut in_word = false;
            for c in text.chars() {
                match in_word {
                    true => out.extend(c.to_lowercase()),
                    false => out.extend(c.to_uppercase()),
                }
                in_word = c.is_alphabetic();
            }
        }
        _swapped => {
            for c in text.chars() {
                match c.is_uppercase() {
                    true => out.extend(c.to_lowercase()),
                    false => out.extend(c.to_uppercase()),
                }
            }
        }
    }
    out
}

/// Whether all characters are of a class, of which there is one.
pub(super) fn is_of(text: &str, class: &str) -> bool {
    let all = |is: fn(char) -> bool| !text.is_empty() && text.chars().all(is);
    match class {
        "isascii" => text.is_ascii(),
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isspace" => all(char::is_whitespace),
        "isdecimal" | "isdigit" => all(|c| c.is_ascii_digit() || is_digit(c)),
        "isnumeric" => all(char::is_numeric),
        "islower" => text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        _upper => text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
    }
}

/// Digits of scripts that have their own, as far as they are in use.
fn is_digit(c: char) -> bool {
    matches!(c, '\u{660}'..='\u{669}' | '\u{6F0}'..='\u{6F9}' | '\u{966}'..='\u{96F}' | '\u{FF10}'..='\u{FF19}')
}

/// A text, which has been paid for, without white space, or some characters, at one of its ends or both.
pub(super) fn stripped<'t>(
    text: &'t str,
    how: &str,
    chars: Option<&str>,
    fuel: &Fuel,
) -> Outcome<&'t str> {
    let goes = |c: char| match chars {
        Some(chars) => fuel.look(chars.len()).map(|()| chars.contains(c)),
        None => Ok(is_blank(c)),
    };
    let mut rest = text;
    while let Some(c) = rest.chars().next().filter(|_| how != "rstrip") {
        match goes(c)? {
            true => rest = &rest[c.len_utf8()..],
            false => break,
        }
    }
    while let Some(c) = rest.chars().next_back().filter(|_| how != "lstrip") {
        match goes(c)? {
            true => rest = &rest[..rest.len() - c.len_utf8()],
            false => break,
        }
    }
    Ok(rest)
}

/// What Python takes for white space.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1C'..='\x1F')
}

fn has_affix(text: &str, name: &str, affix: &Value, fuel: &Fuel) -> Outcome<Value> {
    let has = |affix: &Value| -> Outcome<bool> {
        let affix = as_text(affix, name)?;
        fuel.bytes(text.len().min(affix.len()))?;
        Ok(match name {
            "startswith" => text.starts_with(&*affix),
            _end => text.ends_with(&*affix),
        })
    };
    let is = match affix {
        Value::List(list) if list.kind == ListKind::Tuple => {
            let mut any = false;
            for affix in &list.items {
                any |= has(affix)?;
            }
            any
        }
        one => has(one)?,
    };
    Ok(Value::Bool(is))
}

fn find(text: &str, name: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    let [part, from, to] = given.bind(name, ["sub", "start", "end"])?;
    let part = as_text(&part.ok_or_else(|| missing(name))?, name)?;
    fuel.look(part.len())?;
    let length = text.chars().count();
    let bound = |at: Option<Value>, usual: usize| -> Outcome<usize> {
        let Some(at) = at.filter(|at| !matches!(at, Value::None)) else {
            return Ok(usual);
        };
        let at = as_int(&at, name)?;
        let at = if at < 0 {
            at.saturating_add(length as i128).max(0)
        } else {
            at
        };
        Ok(usize::try_from(at).unwrap_or(usize::MAX).min(length))
    };
    let (from, to) = (bound(from, 0)?, bound(to, length)?);
    let byte_of = |at: usize| {
        text.char_indices()
            .nth(at)
            .map_or(text.len(), |(byte, _)| byte)
    };
    let (begin, end) = (byte_of(from), byte_of(to));
    let within = text.get(begin..end);
    let found = within.and_then(|within| match name.starts_with('r') {
        true => within.rfind(&*part),
        false => within.find(&*part),
    });
    match found {
        Some(at) => Ok(Value::Int(text[..begin + at].chars().count() as i128)),
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => Err(Fault::wrong(format!("{name}: the text is not there"))),
    }
}

fn replace(text: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    let [old, new, count] = given.bind("replace", ["old", "new", "count"])?;
    let (Some(old), Some(new)) = (old, new) else {
        return Err(missing("replace"));
    };
    let (old, new) = (as_text(&old, "replace")?, as_text(&new, "replace")?);
    let most = match count {
        Some(count) => match as_int(&count, "replace")? {
            ..0 => usize::MAX,
            most => usize::try_from(most).unwrap_or(usize::MAX),
        },
        None => usize::MAX,
    };
    Ok(Value::text(replaced(text, &old, &new, most, fuel)?))
}

/// A text with the first `most` occurrences of `old` replaced.
pub(super) fn replaced(
    text: &str,
    old: &str,
    new: &str,
    most: usize,
    fuel: &Fuel,
) -> Outcome<String> {
    fuel.look(old.len())?;
    let mut out = Writer::new(fuel);
    let mut from = 0;
    for (at, found) in text.match_indices(old).take(most) {
        out.push(&text[from..at])?;
        out.push(new)?;
        from = at + found.len();
    }
    out.push(&text[from..])?;
    Ok(out.finish())
}

fn split(text: &str, name: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    let [separator, most] = given.bind(name, ["sep", "maxsplit"])?;
    let most = match most {
        Some(most) => as_int(&most, name)?,
        None => -1,
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX - 1);
    fuel.values(text.len() / 8)?;
    let separator = separator.filter(|separator| !matches!(separator, Value::None));
    let mut parts: Vec<&str> = match separator {
        Some(separator) => {
            let separator = as_text(&separator, name)?;
            if separator.is_empty() {
                return Err(Fault::wrong(format!("{name}: the separator is empty")));
            }
            fuel.look(separator.len())?;
            fuel.values(text.matches(&*separator).count())?;
            match name {
                "split" => text.splitn(most.saturating_add(1), &*separator).collect(),
                _right => text.rsplitn(most.saturating_add(1), &*separator).collect(),
            }
        }
        None => words(text, name, most),
    };
    if name == "rsplit" {
        parts.reverse();
    }
    fuel.values(parts.len())?;
    Value::list(ListKind::List, parts.into_iter().map(Value::text).collect())
}

/// Parts between runs of white space, from the right where `name` is `rsplit`, at most `most` and a rest.
fn words<'t>(text: &'t str, name: &str, most: usize) -> Vec<&'t str> {
    let is_left = name == "split";
    let mut rest = text.trim_matches(is_blank);
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let cut = match is_left {
            true => rest.find(char::is_whitespace),
            false => rest.rfind(char::is_whitespace),
        };
        let Some(at) = cut.filter(|_| parts.len() < most) else {
            parts.push(rest);
            break;
        };
        let width = rest[at..].chars().next().map_or(1, char::len_utf8);
        match is_left {
            true => {
                parts.push(&rest[..at]);
                rest = rest[at..].trim_start();
            }
            false => {
                parts.push(&rest[at + width..]);
                rest = rest[..at].trim_end();
            }
        }
    }
    parts
}

fn splitlines(text: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    let [keep] = given.bind("splitlines", ["keepends"])?;
    let keep = keep.is_some_and(|keep| keep.is_true());
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\x0B' | '\x0C' | '\x1C'..='\x1E' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut lines, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        fuel.spend(1)?;
        let end = rest.find(is_end).unwrap_or(rest.len());
        let width = match &rest[end..] {
            after if after.starts_with("\r\n") => 2,
            after => after.chars().next().map_or(0, char::len_utf8),
        };
        let kept = if keep { end + width } else { end };
        lines.push(Value::text(&rest[..kept]));
        rest = &rest[end + width..];
    }
    fuel.bytes(text.len())?;
    Value::list(ListKind::List, lines)
}

fn partition(text: &str, name: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    let separator = as_text(&given.one(name, "sep")?, name)?;
    fuel.look(separator.len())?;
    let cut = match name {
        "partition" => text.split_once(&*separator),
        _right => text.rsplit_once(&*separator),
    };
    let parts = match (cut, name) {
        (Some((before, after)), _) => [before, &separator, after],
        (None, "partition") => [text, "", ""],
        (None, _right) => ["", "", text],
    };
    Value::list(
        ListKind::Tuple,
        parts.into_iter().map(Value::text).collect(),
    )
}

fn padded(text: &str, name: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    let [width, fill] = given.bind(name, ["width", "fillchar"])?;
    let width = as_count(&width.ok_or_else(|| missing(name))?, name)?;
    let fill = fill.map_or(Ok(" ".into()), |fill| as_text(&fill, name))?;
    let missing = width.saturating_sub(text.chars().count());
    let mut out = Writer::new(fuel);
    if name == "zfill" {
        let sign = usize::from(text.starts_with(['+', '-']));
        out.push(&text[..sign])?;
        out.repeat("0", missing)?;
        out.push(&text[sign..])?;
        return Ok(Value::text(out.finish()));
    }
    let left = match name {
        "ljust" => 0,
        "rjust" => missing,
        // Python puts the odd one left where both numbers are odd.
        _center => missing / 2 + (missing & width & 1),
    };
    out.repeat(&fill, left)?;
    out.push(text)?;
    out.repeat(&fill, missing - left)?;
    Ok(Value::text(out.finish()))
}

/// `"{} {0} {name}".format(…)`, without formats of fields.
fn format(text: &str, given: Given, fuel: &Fuel) -> Outcome<Value> {
    let mut out = Writer::new(fuel);
    let (mut rest, mut next) = (text, 0);
    while let Some(at) = rest.find(['{', '}']) {
        out.push(&rest[..at])?;
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push(brace)?;
            rest = after;
            continue;
        }
        let end = rest.find('}').filter(|_| brace == "{");
        let end = end.ok_or_else(|| Fault::wrong(format!("format: a single {brace}")))?;
        let field = &rest[..end];
        rest = &rest[end + 1..];
        let value = match field {
            "" => {
                next += 1;
                given.positional.get(next - 1)
            }
            field => match field.parse::<usize>() {
                Ok(index) => given.positional.get(index),
                Err(_) => {
                    let at = names::position(&given.named, field, fuel)?;
                    at.map(|at| &given.named[at].1)
                }
            },
        };
        let value = value.ok_or_else(|| {
            Fault::wrong(format!(
                "format: the field {field:?} is not given, or has a format of its own"
            ))
        })?;
        print::write(value, &mut out)?;
    }
    out.push(rest)?;
    Ok(Value::text(out.finish()))
}

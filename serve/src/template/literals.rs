//! Numbers and strings as they are written in expressions: Python's rules.

use super::lexer::Kind;

/// The number that `text` begins with, and its length. After a dot it is an index, so that `a.0.b` has none with a fraction.
pub(super) fn number(text: &str, is_index: bool) -> Result<(usize, Kind), String> {
    let digits = |from: usize| {
        let is_inside = |c: &u8| c.is_ascii_digit() || *c == b'_';
        from + text.as_bytes()[from..]
            .iter()
            .take_while(|c| is_inside(c))
            .count()
    };
    let starts_digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let whole = digits(0);
    let mut end = whole;
    if !is_index && text[end..].starts_with('.') && starts_digit(end + 1) {
        end = digits(end + 1);
    }
    if !is_index && text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        if starts_digit(end + 1 + sign) {
            end = digits(end + 1 + sign);
        }
    }
    let clean = text[..end].replace('_', "");
    let kind = match end == whole {
        true => clean.parse().ok().map(Kind::Int),
        false => clean.parse().ok().map(Kind::Float),
    };
    let kind = kind.ok_or_else(|| format!("the number {clean} is out of range"))?;
    Ok((end, kind))
}

/// Length of the string literal, quotes included, that `text` begins with.
pub(super) fn string_end(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(at + 1);
        }
        if c == '\\' {
            chars.next();
        }
    }
    None
}

/// What a string literal means; an escape that means nothing stays as it is.
pub(super) fn unescape(literal: &str) -> String {
    let mut out = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (bytes, char) = escape(&rest[at + 1..]);
        match char {
            Escape::Char(c) => out.push(c),
            Escape::Nothing => {}
            Escape::Unknown => out.push_str(&rest[at..at + 1 + bytes]),
        }
        rest = &rest[at + 1 + bytes..];
    }
    out.push_str(rest);
    out
}

enum Escape {
    Char(char),
    Nothing,
    Unknown,
}

/// What stands behind a backslash: its length and its meaning.
fn escape(text: &str) -> (usize, Escape) {
    let Some(first) = text.chars().next() else {
        return (0, Escape::Unknown);
    };
    let simple = match first {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0C',
        'v' => '\x0B',
        '\\' | '\'' | '"' => first,
        '\n' => return (1, Escape::Nothing),
        'x' => return code(text, 1, 2, 16),
        'u' => return code(text, 1, 4, 16),
        'U' => return code(text, 1, 8, 16),
        '0'..='7' => {
            let is_octal = |c: &u8| (b'0'..=b'7').contains(c);
            let digits = text.bytes().take(3).take_while(is_octal).count();
            return code(text, 0, digits, 8);
        }
        _other => return (first.len_utf8(), Escape::Unknown),
    };
    (1, Escape::Char(simple))
}

/// A character by its number, `digits` digits from `at`.
fn code(text: &str, at: usize, digits: usize, radix: u32) -> (usize, Escape) {
    let number = text
        .get(at..at + digits)
        .and_then(|digits| u32::from_str_radix(digits, radix).ok());
    match number.and_then(char::from_u32) {
        Some(char) => (at + digits, Escape::Char(char)),
        None => (
            text.chars().next().map_or(0, char::len_utf8),
            Escape::Unknown,
        ),
    }
}

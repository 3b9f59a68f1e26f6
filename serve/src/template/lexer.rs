//! Text of a template to tokens, with Jinja's rules for white space: a line break after a block is left off, and so is white
//! space before a block that begins its line; `-` takes all white space on its side, `+` leaves it.

use std::sync::Arc;

use super::error::{Fault, Outcome};
use super::literals;

/// A token and its line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) line: u32,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Data(String),
    BlockBegin,
    BlockEnd,
    PrintBegin,
    PrintEnd,
    Name(Arc<str>),
    Text(String),
    Int(i128),
    Float(f64),
    Op(&'static str),
}

/// Longer operators first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
];

/// Cuts a template into tokens.
pub(super) fn tokens(source: &str) -> Outcome<Vec<Token>> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer {
        rest: source,
        line: 1,
        begins_line: true,
        tokens: Vec::new(),
    };
    lexer.template()?;
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    rest: &'s str,
    line: u32,
    /// What was taken last ended with a line break.
    begins_line: bool,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn template(&mut self) -> Outcome<()> {
        while let Some(at) = next_tag(self.rest) {
            let text = self.take(at);
            let tag = &self.rest[..2];
            let sign = self.rest[2..].chars().next();
            let text = self.before_tag(text, tag != "{{", sign);
            self.push_data(text);
            match tag {
                "{#" => self.comment()?,
                "{%" if self.raw_begin() => self.raw()?,
                "{%" => self.code(Kind::BlockBegin, Kind::BlockEnd, "%}")?,
                _print => self.code(Kind::PrintBegin, Kind::PrintEnd, "}}")?,
            }
        }
        let text = self.take(self.rest.len());
        self.push_data(text);
        Ok(())
    }

    /// Takes the next bytes.
    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        self.line += taken.matches('\n').count() as u32;
        taken
    }

    fn push(&mut self, line: u32, kind: Kind) {
        self.tokens.push(Token { line, kind });
    }

    fn push_data(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(self.line, Kind::Data(text.into()));
        }
    }

    /// The text before a tag without the white space that the tag takes.
    fn before_tag(&self, text: &'s str, is_block: bool, sign: Option<char>) -> &'s str {
        if sign == Some('-') {
            return text.trim_end();
        }
        let line = text.rfind('\n').map_or(0, |at| at + 1);
        let begins_line = line > 0 || self.begins_line;
        let is_blank = text[line..].chars().all(char::is_whitespace);
        match is_block && sign != Some('+') && begins_line && is_blank {
            true => &text[..line],
            false => text,
        }
    }

    /// Takes the end of a tag, with the white space that it takes, if it is here.
    fn tag_end(&mut self, end: &str) -> bool {
        let (sign, rest) = match self.rest.as_bytes().first() {
            Some(b'-') => (Some('-'), &self.rest[1..]),
            Some(b'+') if end != "}}" => (Some('+'), &self.rest[1..]),
            _no_sign => (None, self.rest),
        };
        let Some(after) = rest.strip_prefix(end) else {
            return false;
        };
        let after = match sign {
            Some('-') => after.trim_start(),
            None if end != "}}" => after.strip_prefix('\n').unwrap_or(after),
            _nothing => after,
        };
        let taken = self.take(self.rest.len() - after.len());
        self.begins_line = taken.ends_with('\n');
        true
    }

    fn comment(&mut self) -> Outcome<()> {
        let line = self.line;
        self.take(2);
        while !self.tag_end("#}") {
            let Some(next) = self.rest.chars().next() else {
                return Err(Fault::syntax(line, "a comment without its end, #}"));
            };
            self.take(next.len_utf8());
        }
        Ok(())
    }

    /// Takes `{% raw %}` if it is here.
    fn raw_begin(&mut self) -> bool {
        let inside = self.rest[2..].trim_start_matches(['-', '+']).trim_start();
        let Some(after) = inside.strip_prefix("raw") else {
            return false;
        };
        let after = after.trim_start();
        let after = match (after.strip_prefix("-%}"), after.strip_prefix("%}")) {
            (Some(after), _) => after.trim_start(),
            (None, Some(after)) => after,
            (None, None) => return false,
        };
        self.take(self.rest.len() - after.len());
        self.begins_line = false;
        true
    }

    /// Takes text up to `{% endraw %}` as it is.
    fn raw(&mut self) -> Outcome<()> {
        let line = self.line;
        let mut from = 0;
        while let Some(at) = self.rest[from..].find("{%").map(|at| from + at) {
            let inside = &self.rest[at + 2..];
            let sign = inside.chars().next();
            let inside = inside.trim_start_matches(['-', '+']).trim_start();
            if let Some(after) = inside.strip_prefix("endraw") {
                let after = after.trim_start();
                if ["%}", "-%}", "+%}"]
                    .iter()
                    .any(|end| after.starts_with(end))
                {
                    let text = self.take(at);
                    let text = self.before_tag(text, true, sign);
                    self.push_data(text);
                    self.take(self.rest.len() - after.len());
                    self.tag_end("%}");
                    return Ok(());
                }
            }
            from = at + 2;
        }
        Err(Fault::syntax(line, "{% raw %} without {% endraw %}"))
    }

    /// Takes a tag and the expression tokens in it.
    fn code(&mut self, begin: Kind, end: Kind, end_text: &str) -> Outcome<()> {
        let first_line = self.line;
        self.push(first_line, begin);
        self.take(2);
        if self.rest.starts_with(['-', '+']) {
            self.take(1);
        }
        let mut open = Vec::new();
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            let line = self.line;
            if open.is_empty() && self.tag_end(end_text) {
                self.push(line, end);
                return Ok(());
            }
            if self.rest.is_empty() {
                let what = format!("a tag without its end, {end_text}");
                return Err(Fault::syntax(first_line, what));
            }
            let kind = self.token()?;
            if let Kind::Op(op) = kind {
                balance(&mut open, op).map_err(|fault| fault.at(line))?;
            }
            self.push(line, kind);
        }
    }

    /// Takes the next token of an expression.
    fn token(&mut self) -> Outcome<Kind> {
        let first = self.rest.chars().next().unwrap_or(' ');
        if first.is_alphabetic() || first == '_' {
            let is_inside = |c: char| c.is_alphanumeric() || c == '_';
            let end = self.rest.find(|c| !is_inside(c));
            let name = self.take(end.unwrap_or(self.rest.len()));
            return Ok(Kind::Name(name.into()));
        }
        if first.is_ascii_digit() {
            let after_dot = matches!(self.tokens.last().map(|t| &t.kind), Some(Kind::Op(".")));
            let (bytes, kind) = literals::number(self.rest, after_dot)
                .map_err(|what| Fault::syntax(self.line, what))?;
            self.take(bytes);
            return Ok(kind);
        }
        if first == '"' || first == '\'' {
            let line = self.line;
            let end = literals::string_end(self.rest)
                .ok_or_else(|| Fault::syntax(line, "a string without its end"))?;
            let literal = self.take(end);
            return Ok(Kind::Text(literals::unescape(&literal[1..end - 1])));
        }
        let op = OPERATORS.iter().find(|op| self.rest.starts_with(**op));
        let unexpected = || Fault::syntax(self.line, format!("unexpected character {first:?}"));
        let op = op.ok_or_else(unexpected)?;
        self.take(op.len());
        Ok(Kind::Op(op))
    }
}

/// Where the next tag of any kind begins.
fn next_tag(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find('{').map(|at| from + at) {
        if matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Keeps count of brackets, within which no tag ends.
fn balance(open: &mut Vec<&'static str>, op: &'static str) -> Outcome<()> {
    let begin = match op {
        "(" | "[" | "{" => {
            open.push(op);
            return Ok(());
        }
        ")" => "(",
        "]" => "[",
        "}" => "{",
        _other => return Ok(()),
    };
    match open.pop() {
        Some(found) if found == begin => Ok(()),
        Some(found) => Err(Fault::wrong(format!("{op} after {found}"))),
        None => Err(Fault::wrong(format!("{op} without {begin}"))),
    }
}

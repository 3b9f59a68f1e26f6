//! The text of a grammar, character by character.

use super::error::GbnfError;

/// Whether a character may stand in the name of a rule.
pub(super) fn is_in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// A text, and how far it has been read.
#[derive(Clone, Debug)]
pub(super) struct Text<'g> {
    rest: &'g str,
    line: usize,
    column: usize,
}

impl<'g> Text<'g> {
    pub(super) fn new(grammar: &'g str) -> Text<'g> {
        Text {
            rest: grammar,
            line: 1,
            column: 1,
        }
    }

    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes the next character.
    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        match c {
            '\n' => (self.line, self.column) = (self.line + 1, 1),
            _ => self.column += 1,
        }
        Some(c)
    }

    /// Takes a text that stands next, without line breaks.
    pub(super) fn take(&mut self, wanted: &str) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                self.column += wanted.chars().count();
                true
            }
            None => false,
        }
    }

    /// Takes a name; empty where there is none.
    pub(super) fn name(&mut self) -> &'g str {
        let end = self
            .rest
            .find(|c| !is_in_name(c))
            .unwrap_or(self.rest.len());
        let name = &self.rest[..end];
        (self.rest, self.column) = (&self.rest[end..], self.column + end);
        name
    }

    /// Takes blanks and comments, line breaks too where that is wanted.
    pub(super) fn blanks(&mut self, over_lines: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' => {}
                '\n' if over_lines => {}
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                    continue;
                }
                _ => return,
            }
            self.next();
        }
    }

    pub(super) fn place(&self) -> (usize, usize) {
        (self.line, self.column)
    }

    /// An error here.
    pub(super) fn wrong(&self, message: impl Into<String>) -> GbnfError {
        wrong_at(self.place(), message)
    }

    /// An error here: something else was expected.
    pub(super) fn expected(&self, what: &str) -> GbnfError {
        let found = match self.peek() {
            Some('\n') => "the end of the line".into(),
            Some(c) => format!("`{}`", c.escape_debug()),
            None => "the end of the grammar".into(),
        };
        self.wrong(format!("found {found}, expected {what}"))
    }
}

/// An error at a line and a column.
pub(super) fn wrong_at(place: (usize, usize), message: impl Into<String>) -> GbnfError {
    let (line, column) = place;
    let message = message.into();
    GbnfError {
        line,
        column,
        message,
    }
}

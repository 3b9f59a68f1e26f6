//! Where a parser is in its tokens, and how it asks for the next.

use std::sync::Arc;

use super::ast::MAX_DEPTH;
use super::error::{Fault, Limit, Outcome};
use super::lexer::{Kind, Token};

/// Tokens that are read one after the other.
pub(super) struct Cursor {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    /// The token after the next.
    ahead: Option<Token>,
    line: u32,
    depth: usize,
}

impl Cursor {
    pub(super) fn new(tokens: Vec<Token>) -> Cursor {
        Cursor {
            tokens: tokens.into_iter().peekable(),
            ahead: None,
            line: 1,
            depth: 0,
        }
    }

    /// The line of the token taken last.
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// The next token.
    pub(super) fn peek(&mut self) -> Option<&Kind> {
        match &self.ahead {
            Some(token) => Some(&token.kind),
            None => self.tokens.peek().map(|token| &token.kind),
        }
    }

    /// The token after the next.
    pub(super) fn peek_second(&mut self) -> Option<&Kind> {
        if self.ahead.is_none() {
            self.ahead = self.tokens.next();
        }
        self.tokens.peek().map(|token| &token.kind)
    }

    /// Takes the next token.
    pub(super) fn next(&mut self) -> Option<Kind> {
        let token = self.ahead.take().or_else(|| self.tokens.next())?;
        self.line = token.line;
        Some(token.kind)
    }

    pub(super) fn at_op(&mut self, op: &str) -> bool {
        matches!(self.peek(), Some(Kind::Op(found)) if *found == op)
    }

    pub(super) fn at_name(&mut self, name: &str) -> bool {
        matches!(self.peek(), Some(Kind::Name(found)) if &**found == name)
    }

    /// Takes an operator if it is next.
    pub(super) fn skip_op(&mut self, op: &str) -> bool {
        let is_here = self.at_op(op);
        if is_here {
            self.next();
        }
        is_here
    }

    /// Takes a word if it is next.
    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let is_here = self.at_name(name);
        if is_here {
            self.next();
        }
        is_here
    }

    pub(super) fn expect_op(&mut self, op: &str) -> Outcome<()> {
        match self.skip_op(op) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("{op:?}"))),
        }
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Outcome<()> {
        match self.skip_name(word) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("{word:?}"))),
        }
    }

    /// Takes a name.
    pub(super) fn expect_name(&mut self) -> Outcome<Arc<str>> {
        if let Some(Kind::Name(name)) = self.peek() {
            let name = Arc::clone(name);
            self.next();
            return Ok(name);
        }
        Err(self.unexpected("a name"))
    }

    /// Takes the end of a block.
    pub(super) fn expect_block_end(&mut self) -> Outcome<()> {
        match self.peek() {
            Some(Kind::BlockEnd) => {
                self.next();
                Ok(())
            }
            _other => Err(self.unexpected("the end of the block, %}")),
        }
    }

    /// An error at the next token.
    pub(super) fn unexpected(&mut self, expected: &str) -> Fault {
        let next = self.ahead.as_ref().or_else(|| self.tokens.peek());
        let (line, found) = match next {
            Some(token) => (token.line, described(&token.kind)),
            None => (self.line, "the end of the template".into()),
        };
        Fault::syntax(line, format!("found {found}, expected {expected}"))
    }

    /// Says where what was just read is wrong.
    pub(super) fn placed<T>(&self, outcome: Outcome<T>) -> Outcome<T> {
        outcome.map_err(|fault| fault.at(self.line))
    }

    /// Reads what lies one level deeper.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Cursor) -> Outcome<T>) -> Outcome<T> {
        if self.depth == MAX_DEPTH {
            return Err(Fault::limit(Limit::Depth(MAX_DEPTH)).at(self.line));
        }
        self.depth += 1;
        let outcome = read(self);
        self.depth -= 1;
        outcome
    }
}

fn described(kind: &Kind) -> String {
    match kind {
        Kind::Data(_) => "text".into(),
        Kind::BlockBegin => "{%".into(),
        Kind::BlockEnd => "%}".into(),
        Kind::PrintBegin => "{{".into(),
        Kind::PrintEnd => "}}".into(),
        Kind::Name(name) => format!("{name:?}"),
        Kind::Text(text) => format!("the string {text:?}"),
        Kind::Int(number) => number.to_string(),
        Kind::Float(number) => number.to_string(),
        Kind::Op(op) => format!("{op:?}"),
    }
}

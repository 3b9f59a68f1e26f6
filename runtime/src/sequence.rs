//! One sequence of a session, as the generation loop wants it.

use crate::error::Error;
use crate::generate::{Model, ModelError};
use crate::session::{Session, Wanted};

/// Slot 0 of a session.
pub struct Sequence<'s> {
    session: &'s mut Session,
}

impl<'s> Sequence<'s> {
    /// The sequence of slot 0.
    pub fn new(session: &'s mut Session) -> Self {
        Sequence { session }
    }

    /// Appends tokens and gives the logits of the last one, `[vocab]`.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], Error> {
        let logits = self.session.feed(0, tokens, Wanted::Last)?;
        Ok(logits.last().unwrap_or(&[]))
    }
}

impl Model for Sequence<'_> {
    fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], ModelError> {
        Ok(Sequence::feed(self, tokens)?)
    }

    fn context(&self) -> usize {
        self.session.context()
    }

    fn vocab(&self) -> usize {
        self.session.vocab()
    }
}

//! One sequence of a session, as the generation loop wants it.

use crate::error::Error;
use crate::generate::{Meetings, Model, ModelError};
use crate::session::{Session, Wanted};

/// A slot of a session.
pub struct Sequence<'s> {
    session: &'s mut Session,
    slot: usize,
}

impl<'s> Sequence<'s> {
    /// The sequence of slot 0.
    pub fn new(session: &'s mut Session) -> Self {
        Sequence::in_slot(session, 0)
    }

    /// The sequence of a slot.
    pub fn in_slot(session: &'s mut Session, slot: usize) -> Self {
        Sequence { session, slot }
    }

    /// Appends tokens and gives the logits of the last one, `[vocab]`.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], Error> {
        let logits = self.session.feed(self.slot, tokens, Wanted::Last)?;
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

    fn position(&self) -> usize {
        // A slot that does not exist is what feeding it complains about.
        self.session.position(self.slot).unwrap_or(0)
    }

    fn meetings(&self) -> Option<Meetings> {
        self.session.meetings()
    }
}

//! One sequence of a session, as the generation loop wants it.
//!
//! Where a rotary embedding changes with the length, a sequence that outgrows the shorter one is computed anew: its keys were
//! rotated for another length.

use crate::error::Error;
use crate::generate::{Model, ModelError};
use crate::session::{Session, Wanted};

/// Slot 0 of a session, from its start.
pub struct Sequence<'s> {
    session: &'s mut Session,
    /// All tokens so far, if they may be needed again.
    tokens: Vec<u32>,
}

impl<'s> Sequence<'s> {
    /// The empty sequence of slot 0.
    pub fn new(session: &'s mut Session) -> Self {
        Sequence {
            session,
            tokens: Vec::new(),
        }
    }

    /// Appends tokens and gives the logits of the last one, `[vocab]`.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], Error> {
        let restarts = self.outgrows(tokens.len());
        if !self.session.manifest().length_switches.is_empty() {
            self.tokens.extend_from_slice(tokens);
        }
        let tokens = match restarts {
            true => {
                self.session.reset(0)?;
                &self.tokens
            }
            false => tokens,
        };
        let logits = self.session.feed(0, tokens, Wanted::Last)?;
        Ok(logits.last().unwrap_or(&[]))
    }

    /// Whether `more` tokens take the sequence past a length at which its earlier positions change.
    fn outgrows(&self, more: usize) -> bool {
        let now = self.tokens.len();
        let mut switches = self.session.manifest().length_switches.iter();
        switches.any(|&length| (1..=length).contains(&now) && now + more > length)
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

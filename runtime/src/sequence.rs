//! One sequence of a session, as the generation loop wants it.

use crate::generate::{Model, ModelError};
use crate::session::{Session, Wanted};

/// Slot 0 of a session.
pub struct Sequence<'s>(pub &'s mut Session);

impl Model for Sequence<'_> {
    fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], ModelError> {
        let logits = self.0.feed(0, tokens, Wanted::Last)?;
        Ok(logits.last().unwrap_or(&[]))
    }

    fn context(&self) -> usize {
        self.0.context()
    }

    fn vocab(&self) -> usize {
        self.0.vocab()
    }
}

//! Computing a sequence again when its length passes one at which the model's rotary embedding changes.
//!
//! Whichever way a sequence comes to its tokens (steps, cuts, copies, snapshots), its logits are those of all of them at once.

use super::{Segment, Session, Wanted};
use crate::error::Error;
use crate::ranks::Command;

impl Session {
    /// Prepares for steps that take all of `segments`, which have been checked; other ranks are told by `command`. After an error
    /// nothing has changed.
    pub(super) fn begin(
        &mut self,
        segments: &[Segment<'_>],
        command: impl FnOnce() -> Command,
    ) -> Result<(), Error> {
        for &Segment { slot, tokens } in segments {
            self.states.reserve(slot, tokens.len())?;
        }
        // Nothing that follows fails but for reasons that end all ranks.
        self.tell(command)?;
        for &Segment { slot, tokens } in segments {
            if self.states.begin(slot, tokens.len())? {
                self.compute_again(slot)?;
            }
            self.states.remember(slot, tokens)?;
        }
        Ok(())
    }

    fn compute_again(&mut self, slot: usize) -> Result<(), Error> {
        let past = self.states.restart(slot)?;
        for tokens in past.chunks(self.max_step()) {
            self.run(&[Segment { slot, tokens }], tokens.len(), Wanted::None)?;
        }
        self.states.give_back(slot, past)
    }
}

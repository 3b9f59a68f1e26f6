//! Feeding a sequence any number of tokens.

use super::logits::Logits;
use super::{Segment, Session, Wanted, step_rows};
use crate::error::Error;
use crate::ranks::Command;
use crate::sizes::sized;

impl Session {
    /// Appends any number of tokens to one sequence, in as many steps as that takes, and gives the logits wanted of all of
    /// them. After an error nothing has changed.
    pub fn feed(
        &mut self,
        slot: usize,
        tokens: &[u32],
        wanted: Wanted,
    ) -> Result<Logits<'_>, Error> {
        let max = self.max_step();
        if tokens.len() <= max {
            return self.step(&[Segment { slot, tokens }], wanted);
        }
        self.check(&[Segment { slot, tokens }])?;
        self.states.reserve(slot, tokens.len())?;
        if wanted == Wanted::All {
            // The last that can fail: until then, the rows of the call before stay where they are.
            self.reserve_rows(tokens.len())?;
        }
        let segment = Segment { slot, tokens };
        self.begin(&[segment], || Command::feed(segment, wanted))?;
        let last = (tokens.len() - 1) / max;
        for (index, tokens) in tokens.chunks(max).enumerate() {
            let wanted = if index < last && wanted == Wanted::Last {
                Wanted::None
            } else {
                wanted
            };
            self.run(&[Segment { slot, tokens }], tokens.len(), wanted)?;
            if wanted == Wanted::All {
                let rows = step_rows(
                    &self.logits,
                    self.lists.logit_rows.len(),
                    self.program.manifest.width(),
                );
                self.collected.extend_from_slice(rows);
            }
        }
        self.is_collected = wanted == Wanted::All;
        match wanted {
            Wanted::All => Ok(Logits {
                values: &self.collected,
                width: self.program.manifest.width(),
            }),
            Wanted::Last | Wanted::None => Ok(self.step_logits()),
        }
    }

    /// Empties `collected` and makes room for `rows` rows.
    fn reserve_rows(&mut self, rows: usize) -> Result<(), Error> {
        let values = sized("logits", rows.checked_mul(self.program.manifest.width()))?;
        self.collected.clear();
        let source = std::io::ErrorKind::OutOfMemory.into();
        let failed = |_| Error::Memory {
            what: "logits",
            bytes: values * size_of::<f32>(),
            source,
        };
        self.collected.try_reserve_exact(values).map_err(failed)
    }
}

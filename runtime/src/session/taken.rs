//! Rows of logits that outlive the step that computed them, without being copied.

use super::{Session, step_rows};
use crate::error::Error;
use crate::memory::Region;

/// Rows of logits in memory of their own.
pub struct TakenLogits {
    memory: Memory,
    width: usize,
}

enum Memory {
    /// What a step wrote to, and how many rows of it.
    Step(Region, usize),
    /// What several steps gave.
    Steps(Vec<f32>),
}

impl TakenLogits {
    /// `[rows, width]`.
    pub fn values(&self) -> &[f32] {
        match &self.memory {
            Memory::Step(region, rows) => step_rows(region, *rows, self.width),
            Memory::Steps(values) => values,
        }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.values().len() / self.width
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }
}

impl Session {
    /// What the last step or [`Session::feed`] gave, with the memory that it is in; the session goes on with other memory. Where nothing has
    /// been computed since the last time, there are no rows.
    ///
    /// # Errors
    /// No memory; what was computed stays where it is.
    pub fn take_logits(&mut self) -> Result<TakenLogits, Error> {
        let width = self.program.manifest.width();
        let memory = match self.is_collected {
            true => Memory::Steps(std::mem::take(&mut self.collected)),
            false => {
                let fresh = Region::reserve("logits", self.logits.len())?;
                let rows = self.lists.logit_rows.len();
                Memory::Step(std::mem::replace(&mut self.logits, fresh), rows)
            }
        };
        self.lists.logit_rows.clear();
        self.is_collected = false;
        Ok(TakenLogits { memory, width })
    }
}

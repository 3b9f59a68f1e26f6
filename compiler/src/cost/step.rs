//! The sizes of a step, and what follows from them alone.

use graver_runtime::abi::PREFILL_TOKENS;
use serde::Serialize;

use crate::graph::{Dim, Reach};

/// Sizes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Tokens of the step, `T`.
    pub tokens: usize,
    /// Sequences that have as many of them each.
    pub sequences: usize,
    /// Positions of each sequence that are filled before it.
    pub depth: usize,
    /// Rows whose logits are wanted, `R`.
    pub logit_rows: usize,
}

impl Step {
    /// One token after `depth` others.
    pub fn decode(depth: usize) -> Step {
        Step {
            tokens: 1,
            sequences: 1,
            depth,
            logit_rows: 1,
        }
    }

    /// The longest prefill step, or a shorter one.
    pub fn prefill(tokens: usize, depth: usize) -> Step {
        let tokens = tokens.min(PREFILL_TOKENS);
        Step {
            tokens,
            sequences: 1,
            depth,
            logit_rows: 1,
        }
    }

    /// What a dimension comes to, unless it is one of an attention tile.
    pub(super) fn count(&self, dim: Dim) -> Option<u64> {
        let n = match dim {
            Dim::Const(n) => n,
            Dim::Tokens => self.tokens,
            Dim::LogitRows => self.logit_rows,
            Dim::Routed { per_token, more } => per_token * self.tokens + more,
            Dim::Queries | Dim::Keys => return None,
        };
        Some(n as u64)
    }

    /// Keys seen by all tokens together.
    pub(super) fn visible(&self, reach: Reach) -> u64 {
        let seen = |p: usize| (p + 1 - reach.start(p)) as u64;
        let one: u64 = (self.depth..self.end()).map(seen).sum();
        one * self.sequences as u64
    }

    /// Positions that some token sees, of all sequences.
    pub(super) fn span(&self, reach: Reach) -> u64 {
        ((self.end() - reach.start(self.depth)) * self.sequences) as u64
    }

    /// Positions of each sequence that are filled after it.
    pub(super) fn end(&self) -> usize {
        self.depth + self.tokens / self.sequences
    }
}

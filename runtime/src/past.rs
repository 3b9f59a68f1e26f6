//! What a sequence was computed from, for models whose rotary embedding changes with the length of the sequence (LongRoPE).
//!
//! All positions of such a sequence have to be computed for one length: the logits of a text are those of a model that is given all
//! of it at once. So when a sequence grows over a length at which the embedding changes, or is cut to below it, what is cached
//! no longer serves, and its tokens are needed again. Other models remember none.

use crate::abi::Manifest;
use crate::error::Error;

/// Where a model's rotary embedding changes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Switches {
    /// Lengths beyond which earlier positions are computed otherwise; empty for most models.
    above: Vec<usize>,
    /// Token ids that are remembered are below this.
    vocab: usize,
}

impl Switches {
    pub(crate) fn new(manifest: &Manifest) -> Self {
        Switches {
            above: manifest.length_switches.clone(),
            vocab: manifest.vocab,
        }
    }

    /// Whether positions that were computed for a sequence of length `a` are those of one of length `b`.
    fn agree(&self, a: usize, b: usize) -> bool {
        self.above.iter().all(|&above| (a > above) == (b > above))
    }
}

/// The past of one sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// The token at each position; none where the model's embedding does not change.
    pub(crate) tokens: Vec<u32>,
    /// The length that all positions were computed for.
    length: usize,
    /// Positions that somebody said the sequence will have.
    expected: usize,
}

impl Past {
    /// The length that positions are computed for.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Says that the sequence will have at least so many positions.
    pub(crate) fn expect(&mut self, positions: usize) {
        self.expected = self.expected.max(positions);
    }

    /// Makes room for `more` tokens.
    pub(crate) fn reserve(&mut self, switches: &Switches, more: usize) -> Result<(), Error> {
        if switches.above.is_empty() {
            return Ok(());
        }
        let all = self.tokens.len() + more;
        let failed = |_| out_of_memory(all);
        self.tokens.try_reserve(more).map_err(failed)
    }

    /// Begins a step that takes the sequence from `position` to `end`. Returns whether what was computed before has to be computed
    /// again.
    pub(crate) fn begin(&mut self, switches: &Switches, position: usize, end: usize) -> bool {
        let length = end.max(self.expected);
        let serves = position == 0 || switches.agree(self.length, length);
        self.length = length;
        !serves
    }

    /// Takes the tokens of a step, for which there is room.
    pub(crate) fn remember(&mut self, switches: &Switches, tokens: &[u32]) {
        if !switches.above.is_empty() {
            self.tokens.extend_from_slice(tokens);
        }
    }

    /// A copy, if there is room for it.
    pub(crate) fn copy(&self) -> Result<Past, Error> {
        let mut tokens = Vec::new();
        let failed = |_| out_of_memory(self.tokens.len());
        tokens
            .try_reserve_exact(self.tokens.len())
            .map_err(failed)?;
        tokens.extend_from_slice(&self.tokens);
        Ok(Past { tokens, ..*self })
    }
}

fn out_of_memory(tokens: usize) -> Error {
    Error::Memory {
        what: "the tokens of a sequence",
        bytes: tokens.saturating_mul(size_of::<u32>()),
        source: std::io::ErrorKind::OutOfMemory.into(),
    }
}

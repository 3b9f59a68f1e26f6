//! A model for tests: says what it is told to, and checks how it is fed.

use super::{Model, ModelError};

/// Makes the tokens of a script the likeliest, one after the other; then its last one again and again.
pub(crate) struct Fake {
    script: Vec<u32>,
    context: usize,
    vocab: usize,
    /// Logits to return in place of the scripted ones.
    pub(crate) fault: Option<f32>,
    /// The calls so far.
    pub(crate) fed: Vec<Vec<u32>>,
    logits: Vec<f32>,
}

impl Fake {
    pub(crate) fn new(script: &[u32], context: usize, vocab: usize) -> Fake {
        Fake {
            script: script.into(),
            context,
            vocab,
            fault: None,
            fed: Vec::new(),
            logits: vec![0.0; vocab],
        }
    }

    pub(crate) fn positions(&self) -> usize {
        self.fed.iter().map(Vec::len).sum()
    }
}

impl Model for Fake {
    fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], ModelError> {
        let next = self
            .script
            .get(self.fed.len())
            .or(self.script.last())
            .copied();
        self.fed.push(tokens.to_vec());
        if self.positions() > self.context {
            return Err("fed beyond the context".into());
        }
        self.logits.fill(self.fault.unwrap_or(0.0));
        if let (None, Some(next)) = (self.fault, next) {
            self.logits[next as usize] = 50.0;
        }
        Ok(&self.logits)
    }

    fn context(&self) -> usize {
        self.context
    }

    fn vocab(&self) -> usize {
        self.vocab
    }
}

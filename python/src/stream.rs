//! Text as it is written, for a loop.

use std::sync::{Arc, Mutex, PoisonError};

use graver::GenerateOptions;
use graver::runtime::generate::{Model, ModelError, Stop};
use graver::runtime::sampling::Sampler;
use graver::runtime::tokenizer::{Tokenizer, TokenizerError};
use graver::runtime::writing::Writing;
use pyo3::prelude::*;

use crate::error::raised;
use crate::session::{Shared, lock};

/// A token, and the text that it settles: often its own, sometimes none yet; at the end text that was held back, without a token.
#[pyclass(frozen, get_all, module = "graver")]
pub(crate) struct Piece {
    pub(crate) token: Option<u32>,
    pub(crate) text: String,
}

#[pymethods]
impl Piece {
    fn __repr__(&self) -> String {
        format!("<Piece {:?} {:?}>", self.token, self.text)
    }
}

/// Text being written: an iterator of pieces.
#[pyclass(frozen, module = "graver")]
pub(crate) struct Stream(Mutex<Writing<Sequence, Arc<Tokenizer>>>);

/// Sequence 0 of a session that is looked at for one token after the other, and is free between them.
struct Sequence {
    session: Shared,
    /// Of the last token: the session's own memory may be written over before they are read.
    logits: Vec<f32>,
}

impl Model for Sequence {
    fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], ModelError> {
        let mut session = lock(&self.session);
        let logits = session.append(tokens)?;
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        Ok(&self.logits)
    }

    fn context(&self) -> usize {
        lock(&self.session).runtime().context()
    }

    fn vocab(&self) -> usize {
        lock(&self.session).runtime().vocab()
    }

    fn position(&self) -> usize {
        lock(&self.session).runtime().position(0).unwrap_or(0)
    }
}

impl Stream {
    /// Feeds the prompt, in a sequence begun anew unless it is to go on.
    pub(crate) fn start(
        session: Shared,
        tokens: &[u32],
        options: &GenerateOptions,
        resume: bool,
    ) -> PyResult<Stream> {
        let sampler = Sampler::new(options.sampling.clone()).map_err(raised)?;
        let (limits, tokenizer) = {
            let mut held = lock(&session);
            if !resume {
                held.runtime_mut().reset(0).map_err(raised)?;
            }
            let tokenizer = match held.tokenizer() {
                Ok(tokenizer) => Some(Arc::clone(tokenizer)),
                Err(graver::Error::Tokenizer(TokenizerError::Missing(_))) => None,
                Err(other) => return Err(raised(other)),
            };
            (held.limits(options), tokenizer)
        };
        let logits = vec![];
        let sequence = Sequence { session, logits };
        let writing = Writing::start(sequence, tokens, tokenizer, sampler, limits);
        Ok(Stream(Mutex::new(writing.map_err(raised)?)))
    }

    /// The next piece.
    pub(crate) fn next(&self, python: Python<'_>) -> PyResult<Option<Piece>> {
        let next = python.detach(|| {
            let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            writing.next().transpose()
        });
        let piece = next.map_err(raised)?;
        Ok(piece.map(|piece| Piece {
            token: piece.token,
            text: piece.text,
        }))
    }
}

#[pymethods]
impl Stream {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, python: Python<'_>) -> PyResult<Option<Piece>> {
        self.next(python)
    }

    /// Why it ended: "eos", "length" or "context"; None while it has not.
    #[getter]
    fn stop(&self) -> Option<&'static str> {
        let writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writing.stop().map(|stop| match stop {
            Stop::Eos => "eos",
            Stop::Length => "length",
            Stop::Context => "context",
        })
    }
}

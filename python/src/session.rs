//! Computing: logits of tokens, and text.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use graver::GenerateOptions;
use graver::runtime::sampling::SamplingOptions;
use graver::runtime::session::{Segment, Wanted};
use pyo3::prelude::*;

use crate::arrays::{row, rows};
use crate::error::raised;
use crate::options::unknown;
use crate::stream::Stream;

/// A session that streams share.
pub(crate) type Shared = Arc<Mutex<graver::Session>>;

/// The session, once whoever computes with it is done. A computation that panicked leaves it as it was before.
pub(crate) fn lock(session: &Shared) -> MutexGuard<'_, graver::Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A model ready to run, with the state of its sequences.
#[pyclass(frozen, module = "graver")]
pub(crate) struct Session(Shared);

/// A prompt: text, or token ids taken as they are.
#[derive(FromPyObject)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

impl Session {
    pub(crate) fn new(session: graver::Session) -> Session {
        Session(Arc::new(Mutex::new(session)))
    }

    /// Does something with the session while Python goes on.
    fn with<T: Send>(
        &self,
        python: Python<'_>,
        work: impl FnOnce(&mut graver::Session) -> Result<T, graver::Error> + Send,
    ) -> PyResult<T> {
        python.detach(|| work(&mut lock(&self.0))).map_err(raised)
    }

    fn ids(&self, python: Python<'_>, prompt: Prompt) -> PyResult<Vec<u32>> {
        match prompt {
            Prompt::Tokens(tokens) => Ok(tokens),
            Prompt::Text(text) => self.with(python, |session| session.encode(&text)),
        }
    }
}

#[pymethods]
impl Session {
    /// Token ids of a prompt, with the special tokens that the model's files ask for.
    fn encode(&self, python: Python<'_>, text: &str) -> PyResult<Vec<u32>> {
        self.with(python, |session| session.encode(text))
    }

    /// Text of token ids, without special tokens.
    fn decode(&self, python: Python<'_>, tokens: Vec<u32>) -> PyResult<String> {
        self.with(python, |session| session.decode(&tokens))
    }

    /// Logits of every token, [tokens, vocab], in sequence 0 begun anew.
    fn logits(&self, python: Python<'_>, tokens: Vec<u32>) -> PyResult<Py<PyAny>> {
        let logits = self.with(python, |session| {
            session.logits(&tokens)?;
            Ok(session.runtime_mut().take_logits()?)
        })?;
        rows(python, logits)
    }

    /// Appends to sequence 0; logits of the last token, [vocab].
    fn append(&self, python: Python<'_>, tokens: Vec<u32>) -> PyResult<Py<PyAny>> {
        let logits = self.with(python, |session| {
            session.append(&tokens)?;
            Ok(session.runtime_mut().take_logits()?)
        })?;
        row(python, logits)
    }

    /// Appends to several sequences in one step: pairs of a sequence and its tokens. Logits of the last token of each, or of all, or none.
    #[pyo3(signature = (segments, wanted="last"))]
    fn step(
        &self,
        python: Python<'_>,
        segments: Vec<(usize, Vec<u32>)>,
        wanted: &str,
    ) -> PyResult<Py<PyAny>> {
        let wanted = match wanted {
            "none" => Wanted::None,
            "last" => Wanted::Last,
            "all" => Wanted::All,
            other => return Err(unknown("wanted", other, "'none', 'last' or 'all'")),
        };
        let logits = self.with(python, |session| {
            let segments = segments.iter().map(|(slot, tokens)| Segment {
                slot: *slot,
                tokens,
            });
            let segments: Vec<Segment<'_>> = segments.collect();
            session.step(&segments, wanted)?;
            Ok(session.runtime_mut().take_logits()?)
        })?;
        rows(python, logits)
    }

    /// What follows a prompt, piece by piece. Without a temperature the likeliest token is taken each time; `resume` goes on after what
    /// sequence 0 holds.
    #[pyo3(signature = (prompt, *, max_tokens=256, temperature=0.0, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.0, seed=0,
        ignore_eos=false, resume=false))]
    fn stream(
        &self,
        python: Python<'_>,
        prompt: Prompt,
        max_tokens: usize,
        temperature: f32,
        top_k: usize,
        top_p: f32,
        min_p: f32,
        repeat_penalty: f32,
        seed: u64,
        ignore_eos: bool,
        resume: bool,
    ) -> PyResult<Stream> {
        let tokens = self.ids(python, prompt)?;
        let sampling = SamplingOptions {
            temperature,
            top_k,
            top_p,
            min_p,
            repeat_penalty,
            seed,
        };
        let options = GenerateOptions {
            sampling,
            max_tokens,
            ignore_eos,
        };
        let session = Arc::clone(&self.0);
        python.detach(|| Stream::start(session, &tokens, &options, resume))
    }

    /// What follows a prompt, as a whole: the arguments are those of `stream`.
    #[pyo3(signature = (prompt, *, max_tokens=256, temperature=0.0, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.0, seed=0,
        ignore_eos=false, resume=false))]
    fn generate(
        &self,
        python: Python<'_>,
        prompt: Prompt,
        max_tokens: usize,
        temperature: f32,
        top_k: usize,
        top_p: f32,
        min_p: f32,
        repeat_penalty: f32,
        seed: u64,
        ignore_eos: bool,
        resume: bool,
    ) -> PyResult<String> {
        let stream = self.stream(
            python,
            prompt,
            max_tokens,
            temperature,
            top_k,
            top_p,
            min_p,
            repeat_penalty,
            seed,
            ignore_eos,
            resume,
        )?;
        let mut text = String::new();
        while let Some(piece) = stream.next(python)? {
            text += &piece.text;
            // Ctrl-C ends it between two tokens.
            python.check_signals()?;
        }
        Ok(text)
    }

    /// Begins a sequence anew.
    #[pyo3(signature = (sequence=0))]
    fn reset(&self, python: Python<'_>, sequence: usize) -> PyResult<()> {
        self.with(python, |session| {
            Ok(session.runtime_mut().reset(sequence)?)
        })
    }

    /// Forgets what a sequence holds after its first `position` tokens.
    #[pyo3(signature = (position, sequence=0))]
    fn truncate(&self, python: Python<'_>, position: usize, sequence: usize) -> PyResult<()> {
        self.with(python, |session| {
            Ok(session.runtime_mut().truncate(sequence, position)?)
        })
    }

    /// Makes one sequence an independent copy of another.
    fn copy(&self, python: Python<'_>, from_: usize, to: usize) -> PyResult<()> {
        self.with(python, |session| {
            Ok(session.runtime_mut().copy(from_, to)?)
        })
    }

    /// Tokens that a sequence holds.
    #[pyo3(signature = (sequence=0))]
    fn position(&self, python: Python<'_>, sequence: usize) -> PyResult<usize> {
        self.with(python, |session| {
            Ok(session.runtime().position(sequence)?)
        })
    }

    /// Tokens that each sequence has room for.
    #[getter]
    fn context(&self, python: Python<'_>) -> PyResult<usize> {
        self.with(python, |session| Ok(session.runtime().context()))
    }

    /// Number of token ids, and of logits in a row.
    #[getter]
    fn vocab(&self, python: Python<'_>) -> PyResult<usize> {
        self.with(python, |session| Ok(session.runtime().vocab()))
    }

    /// Tokens that end a text.
    #[getter]
    fn eos(&self, python: Python<'_>) -> PyResult<Vec<u32>> {
        self.with(python, |session| Ok(session.eos().to_vec()))
    }
}

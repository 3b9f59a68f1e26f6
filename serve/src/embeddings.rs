//! Embeddings of texts: what a model's final norm gives, over all positions of a text or at its last.
//!
//! The session is one of a program that ends with the norm; it is made when it is first asked for, and shares the weights of the one that
//! generates. Texts are computed one after the other, each from an empty sequence.

use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use graver_runtime::Error;
use graver_runtime::session::{Session, Wanted};

/// What a text's embedding is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Pooling {
    /// The mean over all positions.
    #[default]
    Mean,
    /// The last position.
    Last,
}

/// Makes the session.
pub type Start = Box<dyn FnMut() -> Result<Session, Box<dyn StdError + Send + Sync>> + Send>;

/// Why there is no embedding.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The session does not start.
    #[error("cannot start the embedding model: {0}")]
    Start(Box<dyn StdError + Send + Sync>),
    /// A text that cannot be computed.
    #[error(transparent)]
    Text(#[from] Error),
}

/// A model that gives hidden states.
pub struct Embedder {
    pooling: Pooling,
    state: Mutex<State>,
}

enum State {
    /// Nobody has asked yet.
    Waiting(Start),
    Started(Session),
}

impl Embedder {
    /// One that calls `start` for its session, which has one slot, when it is first asked.
    pub fn new(pooling: Pooling, start: Start) -> Embedder {
        Embedder {
            pooling,
            state: Mutex::new(State::Waiting(start)),
        }
    }

    /// The embedding of a text, of unit length.
    ///
    /// # Errors
    /// Texts that are empty or longer than the context, tokens outside the vocabulary; a session that does not start.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, EmbedError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Waiting(start) = &mut *state {
            *state = State::Started(start().map_err(EmbedError::Start)?);
        }
        let State::Started(session) = &mut *state else {
            unreachable!("it has just been started");
        };
        session.reset(0)?;
        session.expect(0, tokens.len())?;
        let pooled = match self.pooling {
            Pooling::Last => session.feed(0, tokens, Wanted::Last)?.to_vec(),
            Pooling::Mean => mean(session, tokens)?,
        };
        Ok(of_unit_length(pooled))
    }
}

/// The mean over all positions, summed in f64 step by step, so that no more than a step's rows are held.
fn mean(session: &mut Session, tokens: &[u32]) -> Result<Vec<f32>, Error> {
    let mut sums: Vec<f64> = Vec::new();
    for piece in tokens.chunks(session.max_step()) {
        let rows = session.feed(0, piece, Wanted::All)?;
        let width = rows.len() / rows.n_rows().max(1);
        sums.resize(width, 0.0);
        for row in rows.chunks_exact(width) {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += f64::from(*value));
        }
    }
    let n = tokens.len() as f64;
    Ok(sums.into_iter().map(|sum| (sum / n) as f32).collect())
}

fn of_unit_length(mut values: Vec<f32>) -> Vec<f32> {
    let squares: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
    let length = squares.sqrt();
    // Zeros have no direction.
    if length > 0.0 {
        values
            .iter_mut()
            .for_each(|v| *v = (f64::from(*v) / length) as f32);
    }
    values
}

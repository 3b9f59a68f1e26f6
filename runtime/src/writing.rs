//! Text as it is written: tokens drawn one after the other, and what each settles of the text.
//!
//! In: a sequence, the tokens that it is to go on from, how tokens are chosen and when to stop. Out: [`Piece`]s, whose texts together
//! are what follows the prompt. Without a tokenizer there are tokens and no text.

use std::ops::Deref;

use crate::generate::{GenerateError, Generation, Limits, Model, Stop, Timings};
use crate::sampling::Sampler;
use crate::stream::TextStream;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// A token, and the text that it settles: often its own, sometimes none yet, at the end what was held back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// The token; none for what was held back.
    pub token: Option<u32>,
    /// The text; tokens that end a text have none.
    pub text: String,
}

/// Why writing failed.
#[derive(Debug, thiserror::Error)]
pub enum WritingError {
    /// The model, or the choice of a token.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// Text could not be made of tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// Text being written by a model, most often a [`Sequence`](crate::sequence::Sequence), with a tokenizer that is borrowed or shared.
pub struct Writing<M, T> {
    generation: Generation<M>,
    text: Option<TextStream<T>>,
}

impl<M: Model, T: Deref<Target = Tokenizer>> Writing<M, T> {
    /// Feeds the prompt, after what the model's sequence holds.
    ///
    /// # Errors
    /// Prompts that are empty, too long, or of tokens that there are not; what the model reports.
    pub fn start(
        model: M,
        prompt: &[u32],
        tokenizer: Option<T>,
        sampler: Sampler,
        limits: Limits,
    ) -> Result<Writing<M, T>, WritingError> {
        let text = tokenizer
            .map(|t| TextStream::after(t, prompt))
            .transpose()?;
        let generation = Generation::start(model, prompt, sampler, limits)?;
        Ok(Writing { generation, text })
    }

    /// Why it stopped; `None` while it has not.
    pub fn stop(&self) -> Option<Stop> {
        self.generation.stop()
    }

    /// Tokens and times so far.
    pub fn timings(&self) -> Timings {
        self.generation.timings()
    }

    fn next_piece(&mut self) -> Result<Option<Piece>, WritingError> {
        let Some(token) = self.generation.next_token()? else {
            let held = self.text.take().map(TextStream::finish).transpose()?;
            let held = held.filter(|text| !text.is_empty());
            return Ok(held.map(|text| Piece { token: None, text }));
        };
        let text = match &mut self.text {
            Some(stream) if !self.generation.is_eos(token) => stream.push(token)?,
            Some(_) | None => String::new(),
        };
        let token = Some(token);
        Ok(Some(Piece { token, text }))
    }
}

impl<M: Model, T: Deref<Target = Tokenizer>> Iterator for Writing<M, T> {
    type Item = Result<Piece, WritingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_piece().transpose()
    }
}

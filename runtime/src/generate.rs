//! The generation loop: a prompt in, tokens out, one at a time.
//!
//! Works on token ids and a [`Model`] that turns them into logits; knows nothing of text, files or threads.

use std::error::Error as StdError;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::sampling::{Sampler, SamplingError};

/// What a model's own code reports.
pub type ModelError = Box<dyn StdError + Send + Sync>;

/// What the first of several ranks that share a model has brought to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Meetings {
    /// How many ranks.
    pub ranks: usize,
    /// Times that they have met.
    pub meetings: u64,
    /// Bytes that the first brought to all of these.
    pub brought_bytes: u64,
    /// Those of them that went while other threads of the first were still computing the rest.
    pub early_bytes: u64,
}

/// One sequence being computed.
pub trait Model {
    /// Appends tokens to the sequence and returns the logits of the last one, `[vocab]`.
    fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], ModelError>;
    /// Positions the sequence has room for.
    fn context(&self) -> usize;
    /// Number of token ids.
    fn vocab(&self) -> usize;
    /// Positions that are filled.
    fn position(&self) -> usize {
        0
    }
    /// Where ranks share the model, how they have met so far.
    fn meetings(&self) -> Option<Meetings> {
        None
    }
}

impl<M: Model + ?Sized> Model for &mut M {
    fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], ModelError> {
        (**self).feed(tokens)
    }

    fn context(&self) -> usize {
        (**self).context()
    }

    fn vocab(&self) -> usize {
        (**self).vocab()
    }

    fn position(&self) -> usize {
        (**self).position()
    }

    fn meetings(&self) -> Option<Meetings> {
        (**self).meetings()
    }
}

/// When to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// After this many tokens.
    pub max_tokens: usize,
    /// After any of these; empty to go on regardless.
    pub eos: Vec<u32>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model ended the text.
    Eos,
    /// As many tokens as were wanted.
    Length,
    /// The context has no room for another token.
    Context,
}

/// Why a generation failed.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// There is no token to start from.
    #[error(
        "the prompt is empty, expected at least one token; pass text with -p, or ids with --tokens"
    )]
    EmptyPrompt,
    /// The prompt does not fit.
    #[error(
        "the prompt has {tokens} tokens, but the context has room for {context}; shorten it, or raise --context"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Positions of the context.
        context: usize,
    },
    /// A token id that the model does not have.
    #[error(
        "token {index} of the prompt is {token}, expected an id below the vocabulary size {vocab}"
    )]
    UnknownToken {
        /// Place in the prompt, from 0.
        index: usize,
        /// The id.
        token: u32,
        /// Number of ids.
        vocab: usize,
    },
    /// The model's own code failed.
    #[error("the model failed at position {position}: {source}")]
    Model {
        /// Position of the first token fed.
        position: usize,
        /// What it said.
        source: ModelError,
    },
    /// No token could be chosen.
    #[error("position {position}: {source}")]
    Sampling {
        /// Position of the token whose logits they are.
        position: usize,
        /// What was wrong.
        source: SamplingError,
    },
}

/// How long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Computing the prompt.
    pub prompt_time: Duration,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Tokens fed after the prompt: the first token generated needs none, its logits come with the prompt's.
    pub steps: usize,
    /// From the end of the prompt to the end of the last step, with sampling and whatever the caller did between.
    pub generation_time: Duration,
}

impl Timings {
    /// Prompt tokens per second.
    pub fn prompt_rate(&self) -> f64 {
        rate(self.prompt_tokens, self.prompt_time)
    }

    /// Steps per second; 0 where there were none.
    pub fn generation_rate(&self) -> f64 {
        rate(self.steps, self.generation_time)
    }
}

/// A generation under way.
pub struct Generation<M> {
    model: M,
    sampler: Sampler,
    limits: Limits,
    /// Tokens in the model's sequence.
    position: usize,
    /// Sampled and not yet handed out.
    next: Option<u32>,
    /// Handed out and not yet fed.
    last: Option<u32>,
    stop: Option<Stop>,
    timings: Timings,
    prompt_done: Instant,
}

/// Checks that a prompt can be fed to a model.
pub fn check_prompt(model: &dyn Model, prompt: &[u32]) -> Result<(), GenerateError> {
    let (context, vocab) = (model.context() - model.position(), model.vocab());
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    if prompt.len() > context {
        return Err(GenerateError::PromptTooLong {
            tokens: prompt.len(),
            context,
        });
    }
    match prompt.iter().position(|&token| token as usize >= vocab) {
        Some(index) => Err(GenerateError::UnknownToken {
            index,
            token: prompt[index],
            vocab,
        }),
        None => Ok(()),
    }
}

impl<M: Model> Generation<M> {
    /// Feeds the prompt to a model, after what its sequence holds.
    pub fn start(
        mut model: M,
        prompt: &[u32],
        mut sampler: Sampler,
        limits: Limits,
    ) -> Result<Generation<M>, GenerateError> {
        check_prompt(&model, prompt)?;
        sampler.observe(prompt);
        let start = Instant::now();
        let position = model.position();
        let logits = model
            .feed(prompt)
            .map_err(|source| GenerateError::Model { position, source })?;
        let prompt_done = Instant::now();
        let position = position + prompt.len();
        let next = match limits.max_tokens {
            0 => None,
            _ => Some(draw(&mut sampler, logits, position)?),
        };
        let prompt_time = prompt_done - start;
        let timings = Timings {
            prompt_tokens: prompt.len(),
            prompt_time,
            ..Timings::default()
        };
        Ok(Generation {
            model,
            sampler,
            limits,
            position,
            next,
            last: None,
            stop: None,
            timings,
            prompt_done,
        })
    }

    /// The next token, or `None` once there is a reason to stop. An end-of-sequence token is handed out, as the last one.
    pub fn next_token(&mut self) -> Result<Option<u32>, GenerateError> {
        self.stop = self.stop.or_else(|| self.reason_to_stop());
        if self.stop.is_some() {
            return Ok(None);
        }
        let token = match self.next.take() {
            Some(token) => token,
            None => self.step()?,
        };
        self.last = Some(token);
        self.timings.generated_tokens += 1;
        Ok(Some(token))
    }

    /// Why it stopped; `None` while it has not.
    pub fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// Tokens and times so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Where ranks share the model, how they have met so far.
    pub fn meetings(&self) -> Option<Meetings> {
        self.model.meetings()
    }

    /// Whether a token ends the text.
    pub fn is_eos(&self, token: u32) -> bool {
        self.limits.eos.contains(&token)
    }

    fn reason_to_stop(&self) -> Option<Stop> {
        if self.last.is_some_and(|token| self.is_eos(token)) {
            return Some(Stop::Eos);
        }
        if self.timings.generated_tokens >= self.limits.max_tokens {
            return Some(Stop::Length);
        }
        let full = self.next.is_none() && self.position >= self.model.context();
        full.then_some(Stop::Context)
    }

    /// Feeds the last token and samples the one after it.
    fn step(&mut self) -> Result<u32, GenerateError> {
        let position = self.position;
        let fed = self.last.as_slice();
        let logits = self
            .model
            .feed(fed)
            .map_err(|source| GenerateError::Model { position, source })?;
        self.position += fed.len();
        self.timings.steps += fed.len();
        let token = draw(&mut self.sampler, logits, self.position);
        self.timings.generation_time = self.prompt_done.elapsed();
        token
    }
}

/// Samples from the logits of the last of `positions` tokens.
fn draw(sampler: &mut Sampler, logits: &[f32], positions: usize) -> Result<u32, GenerateError> {
    let token = sampler
        .sample(logits)
        .map_err(|source| GenerateError::Sampling {
            position: positions - 1,
            source,
        })?;
    sampler.observe(&[token]);
    Ok(token)
}

fn rate(tokens: usize, time: Duration) -> f64 {
    if tokens == 0 {
        0.0
    } else {
        tokens as f64 / time.as_secs_f64().max(1e-9)
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

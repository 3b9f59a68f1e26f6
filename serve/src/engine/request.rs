//! What is asked of the engine, and what it answers.

use graver_runtime::sampling::SamplingError;
use graver_runtime::tokenizer::TokenizerError;

use super::constraint::{Constraint, ConstraintError};

/// The most alternatives whose probabilities are reported for a token.
pub(crate) const MOST_ALTERNATIVES: usize = 20;
/// The most answers to one prompt.
const MOST_CHOICES: usize = 128;

/// A prompt, and how it is to be continued.
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// How many continuations are wanted.
    pub choices: usize,
    /// The most tokens of each.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts at which a continuation ends; they are not part of it.
    pub stop: Vec<String>,
    /// Goes on after a token that ends a text.
    pub ignore_eos: bool,
    /// Reports the probability of each token, and of so many alternatives.
    pub logprobs: Option<usize>,
    /// What continuations have to follow.
    pub constraint: Option<Box<dyn Constraint>>,
}

impl Request {
    /// One continuation of `prompt` by its likeliest tokens.
    pub fn greedy(prompt: Vec<u32>, max_tokens: usize) -> Request {
        Request {
            prompt,
            choices: 1,
            max_tokens,
            sampling: Sampling::default(),
            stop: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            constraint: None,
        }
    }

    /// Refuses what cannot be done with a model of `vocab` tokens and a context of `context` positions.
    pub(super) fn check(&self, vocab: usize, context: usize) -> Result<(), RequestError> {
        if self.prompt.is_empty() {
            return Err(RequestError::Empty);
        }
        let tokens = self.prompt.len();
        if tokens > context {
            return Err(RequestError::TooLong { tokens, context });
        }
        let biases = self.sampling.logit_bias.iter().map(|(token, _)| token);
        if let Some(&token) = self
            .prompt
            .iter()
            .chain(biases)
            .find(|&&id| id as usize >= vocab)
        {
            return Err(RequestError::UnknownToken { token, vocab });
        }
        if !(1..=MOST_CHOICES).contains(&self.choices) {
            let most = MOST_CHOICES;
            return Err(RequestError::Choices {
                found: self.choices,
                most,
            });
        }
        match self.logprobs {
            Some(found) if found > MOST_ALTERNATIVES => Err(RequestError::Alternatives {
                found,
                most: MOST_ALTERNATIVES,
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the likeliest token.
    pub temperature: f32,
    /// Only the likeliest tokens that together reach this probability; 1 for all.
    pub top_p: f32,
    /// Only this many of the likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Only tokens at least this likely, measured against the likeliest; 0 for all.
    pub min_p: f32,
    /// Seed of the random numbers; that of a request's choice `i` is `i` more. Drawn where there is none.
    pub seed: Option<u64>,
    /// What logits of tokens that occurred, in the prompt or after it, are divided or multiplied by; 1 for nothing.
    pub repeat_penalty: f32,
    /// What is taken from the logit of a token that was generated before.
    pub presence_penalty: f32,
    /// What is taken from the logit of a token each time that it was generated before.
    pub frequency_penalty: f32,
    /// What is added to the logits of tokens.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for Sampling {
    /// The likeliest token, as the model has it.
    fn default() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            seed: None,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
        }
    }
}

/// Index of one of the continuations that were asked for.
pub type Choice = usize;

/// Something that happened to a request.
#[derive(Debug)]
pub enum Event {
    /// A choice has grown.
    Piece {
        /// Which one.
        choice: Choice,
        /// Text that nothing can change any more; may be empty while characters or stop texts are incomplete.
        text: String,
        /// The token whose arrival made the text known.
        token: Token,
    },
    /// A choice is complete.
    Finished {
        /// Which one.
        choice: Choice,
        /// The rest of its text.
        text: String,
        /// Why it ended.
        reason: Finish,
        /// What it took.
        usage: Usage,
    },
    /// The request has failed; nothing comes after it.
    Failed(EngineError),
}

/// A token that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its probability, where that was asked for.
    pub scored: Option<Scored>,
}

/// Logarithms of probabilities, of the model's own distribution: before temperature, penalties, biases and constraints.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// That of the token.
    pub logprob: f32,
    /// The likeliest tokens and theirs, likeliest first.
    pub alternatives: Vec<(u32, f32)>,
}

/// Why a continuation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A token that ends the text, one of the texts to stop at, or the end of what was to be followed.
    Stop,
    /// As many tokens as were wanted, or as there is room for.
    Length,
}

/// What a choice took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that had been read before.
    pub cached_tokens: usize,
    /// Tokens generated, one that ends the text included.
    pub generated_tokens: usize,
}

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no token to start from.
    #[error("the prompt is empty, expected at least one token")]
    Empty,
    /// The prompt does not fit.
    #[error(
        "the prompt has {tokens} tokens, but the context has room for {context}; shorten it, or start the server with a larger --context"
    )]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Positions of the context.
        context: usize,
    },
    /// A token id that the model does not have.
    #[error("token {token}: expected an id below the vocabulary size {vocab}")]
    UnknownToken {
        /// The id.
        token: u32,
        /// Number of ids.
        vocab: usize,
    },
    /// A number of continuations that makes no sense.
    #[error("{found} choices: expected 1 to {most}")]
    Choices {
        /// Choices asked for.
        found: usize,
        /// The most there can be.
        most: usize,
    },
    /// Too many alternatives.
    #[error("the probabilities of {found} alternatives: expected at most {most}")]
    Alternatives {
        /// Alternatives asked for.
        found: usize,
        /// The most there can be.
        most: usize,
    },
    /// An option outside its range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// As many requests wait as may.
    #[error(
        "the queue is full: {waiting} requests are waiting (--queue); try again in {seconds} s"
    )]
    Busy {
        /// Requests in the queue.
        waiting: usize,
        /// Seconds until there should be room, by how fast requests have left the queue lately.
        seconds: u64,
    },
    /// The engine has been asked to end.
    #[error("the server is shutting down; try another one, or later")]
    Draining,
    /// The engine's thread has ended, which is a fault.
    #[error("the engine has stopped; restart the server")]
    Stopped,
}

/// Why a request failed that had been taken.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The step failed that the request was in.
    #[error("the model failed: {message}")]
    Step {
        /// What it said.
        message: String,
    },
    /// No token could be chosen.
    #[error("position {position}: {source}")]
    Sampling {
        /// Position of the token whose logits they are.
        position: usize,
        /// What was wrong.
        source: SamplingError,
    },
    /// Ids could not become text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// What had to be followed cannot be.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
}

//! Computing: logits of tokens, and text.

use std::sync::Arc;

use graver_runtime::generate::{Limits, Stop, Timings};
use graver_runtime::sampling::{Sampler, SamplingOptions};
use graver_runtime::sequence::Sequence;
use graver_runtime::session::{self, Logits, Segment, Wanted};
use graver_runtime::tokenizer::Tokenizer;
use graver_runtime::writing::{Piece, Writing};

use super::error::Error;
use super::text::Text;

/// A model ready to run, with the state of its sequences. The first sequence is number 0; more are asked for with
/// [`SessionOptions::slots`](session::SessionOptions::slots).
///
/// ```
/// use graver::runtime::session::SessionOptions;
/// use graver::{GenerateOptions, Model, Options};
///
/// let compiled = Model::built_in().compile(Options::default())?;
/// let mut session = compiled.session(SessionOptions::default())?;
/// let text = session.generate("In the beginning", &GenerateOptions::greedy(8))?;
/// assert!(!text.is_empty());
/// # Ok::<(), graver::Error>(())
/// ```
pub struct Session {
    session: session::Session,
    text: Arc<Text>,
}

/// How a text goes on after a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// The most tokens that are written.
    pub max_tokens: usize,
    /// Whether to go on after a token that ends a text.
    pub ignore_eos: bool,
}

impl Default for GenerateOptions {
    /// The command line's own choices, with seed 0.
    fn default() -> GenerateOptions {
        GenerateOptions {
            sampling: SamplingOptions::default(),
            max_tokens: 256,
            ignore_eos: false,
        }
    }
}

impl GenerateOptions {
    /// The likeliest token each time, at most so many.
    pub fn greedy(max_tokens: usize) -> GenerateOptions {
        GenerateOptions {
            sampling: SamplingOptions {
                temperature: 0.0,
                ..SamplingOptions::default()
            },
            max_tokens,
            ignore_eos: false,
        }
    }

    /// Tokens drawn with the command line's own choices and this seed, at most so many.
    pub fn sampled(max_tokens: usize, seed: u64) -> GenerateOptions {
        GenerateOptions {
            sampling: SamplingOptions {
                seed,
                ..SamplingOptions::default()
            },
            max_tokens,
            ignore_eos: false,
        }
    }
}

impl Session {
    pub(super) fn new(session: session::Session, text: Arc<Text>) -> Session {
        Session { session, text }
    }

    /// Logits of every one of `tokens`, `[tokens, vocab]`, in sequence 0 begun anew.
    ///
    /// # Errors
    /// Tokens that there are not, and more than the context has room for.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Logits<'_>, Error> {
        self.session.reset(0)?;
        Ok(self.session.feed(0, tokens, Wanted::All)?)
    }

    /// Appends to sequence 0; gives the logits of the last token, `[vocab]`.
    ///
    /// # Errors
    /// As [`Session::logits`].
    pub fn append(&mut self, tokens: &[u32]) -> Result<&[f32], Error> {
        let logits = self.session.feed(0, tokens, Wanted::Last)?;
        Ok(logits.last().unwrap_or(&[]))
    }

    /// Appends to several sequences in one step, at most [`Session::max_step`](session::Session::max_step) tokens together: much
    /// faster than one after the other.
    ///
    /// # Errors
    /// As [`Session::logits`]; sequences that there are not, and one that is named twice.
    pub fn step(&mut self, segments: &[Segment<'_>], wanted: Wanted) -> Result<Logits<'_>, Error> {
        Ok(self.session.step(segments, wanted)?)
    }

    /// What follows `prompt`, as a whole, in sequence 0 begun anew.
    ///
    /// # Errors
    /// Models without a tokenizer; prompts that do not fit; options outside their range.
    pub fn generate(&mut self, prompt: &str, options: &GenerateOptions) -> Result<String, Error> {
        let pieces = self.stream(prompt, options)?;
        pieces.map(|piece| Ok(piece?.text)).collect()
    }

    /// What follows `prompt`, piece by piece, in sequence 0 begun anew.
    ///
    /// ```
    /// use graver::runtime::session::SessionOptions;
    /// use graver::{GenerateOptions, Model, Options};
    ///
    /// let compiled = Model::built_in().compile(Options::default())?;
    /// let mut session = compiled.session(SessionOptions::default())?;
    /// let mut text = String::new();
    /// for piece in session.stream("In the beginning", &GenerateOptions::sampled(8, 1))? {
    ///     text += &piece?.text;
    /// }
    /// assert!(!text.is_empty());
    /// # Ok::<(), graver::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn stream(&mut self, prompt: &str, options: &GenerateOptions) -> Result<Stream<'_>, Error> {
        let tokens = self.encode(prompt)?;
        self.stream_tokens(&tokens, options)
    }

    /// What follows token ids, taken as they are, in sequence 0 begun anew. Without a tokenizer pieces have tokens and no text.
    ///
    /// # Errors
    /// As [`Session::generate`], but for the tokenizer.
    pub fn stream_tokens(
        &mut self,
        tokens: &[u32],
        options: &GenerateOptions,
    ) -> Result<Stream<'_>, Error> {
        self.session.reset(0)?;
        self.go_on(tokens, options)
    }

    /// As [`Session::stream_tokens`], after what sequence 0 holds already.
    ///
    /// # Errors
    /// As [`Session::stream_tokens`].
    pub fn go_on(
        &mut self,
        tokens: &[u32],
        options: &GenerateOptions,
    ) -> Result<Stream<'_>, Error> {
        let limits = self.limits(options);
        let sampler = Sampler::new(options.sampling.clone())?;
        let tokenizer = self.text.if_any()?.map(|tokenizer| &**tokenizer);
        let sequence = Sequence::new(&mut self.session);
        let writing = Writing::start(sequence, tokens, tokenizer, sampler, limits)?;
        Ok(Stream(writing))
    }

    /// When a text ends.
    pub fn limits(&self, options: &GenerateOptions) -> Limits {
        let eos = match options.ignore_eos {
            true => vec![],
            false => self.text.special.eos.clone(),
        };
        Limits {
            max_tokens: options.max_tokens,
            eos,
        }
    }

    /// Token ids of a prompt, with the special tokens that the model's files ask for; of an empty one, the token that begins texts.
    ///
    /// # Errors
    /// Models without a tokenizer.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let mut tokens = self.text.tokenizer()?.encode(text)?;
        if tokens.is_empty() {
            tokens.extend(self.text.special.bos);
        }
        Ok(tokens)
    }

    /// Text of token ids, without special tokens.
    ///
    /// # Errors
    /// Models without a tokenizer.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, Error> {
        Ok(self.text.tokenizer()?.decode(tokens)?)
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// Models without one.
    pub fn tokenizer(&self) -> Result<&Arc<Tokenizer>, Error> {
        Ok(self.text.tokenizer()?)
    }

    /// Tokens that end a text.
    pub fn eos(&self) -> &[u32] {
        &self.text.special.eos
    }

    /// The runtime's session: sizes, positions, and what can be done with sequences (cut, copy, snapshot).
    pub fn runtime(&self) -> &session::Session {
        &self.session
    }

    /// The same, to be changed.
    pub fn runtime_mut(&mut self) -> &mut session::Session {
        &mut self.session
    }
}

/// Text being written: an iterator of pieces.
pub struct Stream<'s>(Writing<Sequence<'s>, &'s Tokenizer>);

impl Stream<'_> {
    /// Why it stopped; `None` while it has not.
    pub fn stop(&self) -> Option<Stop> {
        self.0.stop()
    }

    /// Tokens and times so far.
    pub fn timings(&self) -> Timings {
        self.0.timings()
    }
}

impl Iterator for Stream<'_> {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map_err(Error::from))
    }
}

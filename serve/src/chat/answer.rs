//! An answer: a conversation's tokens in, new tokens out, of which only those are computed that the sequence does not hold yet.

use std::time::{Duration, Instant};

use graver_runtime::sampling::Sampler;
use graver_runtime::session::{Session, Wanted};

use super::error::ChatError;
use super::interrupt::Watch;

/// The sequence of a conversation: slot 0 of a session.
pub(super) struct Sequence<'s> {
    session: &'s mut Session,
    /// The tokens that it holds.
    held: Vec<u32>,
}

/// When an answer ends.
pub(super) struct Limits<'a> {
    /// Tokens of an answer; 0 for no limit.
    pub(super) max_tokens: usize,
    pub(super) eos: &'a [u32],
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Said,
    Length,
    Context,
    Interrupted,
}

/// What it cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Tokens that the model read before it answered, and how many of them it had not read before.
    pub(super) prompt: usize,
    pub(super) new: usize,
    pub(super) reading: Duration,
    pub(super) answer: usize,
    pub(super) writing: Duration,
}

/// What an answer is made with.
pub(super) struct Asked<'a> {
    pub(super) prompt: Vec<u32>,
    pub(super) sampler: Sampler,
    pub(super) limits: Limits<'a>,
    /// Given all tokens so far and how many of them are the answer's, makes fewer of them; none where the answer ends instead.
    pub(super) shorten: &'a mut Shorten<'a>,
}

/// Makes tokens that fill the context fewer.
pub(super) type Shorten<'a> = dyn FnMut(&[u32], usize) -> Result<Option<Vec<u32>>, ChatError> + 'a;

impl<'s> Sequence<'s> {
    pub(super) fn new(session: &'s mut Session) -> Sequence<'s> {
        Sequence {
            session,
            held: Vec::new(),
        }
    }

    pub(super) fn context(&self) -> usize {
        self.session.context()
    }

    /// Tokens that the sequence holds.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Writes an answer, handing out each token as it comes, but for the one that ends it.
    pub(super) fn answer(
        &mut self,
        asked: Asked<'_>,
        watch: &Watch,
        token: &mut dyn FnMut(u32) -> Result<(), ChatError>,
    ) -> Result<(End, Cost), ChatError> {
        let Asked {
            prompt,
            mut sampler,
            limits,
            shorten,
        } = asked;
        sampler.observe(&prompt);
        let began = Instant::now();
        let mut cost = Cost {
            prompt: prompt.len(),
            ..Cost::default()
        };
        let (mut tokens, read) = (prompt, Instant::now());
        let mut next = self.hold(&tokens, &mut sampler, watch, &mut cost.new)?;
        cost.reading = began.elapsed();
        let end = loop {
            let Some(id) = next else {
                break End::Interrupted;
            };
            sampler.observe(&[id]);
            if limits.eos.contains(&id) {
                break End::Said;
            }
            token(id)?;
            cost.answer += 1;
            tokens.push(id);
            if cost.answer == limits.max_tokens {
                break End::Length;
            }
            if tokens.len() > self.context() {
                match shorten(&tokens, cost.answer)? {
                    Some(fewer) => tokens = fewer,
                    None => break End::Context,
                }
            }
            next = self.hold(&tokens, &mut sampler, watch, &mut 0)?;
        };
        cost.writing = read.elapsed().saturating_sub(cost.reading);
        Ok((end, cost))
    }

    /// Makes the sequence hold these tokens, and draws the next; none where that was interrupted. `new` becomes how many had to be
    /// computed.
    fn hold(
        &mut self,
        tokens: &[u32],
        sampler: &mut Sampler,
        watch: &Watch,
        new: &mut usize,
    ) -> Result<Option<u32>, ChatError> {
        self.keep_common(tokens)?;
        let rest = &tokens[self.held.len()..];
        *new = rest.len();
        let chunk = self.session.max_step();
        let last = rest.len().saturating_sub(1) / chunk;
        for (index, tokens) in rest.chunks(chunk).enumerate() {
            if watch.is_interrupted() {
                return Ok(None);
            }
            let wanted = if index == last {
                Wanted::Last
            } else {
                Wanted::None
            };
            let logits = self.session.feed(0, tokens, wanted)?;
            self.held.extend_from_slice(tokens);
            if index == last {
                return Ok(Some(sampler.sample(logits.last().unwrap_or(&[]))?));
            }
        }
        Ok(None)
    }

    /// Forgets what the sequence holds after the tokens that it has in common with these, one of which is left to be computed.
    fn keep_common(&mut self, tokens: &[u32]) -> Result<(), ChatError> {
        let common = self.held.iter().zip(tokens).take_while(|(a, b)| a == b);
        let mut kept = common.count().min(tokens.len().saturating_sub(1));
        if kept == self.held.len() {
            return Ok(());
        }
        if kept < self.session.earliest(0)? {
            // Recurrent state and windows cannot go back so far.
            kept = 0;
        }
        self.session.truncate(0, kept)?;
        self.held.truncate(kept);
        Ok(())
    }
}

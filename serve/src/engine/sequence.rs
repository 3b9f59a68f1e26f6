//! One continuation in a slot: what is left to be read, what was generated, and where its events go.

use std::rc::Rc;

use graver_runtime::sampling::SamplingError;
use graver_runtime::tokenizer::{Tokenizer, TokenizerError};
use tokio::sync::mpsc::UnboundedSender;

use super::choose::Chooser;
use super::constraint::{Constraint, ConstraintError, Mask, guarded};
use super::request::{EngineError, Event, Finish, Request, Token, Usage};
use super::text::Text;

/// What the choices of a request have in common.
pub(super) struct Shared {
    pub(super) request: Request,
    pub(super) events: UnboundedSender<Event>,
}

/// A choice that waits for a slot.
pub(super) struct Waiting {
    pub(super) shared: Rc<Shared>,
    pub(super) choice: usize,
}

/// A choice in a slot.
pub(super) struct Sequence<'t> {
    pub(super) shared: Rc<Shared>,
    pub(super) choice: usize,
    pub(super) slot: usize,
    /// Tokens of the prompt that are in the slot.
    pub(super) read: usize,
    /// Where reading has to pause for a snapshot.
    pub(super) pauses: Vec<usize>,
    cached: usize,
    /// Other choices, which begin when the prompt has been read.
    pub(super) siblings: Vec<usize>,
    /// Chosen, and not yet in the slot.
    pub(super) next: Option<u32>,
    generated: usize,
    chooser: Chooser,
    text: Text<'t>,
    /// Where the constraint is; away while its mask is computed.
    pub(super) constraint: Option<Box<dyn Constraint>>,
    /// What may come next, as computed during the step.
    pub(super) mask: Option<Mask>,
}

/// What becomes of a sequence after a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    Goes,
    Ends(Finish),
    /// Nobody listens.
    Abandoned,
}

/// What a sequence is begun with.
pub(super) struct Begin<'t> {
    pub(super) tokenizer: Option<&'t Tokenizer>,
    pub(super) slot: usize,
    pub(super) reused: usize,
    pub(super) pauses: Vec<usize>,
}

impl<'t> Sequence<'t> {
    pub(super) fn begin(waiting: Waiting, at: Begin<'t>) -> Result<Sequence<'t>, EngineError> {
        let Waiting { shared, choice } = waiting;
        let Request {
            prompt,
            sampling,
            logprobs,
            stop,
            constraint,
            ..
        } = &shared.request;
        let sampling_error = |source| EngineError::Sampling {
            position: 0,
            source,
        };
        let mut chooser = Chooser::new(sampling, choice, *logprobs).map_err(sampling_error)?;
        chooser.observe(prompt);
        let text = Text::after(at.tokenizer, prompt, stop.clone())?;
        let constraint = constraint.as_ref().map(|constraint| constraint.copy());
        Ok(Sequence {
            choice,
            slot: at.slot,
            read: at.reused,
            pauses: at.pauses,
            cached: at.reused,
            siblings: Vec::new(),
            next: None,
            generated: 0,
            chooser,
            text,
            constraint,
            mask: None,
            shared,
        })
    }

    pub(super) fn prompt(&self) -> &[u32] {
        &self.shared.request.prompt
    }

    /// Whether the whole prompt is in the slot.
    pub(super) fn has_read(&self) -> bool {
        self.read == self.prompt().len()
    }

    /// Positions of the slot that are filled.
    fn position(&self) -> usize {
        self.prompt().len() + self.generated - usize::from(self.next.is_some())
    }

    /// Whether nobody listens any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.shared.events.is_closed()
    }

    /// Chooses the token that follows, and says so.
    pub(super) fn advance(
        &mut self,
        logits: &[f32],
        eos: &[u32],
        context: usize,
        scratch: &mut Vec<f32>,
    ) -> Result<Then, EngineError> {
        if self.shared.request.max_tokens == 0 {
            return Ok(Then::Ends(Finish::Length));
        }
        let position = self.position();
        let mask = match (&mut self.constraint, self.mask.take()) {
            (Some(constraint), None) => Some(guarded(|| constraint.mask())?),
            (_, mask) => mask,
        };
        let chosen = self.chooser.choose(logits, mask.as_ref(), scratch);
        let token = chosen.map_err(|source| match (source, &mask) {
            (SamplingError::Impossible { .. }, Some(_)) => ConstraintError::nothing_fits().into(),
            (source, _) => EngineError::Sampling { position, source },
        })?;
        self.next = Some(token.id);
        self.generated += 1;
        let done = match &mut self.constraint {
            Some(constraint) => guarded(|| constraint.accept(token.id))?,
            None => false,
        };
        let ends = eos.contains(&token.id) && !self.shared.request.ignore_eos;
        self.say(token, ends, done, context)
    }

    /// Sends what a token has made certain, and decides how it goes on.
    fn say(
        &mut self,
        token: Token,
        ends: bool,
        done: bool,
        context: usize,
    ) -> Result<Then, EngineError> {
        let (text, stopped) = match ends {
            true => (String::new(), false),
            false => self.text.push(token.id)?,
        };
        let choice = self.choice;
        let piece = Event::Piece {
            choice,
            text,
            token,
        };
        if self.shared.events.send(piece).is_err() {
            return Ok(Then::Abandoned);
        }
        let full = self.generated >= self.shared.request.max_tokens || self.position() >= context;
        Ok(match (stopped || ends || done, full) {
            (true, _) => Then::Ends(Finish::Stop),
            (false, true) => Then::Ends(Finish::Length),
            (false, false) => Then::Goes,
        })
    }

    /// What it took.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.prompt().len(),
            cached_tokens: self.cached,
            generated_tokens: self.generated,
        }
    }

    /// Sends the end of it.
    pub(super) fn finish(self, reason: Finish) -> Result<(), TokenizerError> {
        let (choice, usage) = (self.choice, self.usage());
        let (text, stopped) = self.text.finish()?;
        let reason = if stopped { Finish::Stop } else { reason };
        // Whoever has left need not know.
        let _ = self.shared.events.send(Event::Finished {
            choice,
            text,
            reason,
            usage,
        });
        Ok(())
    }
}

//! What the engine says about the prompts of one request, as it comes.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::error::ApiError;
use crate::engine::{Engine, Event, Request, Submitted, Usage};

/// The prompts of a request, all of which have been taken.
pub(super) struct Answers {
    /// With the choices of each that are not complete.
    open: Vec<Part>,
    choices: usize,
    turn: usize,
    usage: Usage,
}

struct Part {
    prompt: usize,
    left: usize,
    submitted: Submitted,
}

/// Something that happened to one of the choices, which are counted through all prompts.
pub(super) struct Answer {
    pub(super) choice: usize,
    pub(super) event: Event,
}

impl Answers {
    /// Hands all prompts to the engine, or none.
    pub(super) fn submit(engine: &Engine, requests: Vec<Request>) -> Result<Answers, ApiError> {
        let choices = requests.first().map_or(1, |request| request.choices);
        let submit = |(prompt, request)| {
            let submitted = engine.submit(request)?;
            Ok(Part {
                prompt,
                left: choices,
                submitted,
            })
        };
        let open: Result<Vec<Part>, ApiError> =
            requests.into_iter().enumerate().map(submit).collect();
        Ok(Answers {
            open: open?,
            choices,
            turn: 0,
            usage: Usage::default(),
        })
    }

    /// What happens next; nothing after the end.
    pub(super) async fn next(&mut self) -> Option<Result<Answer, ApiError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same, for bodies.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Answer, ApiError>>> {
        if self.open.is_empty() {
            return Poll::Ready(None);
        }
        for _ in 0..self.open.len() {
            self.turn = (self.turn + 1) % self.open.len();
            match self.open[self.turn].submitted.events.poll_recv(context) {
                Poll::Pending => {}
                Poll::Ready(event) => return Poll::Ready(Some(self.take(event))),
            }
        }
        Poll::Pending
    }

    fn take(&mut self, event: Option<Event>) -> Result<Answer, ApiError> {
        let at = self.turn;
        let part = &mut self.open[at];
        let base = part.prompt * self.choices;
        let choice = match &event {
            Some(Event::Piece { choice, .. }) => base + choice,
            Some(Event::Finished { choice, usage, .. }) => {
                let choice = base + choice;
                // A prompt counts once, however many answers it has.
                if part.left == self.choices {
                    self.usage.prompt_tokens += usage.prompt_tokens;
                }
                if choice == base {
                    self.usage.cached_tokens += usage.cached_tokens;
                }
                self.usage.generated_tokens += usage.generated_tokens;
                part.left -= 1;
                if part.left == 0 {
                    self.open.remove(at);
                }
                choice
            }
            Some(Event::Failed(_)) | None => base,
        };
        match event {
            Some(Event::Failed(error)) => {
                self.open.clear();
                Err(error.into())
            }
            Some(event) => Ok(Answer { choice, event }),
            None => {
                self.open.clear();
                Err(ApiError::internal(
                    "the engine dropped the request; the server is shutting down or has failed",
                ))
            }
        }
    }

    /// Answers to all prompts.
    pub(super) fn total(&self) -> usize {
        self.choices * self.open.len()
    }

    /// What all that is complete took.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }
}

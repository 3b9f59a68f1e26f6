//! The thread that owns the session: takes requests into slots, computes steps, hands out what they give.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use graver_runtime::Error;
use graver_runtime::session::{Segment, Session, Wanted};
use graver_runtime::tokenizer::Tokenizer;

use super::cache::Cache;
use super::handle::Board;
use super::masks::Masks;
use super::plan::{Rows, StepLimits, plan};
use super::queue::{Job, Phase};
use super::request::{EngineError, Event};
use super::sequence::{Begin, Sequence, Shared, Then, Waiting};

/// Everything of the thread.
pub(super) struct Worker<'t> {
    pub(super) session: Session,
    pub(super) tokenizer: Option<&'t Tokenizer>,
    pub(super) board: Arc<Board>,
    pub(super) eos: Vec<u32>,
    pub(super) limits: StepLimits,
    pub(super) cache: Cache,
    /// In slots.
    pub(super) running: Vec<Sequence<'t>>,
    /// Choices of requests that have left the queue, and wait for slots.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) masks: Masks,
    pub(super) scratch: Vec<f32>,
    /// Rows of the last step, `[rows, vocab]`, while the session is needed for other things.
    pub(super) rows: Vec<f32>,
    pub(super) turn: usize,
}

impl<'t> Worker<'t> {
    /// Works until the engine is to end.
    pub(super) fn work(&mut self) {
        loop {
            if self.board.queue.phase() == Phase::Ending {
                self.running.clear();
                self.waiting.clear();
            }
            self.leave_abandoned();
            self.admit();
            self.show();
            if !self.running.is_empty() {
                self.step();
            } else if self.board.queue.phase() == Phase::Open {
                self.board.queue.wait();
            } else if self.board.queue.waiting() == 0 && self.waiting.is_empty() {
                return;
            }
        }
    }

    /// Gives back the slots of those that nobody listens to.
    fn leave_abandoned(&mut self) {
        let mut index = 0;
        while index < self.running.len() {
            match self.running[index].is_abandoned() {
                true => self.abandon(index),
                false => index += 1,
            }
        }
        self.waiting
            .retain(|waiting| !waiting.shared.events.is_closed());
    }

    fn abandon(&mut self, index: usize) {
        let sequence = self.running.remove(index);
        self.cache.release(sequence.slot);
        self.board.counts.abandoned.add(1);
    }

    /// Takes requests into slots while there are both.
    fn admit(&mut self) {
        while self.cache.busy() < self.session.slots() {
            let Some(waiting) = self.next_waiting() else {
                return;
            };
            if let Err(waiting) = self.place(waiting) {
                return self.waiting.push_front(waiting);
            }
        }
    }

    fn next_waiting(&mut self) -> Option<Waiting> {
        if let Some(waiting) = self.waiting.pop_front() {
            return Some(waiting);
        }
        let Job { request, events } = self.board.queue.pop()?;
        let shared = Rc::new(Shared { request, events });
        Some(Waiting { shared, choice: 0 })
    }

    /// Takes a choice into a slot, or gives it back.
    fn place(&mut self, waiting: Waiting) -> Result<(), Waiting> {
        let shared = Rc::clone(&waiting.shared);
        let prompt = &shared.request.prompt;
        let Some(place) = self.cache.take(&mut self.session, prompt) else {
            return Err(waiting);
        };
        let first = waiting.choice == 0;
        let begin = Begin {
            tokenizer: self.tokenizer,
            slot: place.slot,
            reused: place.reused,
            pauses: self.pauses(place.reused, place.shared, prompt.len()),
        };
        match Sequence::begin(waiting, begin) {
            Ok(mut sequence) => {
                if first {
                    sequence.siblings = (1..shared.request.choices).collect();
                }
                let counts = &self.board.counts;
                counts.prompt_tokens.add(prompt.len());
                counts.cached_tokens.add(place.reused);
                self.running.push(sequence);
            }
            Err(error) => {
                self.cache.release(place.slot);
                self.fail(&shared, error);
            }
        }
        Ok(())
    }

    /// Where reading a prompt has to pause for snapshots, for models whose state cannot always be cut.
    fn pauses(&self, reused: usize, shared: usize, length: usize) -> Vec<usize> {
        let states = &self.session.manifest().states;
        let cuttable = states
            .iter()
            .all(|s| s.fixed_bytes == 0 && s.ring.is_none());
        let pauses = [shared, length - 1];
        let useful = |at: &usize| !cuttable && *at > reused;
        pauses.into_iter().filter(useful).collect()
    }

    /// Computes one step and hands out what it gives.
    fn step(&mut self) {
        let rows = plan(&self.running, self.limits, self.turn);
        self.turn = self.turn.wrapping_add(1);
        self.masks.begin(&mut self.running, &rows);
        let start = Instant::now();
        let outcome = self.compute(&rows);
        let counts = &self.board.counts;
        counts.steps.add(1);
        counts.step_micros.add(start.elapsed().as_micros() as usize);
        let failed = self.masks.end(&mut self.running);
        match outcome {
            Ok(()) => self.hand_out(&rows, failed),
            Err(error) => self.fail_all(&rows, &error),
        }
    }

    /// Runs the session; afterwards the rows of logits are in `self.rows`.
    fn compute(&mut self, rows: &[Rows]) -> Result<(), Error> {
        let mut segments = Vec::with_capacity(rows.len());
        for row in rows {
            let sequence = &self.running[row.index];
            let tokens = match row.prompt {
                0 => sequence.next.as_slice(),
                n => &sequence.prompt()[sequence.read..][..n],
            };
            let slot = sequence.slot;
            segments.push(Segment { slot, tokens });
        }
        let reads_on = |row: &Rows| {
            let sequence = &self.running[row.index];
            row.prompt > 0 && sequence.read + row.prompt < sequence.prompt().len()
        };
        let wanted = match rows.iter().all(reads_on) {
            true => Wanted::None,
            false => Wanted::Last,
        };
        let logits = self.session.step(&segments, wanted)?;
        self.rows.clear();
        self.rows.extend_from_slice(logits.values());
        for segment in segments {
            self.cache.extend(segment.slot, segment.tokens);
        }
        Ok(())
    }

    fn hand_out(&mut self, rows: &[Rows], failed: Vec<(usize, EngineError)>) {
        let logits = std::mem::take(&mut self.rows);
        let vocab = self.session.vocab();
        let mut outcomes: Vec<(usize, Result<Then, EngineError>)> = Vec::new();
        for (place, row) in rows.iter().enumerate() {
            let row_logits = logits.get(place * vocab..(place + 1) * vocab);
            if let Some(then) = self.after(*row, row_logits) {
                outcomes.push((row.index, then));
            }
        }
        for (index, error) in failed {
            outcomes.retain(|(at, _)| *at != index);
            outcomes.push((index, Err(error)));
        }
        // From the last, so that indices stay what they are.
        outcomes.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
        for (index, outcome) in outcomes {
            self.settle(index, outcome);
        }
        self.rows = logits;
    }

    /// What becomes of a sequence after its rows of a step; nothing while it reads.
    fn after(&mut self, row: Rows, logits: Option<&[f32]>) -> Option<Result<Then, EngineError>> {
        let sequence = &mut self.running[row.index];
        sequence.next = None;
        sequence.read += row.prompt;
        if row.prompt > 0 && sequence.pauses.contains(&sequence.read) {
            let (slot, board) = (sequence.slot, &self.board);
            let (counts, gauges) = (&board.counts, &board.gauges);
            self.cache.keep(&self.session, slot, counts, gauges);
        }
        if !sequence.has_read() {
            return None;
        }
        let context = self.session.context();
        let logits = logits?;
        let then = sequence.advance(logits, &self.eos, context, &mut self.scratch);
        self.begin_siblings(row.index, logits);
        Some(then)
    }

    /// Begins the other choices of a prompt that has been read: in copies of its slot, or later.
    fn begin_siblings(&mut self, index: usize, logits: &[f32]) {
        let siblings = std::mem::take(&mut self.running[index].siblings);
        let shared = Rc::clone(&self.running[index].shared);
        let from = self.running[index].slot;
        for choice in siblings {
            let shared = Rc::clone(&shared);
            let waiting = Waiting { shared, choice };
            match self.cache.fork(&mut self.session, from) {
                Some(slot) => self.begin_sibling(waiting, slot, logits),
                None => self.waiting.push_back(waiting),
            }
        }
    }

    fn begin_sibling(&mut self, waiting: Waiting, slot: usize, logits: &[f32]) {
        let shared = Rc::clone(&waiting.shared);
        let length = shared.request.prompt.len();
        let begin = Begin {
            tokenizer: self.tokenizer,
            slot,
            reused: length,
            pauses: Vec::new(),
        };
        let context = self.session.context();
        let begun = Sequence::begin(waiting, begin).and_then(|mut sequence| {
            let then = sequence.advance(logits, &self.eos, context, &mut self.scratch)?;
            Ok((sequence, then))
        });
        match begun {
            Ok((sequence, then)) => {
                // At the end, and settled from there: indices of this step stay what they are.
                self.board.counts.prompt_tokens.add(length);
                self.board.counts.cached_tokens.add(length);
                self.running.push(sequence);
                self.settle(self.running.len() - 1, Ok(then));
            }
            Err(error) => {
                self.cache.release(slot);
                self.fail(&shared, error);
            }
        }
    }

    fn settle(&mut self, index: usize, outcome: Result<Then, EngineError>) {
        match outcome {
            Ok(Then::Goes) => {}
            Ok(Then::Abandoned) => self.abandon(index),
            Ok(Then::Ends(reason)) => {
                let sequence = self.running.remove(index);
                self.cache.release(sequence.slot);
                let counts = &self.board.counts;
                counts.finished.add(1);
                counts
                    .generated_tokens
                    .add(sequence.usage().generated_tokens);
                let shared = Rc::clone(&sequence.shared);
                if let Err(error) = sequence.finish(reason) {
                    self.fail(&shared, error.into());
                }
            }
            Err(error) => {
                let sequence = self.running.remove(index);
                self.cache.release(sequence.slot);
                self.fail(&sequence.shared, error);
            }
        }
    }

    /// A step that failed has left its slots in no state to go on from.
    fn fail_all(&mut self, rows: &[Rows], error: &Error) {
        let mut indices: Vec<usize> = rows.iter().map(|row| row.index).collect();
        indices.sort_unstable_by(|a, b| b.cmp(a));
        for index in indices {
            let sequence = self.running.remove(index);
            self.cache.forget(&mut self.session, sequence.slot);
            let message = error.to_string();
            self.fail(&sequence.shared, EngineError::Step { message });
        }
    }

    fn fail(&self, shared: &Shared, error: EngineError) {
        self.board.counts.failed.add(1);
        // Whoever has left need not know.
        let _ = shared.events.send(Event::Failed(error));
    }

    /// Shows how much there is to do.
    fn show(&self) {
        let gauges = &self.board.gauges;
        gauges.slots_busy.set(self.cache.busy());
        gauges
            .waiting
            .set(self.board.queue.waiting() + self.waiting.len());
    }
}

//! Requests that wait for a slot: bounded, and closed when the engine is to end.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::request::{Event, Request, RequestError};

/// A request, and where its events go.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) events: UnboundedSender<Event>,
}

/// How far the engine is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Takes requests.
    Open,
    /// Takes no more, but finishes those it has.
    Draining,
    /// Gives up those it has, too.
    Ending,
    /// Its thread has ended.
    Ended,
}

/// What waits.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    most: usize,
}

struct State {
    jobs: VecDeque<Job>,
    phase: Phase,
}

impl Queue {
    /// Room for `most` requests.
    pub(super) fn new(most: usize) -> Queue {
        Queue {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                phase: Phase::Open,
            }),
            changed: Condvar::new(),
            most,
        }
    }

    /// Puts a request at the end. Those whose readers have left make room for it.
    pub(super) fn push(&self, job: Job) -> Result<(), RequestError> {
        let mut state = self.lock();
        match state.phase {
            Phase::Open => {}
            Phase::Draining | Phase::Ending => return Err(RequestError::Draining),
            Phase::Ended => return Err(RequestError::Stopped),
        }
        if state.jobs.len() >= self.most {
            state.jobs.retain(|job| !job.events.is_closed());
        }
        let waiting = state.jobs.len();
        if waiting >= self.most {
            return Err(RequestError::Busy { waiting });
        }
        state.jobs.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    /// The first request that somebody still waits for.
    pub(super) fn pop(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            let job = state.jobs.pop_front()?;
            if !job.events.is_closed() {
                return Some(job);
            }
        }
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().jobs.len()
    }

    /// How far the engine is from its end.
    pub(super) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Goes on towards the end, never back.
    pub(super) fn advance(&self, to: Phase) {
        let mut state = self.lock();
        if (state.phase as u8) < to as u8 {
            state.phase = to;
        }
        if to as u8 >= Phase::Ending as u8 {
            state.jobs.clear();
        }
        self.changed.notify_all();
    }

    /// Waits until there is a request, or the engine is to end.
    pub(super) fn wait(&self) {
        let mut state = self.lock();
        while state.jobs.is_empty() && state.phase == Phase::Open {
            let waited = self
                .changed
                .wait_timeout(state, Duration::from_secs(60))
                .unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
        }
    }

    /// What is behind the lock is whole at all times, so that a panic of its holder does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

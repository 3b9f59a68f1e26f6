//! Requests that wait for a slot: bounded, and closed when the engine is to end.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    pace: Pace,
}

/// When requests left the queue for slots, the latest ones, after the time that the first of them did or could have.
#[derive(Debug, Default)]
struct Pace {
    times: VecDeque<Instant>,
}

impl Pace {
    /// How many are remembered.
    const MOST: usize = 32;

    /// Nobody waits: how fast it went before says nothing about what comes.
    fn restart(&mut self, now: Instant) {
        self.times.clear();
        self.times.push_back(now);
    }

    /// A request has left.
    fn note(&mut self, now: Instant) {
        if self.times.len() > Pace::MOST {
            self.times.pop_front();
        }
        self.times.push_back(now);
    }

    /// Seconds until half of those that wait will have left, so that whoever comes back then finds room, and the queue is not empty
    /// before; at most two minutes.
    fn seconds(&self, waiting: usize, now: Instant) -> u64 {
        let since = self
            .times
            .front()
            .map(|&first| now.saturating_duration_since(first));
        let left = self.times.len().saturating_sub(1).max(1);
        let each = since.unwrap_or_default().as_secs_f64() / left as f64;
        let half = waiting.div_ceil(2) as f64;
        (each * half).ceil().clamp(1.0, 120.0) as u64
    }
}

impl Queue {
    /// Room for `most` requests.
    pub(super) fn new(most: usize) -> Queue {
        Queue {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                phase: Phase::Open,
                pace: Pace::default(),
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
            let seconds = state.pace.seconds(waiting, Instant::now());
            return Err(RequestError::Busy { waiting, seconds });
        }
        if waiting == 0 {
            state.pace.restart(Instant::now());
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
                state.pace.note(Instant::now());
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Pace;

    #[test]
    fn those_turned_away_come_back_when_half_of_the_queue_has_gone() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut pace = Pace::default();
        assert_eq!(pace.seconds(64, at(9.0)), 1);
        pace.note(at(1.0));
        pace.restart(at(10.0));
        // None has left in a quarter of a second, nor in a whole one.
        assert_eq!(pace.seconds(64, at(10.25)), 8);
        assert_eq!(pace.seconds(64, at(11.0)), 32);
        // One every half second, of which the latest are remembered.
        (1..=100).for_each(|i| pace.note(at(10.0 + 0.5 * f64::from(i))));
        assert_eq!(pace.seconds(64, at(60.0)), 16);
        assert_eq!(pace.seconds(1, at(60.0)), 1);
        // While none leaves, the time grows.
        assert_eq!(pace.seconds(64, at(76.0)), 32);
        assert_eq!(pace.seconds(64, at(7600.0)), 120);
    }
}

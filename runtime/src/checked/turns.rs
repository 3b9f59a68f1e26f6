//! Threads of a checked step take turns: between two barriers one runs after the other, in an order that is drawn anew
//! each time.
//!
//! What one thread leaves to another without a barrier in between then comes out wrong in some order, every time it is
//! drawn, rather than on some machine one day. It is also seen here whether all threads meet at the same barriers.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{RngCore, SeedableRng};

/// Whose turn it is.
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    random: Pcg64Mcg,
    shuffled: bool,
    /// Threads that have not finished the step, in the order of their turns.
    order: Vec<usize>,
    /// How many of them have had their turn.
    done: usize,
    /// Where each thread stood when its turn ended: the number of a kernel, or nothing where it has finished.
    stands: Vec<(usize, Option<usize>)>,
}

/// Threads that do not stand at the same barrier.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Apart {
    /// One of them, and the last kernel it ran; no kernel where it has finished the step.
    pub(super) one: (usize, Option<usize>),
    /// Another one.
    pub(super) other: (usize, Option<usize>),
}

impl Turns {
    /// Threads take turns in ascending order, or as `seed` has it.
    pub(super) fn new(seed: Option<u64>) -> Turns {
        Turns {
            state: Mutex::new(State {
                random: Pcg64Mcg::seed_from_u64(seed.unwrap_or(0)),
                shuffled: seed.is_some(),
                order: vec![],
                done: 0,
                stands: vec![],
            }),
            changed: Condvar::new(),
        }
    }

    /// A step of `threads` threads begins; none of them runs yet.
    pub(super) fn reset(&self, threads: usize) {
        let mut state = self.lock();
        state.order = (0..threads).collect();
        state.begin();
    }

    /// A number for things done in an order that differs from step to step.
    pub(super) fn draw(&self) -> u64 {
        self.lock().random.next_u64()
    }

    /// Waits until it is `thread`'s turn.
    pub(super) fn wait(&self, thread: usize) {
        let state = self.lock();
        self.until_turn(state, thread);
    }

    /// Ends the turn of `thread`, which has reached a barrier after kernel `at`, and waits for its next one. The last to come
    /// runs `alone` and hears of threads that stand elsewhere.
    pub(super) fn meet(
        &self,
        thread: usize,
        at: Option<usize>,
        alone: impl FnOnce(),
    ) -> Option<Apart> {
        let mut state = self.lock();
        let apart = state.end_turn(thread, at.or(Some(usize::MAX)));
        if state.done == 0 {
            alone();
        }
        self.changed.notify_all();
        self.until_turn(state, thread);
        apart
    }

    /// Ends the turn of `thread`, which has finished the step.
    pub(super) fn finish(&self, thread: usize) -> Option<Apart> {
        let apart = self.lock().end_turn(thread, None);
        self.changed.notify_all();
        apart
    }

    fn until_turn(&self, mut state: MutexGuard<'_, State>, thread: usize) {
        while state.order.get(state.done) != Some(&thread) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self) {
        self.done = 0;
        self.stands.clear();
        if self.shuffled {
            for i in (1..self.order.len()).rev() {
                let other = self.random.next_u64() as usize % (i + 1);
                self.order.swap(i, other);
            }
        }
    }

    /// Notes where a thread stands. When all have come, the next round begins with those that have not finished.
    fn end_turn(&mut self, thread: usize, at: Option<usize>) -> Option<Apart> {
        self.done += 1;
        self.stands.push((thread, at));
        if self.done < self.order.len() {
            return None;
        }
        let one = self.stands[0];
        let apart = self.stands.iter().find(|s| s.1 != one.1);
        let apart = apart.map(|other| Apart { one, other: *other });
        let going_on = self.stands.iter().filter(|s| s.1.is_some());
        self.order = going_on.map(|s| s.0).collect();
        self.order.sort_unstable();
        self.begin();
        apart
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Runs three threads that meet `barriers[i]` times each; gives the order of all turns and what was found apart.
    fn run(seed: Option<u64>, barriers: [usize; 3]) -> (Vec<usize>, Vec<Apart>) {
        let (turns, log, apart) = (Turns::new(seed), Mutex::new(vec![]), Mutex::new(vec![]));
        let inside = AtomicUsize::new(0);
        turns.reset(3);
        std::thread::scope(|s| {
            for (thread, n) in barriers.into_iter().enumerate() {
                let (turns, log, apart, inside) = (&turns, &log, &apart, &inside);
                s.spawn(move || {
                    turns.wait(thread);
                    for barrier in 0..=n {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                        log.lock().unwrap().push(thread);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        let found = match barrier < n {
                            true => turns.meet(thread, Some(barrier), || {}),
                            false => turns.finish(thread),
                        };
                        apart.lock().unwrap().extend(found);
                    }
                });
            }
        });
        (log.into_inner().unwrap(), apart.into_inner().unwrap())
    }

    #[test]
    fn one_thread_runs_at_a_time_and_all_meet() {
        let (log, apart) = run(None, [3, 3, 3]);
        assert_eq!(log, [0, 1, 2].repeat(4));
        assert!(apart.is_empty());
    }

    #[test]
    fn orders_differ_and_follow_from_the_seed() {
        let (log, _) = run(Some(7), [20, 20, 20]);
        assert!(log.chunks(3).any(|c| c != [0, 1, 2]));
        for round in log.chunks(3) {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
        }
        assert_eq!(log, run(Some(7), [20, 20, 20]).0);
    }

    #[test]
    fn a_thread_that_meets_less_often_is_found_and_nobody_waits_for_ever() {
        let (_, apart) = run(None, [2, 1, 2]);
        assert_eq!(apart.len(), 1);
        assert_eq!(apart[0].other, (1, None));
    }
}

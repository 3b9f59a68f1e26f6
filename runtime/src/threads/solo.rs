//! Whether one thread does the next steps alone.
//!
//! A processor can be taken away from a process while it runs: by its affinity or cpuset, or by another process that is bound
//! to it. Threads that then have to change places on one processor at every barrier are slower than one of them alone, up to three
//! times where there is little to do in between. In: which shared steps were crowded. Out: which of the next steps one thread does alone.
//! Results are the same bits either way.

use std::time::{Duration, Instant};

/// How long one thread stays alone until the others are tried again, the first time and at most. A shared step that is still crowded
/// costs little; a step alone on a machine that is free again takes up to twice its time.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(320)];

/// What the last shared steps have shown.
#[derive(Default)]
pub(super) struct SoloMode {
    /// No step is shared before that.
    until: Option<Instant>,
    /// How long that was.
    pause: Duration,
}

impl SoloMode {
    /// Whether the step that begins now is for one thread alone.
    pub(super) fn is_on(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Takes whether the shared step that has just ended was crowded.
    pub(super) fn after_shared(&mut self, is_crowded: bool) {
        let [shortest, longest] = PAUSES;
        self.pause = match is_crowded {
            true => (self.pause * 2).clamp(shortest, longest),
            false => Duration::ZERO,
        };
        self.until = is_crowded.then(|| Instant::now() + self.pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_stays_alone_for_longer_and_longer_until_steps_are_not_crowded() {
        let mut solo = SoloMode::default();
        let mut after = |is_crowded| {
            solo.after_shared(is_crowded);
            (solo.pause.as_millis(), solo.until.is_some())
        };
        let crowded = [10, 20, 40, 80, 160, 320, 320].map(|pause| (pause, true));
        assert_eq!([true; 7].map(&mut after), crowded);
        let [once, then, again] = [false, true, true].map(&mut after);
        assert_eq!([once, then, again], [(0, false), (10, true), (20, true)]);
    }

    #[test]
    fn one_thread_is_on_for_as_long_as_that() {
        let mut solo = SoloMode::default();
        assert!(!solo.is_on());
        solo.after_shared(true);
        let begun = Instant::now();
        while solo.is_on() {
            std::thread::yield_now();
        }
        assert!(begun.elapsed() > PAUSES[0] / 2);
        solo.after_shared(false);
        assert!(!solo.is_on());
    }
}

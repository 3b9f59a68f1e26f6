//! Whether a step is worth sharing.
//!
//! A processor can be taken away from a process while it runs: by its affinity or cpuset, or by another process that is bound
//! to it. Threads that then have to change places on one processor at every barrier are slower than one thread alone, unless they have
//! much to do in between. In: how crowded the shared steps are. Out: which of the next steps one thread does alone. Results
//! are the same bits either way.

use std::time::{Duration, Instant};

use super::barrier::Crowding;

/// Two changes of place are further apart than this where they cost little: each takes some microseconds.
const WORTH: Duration = Duration::from_micros(40);
/// How long one thread stays alone before it is tried again whether there is company, the first time and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(320)];

/// What the last shared steps have shown.
#[derive(Default)]
pub(super) struct Company {
    /// No step is shared before that.
    until: Option<Instant>,
    /// How long that was.
    pause: Duration,
}

impl Company {
    /// Whether the step that begins now is for one thread alone.
    pub(super) fn is_alone(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Takes how crowded a shared step was that began then and has just ended.
    pub(super) fn shared(&mut self, crowding: Crowding, began: Instant) {
        self.shared_until(crowding, began, Instant::now());
    }

    fn shared_until(&mut self, crowding: Crowding, began: Instant, ended: Instant) {
        let Crowding {
            given_way,
            one_processor,
        } = crowding;
        // Once is no sign: threads that sleep between steps wake up wherever there is room.
        let crowded = one_processor && given_way > 2 && ended - began < WORTH * given_way;
        let [shortest, longest] = PAUSES;
        self.pause = match crowded {
            true => (self.pause * 2).clamp(shortest, longest),
            false => Duration::ZERO,
        };
        self.until = crowded.then(|| ended + self.pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROWDED: Crowding = Crowding {
        given_way: 30,
        one_processor: true,
    };
    const STEP: Duration = Duration::from_micros(200);

    /// How long one thread stays alone after each of some steps.
    fn pauses(steps: &[(Crowding, Duration)]) -> Vec<Duration> {
        let (mut company, mut now) = (Company::default(), Instant::now());
        let mut pause = |&(crowding, taken): &(Crowding, Duration)| {
            company.shared_until(crowding, now, now + taken);
            now += taken;
            let since = now;
            while company.is_alone(now) {
                now += Duration::from_millis(1);
            }
            now - since
        };
        steps.iter().map(&mut pause).collect()
    }

    #[test]
    fn one_thread_stays_alone_for_longer_and_longer() {
        let pauses = pauses(&[(CROWDED, STEP); 8]);
        let millis: Vec<u128> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [10, 20, 40, 80, 160, 320, 320, 320]);
    }

    #[test]
    fn a_step_in_company_ends_it() {
        let free = Crowding {
            given_way: 0,
            one_processor: false,
        };
        let pauses = pauses(&[
            (CROWDED, STEP),
            (CROWDED, STEP),
            (free, STEP),
            (CROWDED, STEP),
        ]);
        let millis: Vec<u128> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [10, 20, 0, 10]);
    }

    #[test]
    fn steps_are_shared_where_little_is_lost() {
        let long = (CROWDED, Duration::from_millis(30));
        let several = Crowding {
            one_processor: false,
            ..CROWDED
        };
        let once = Crowding {
            given_way: 1,
            ..CROWDED
        };
        let none = [Duration::ZERO; 3];
        assert_eq!(pauses(&[long, (several, STEP), (once, STEP)]), none);
    }
}

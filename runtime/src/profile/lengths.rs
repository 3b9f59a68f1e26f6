//! How long the calls of a kernel took: counts of lengths in classes that are a sixteenth wide, of fixed size.
//!
//! A median says what a kernel costs, where a mean says how often something else ran in its place.

/// Lengths below this have a class each.
const EXACT: u64 = 16;
/// Classes of each power of two above.
const STEPS: u64 = 16;
/// Powers of two that are told apart: up to minutes, in ticks.
const POWERS: u64 = 40;
const CLASSES: usize = (EXACT + (POWERS - 4) * STEPS) as usize;

/// A call that takes this many times the median,
pub(super) const PREEMPTED_TIMES: f64 = 4.0;
/// and this much longer, in nanoseconds, lost its processor: work of one shape varies less, and interrupts are shorter.
pub(super) const PREEMPTED_NS: f64 = 100_000.0;

/// Counts of lengths, in ticks.
#[derive(Clone)]
pub(super) struct Lengths {
    counts: Box<[u32]>,
    largest: u64,
}

/// What the lengths of one kernel's calls on one thread come to, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Typical {
    pub(super) median: f64,
    pub(super) largest: u64,
    /// Calls that lost their processor,
    pub(super) preempted: u64,
    /// and how much longer than the median they took, all together.
    pub(super) lost: f64,
}

impl Lengths {
    pub(super) fn new() -> Lengths {
        Lengths {
            counts: vec![0; CLASSES].into(),
            largest: 0,
        }
    }

    pub(super) fn add(&mut self, ticks: u64) {
        self.counts[class(ticks)] += 1;
        self.largest = self.largest.max(ticks);
    }

    /// The median, which a class tells to some 3 %, and calls that took longer than `limit(median)`.
    pub(super) fn typical(&self, limit: impl Fn(f64) -> f64) -> Typical {
        let calls: u64 = self.counts.iter().map(|n| u64::from(*n)).sum();
        if calls == 0 {
            return Typical::default();
        }
        let median = self.quantile(calls.div_ceil(2));
        let limit = limit(median);
        let counted = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        let late = counted.filter(|(i, _)| middle(*i) > limit);
        let late: Vec<(f64, f64)> = late.map(|(i, n)| (middle(i), f64::from(*n))).collect();
        Typical {
            median,
            largest: self.largest,
            preempted: late.iter().map(|(_, n)| *n as u64).sum(),
            lost: late.iter().map(|(length, n)| n * (length - median)).sum(),
        }
    }

    /// The length of call `rank`, counted from 1, the shortest first.
    fn quantile(&self, rank: u64) -> f64 {
        let mut seen = 0;
        let reached = self.counts.iter().position(|n| {
            seen += u64::from(*n);
            seen >= rank
        });
        reached.map_or(0.0, middle).min(self.largest as f64)
    }
}

fn class(ticks: u64) -> usize {
    if ticks < EXACT {
        return ticks as usize;
    }
    let power = u64::from(ticks.ilog2()).min(POWERS - 1);
    let step = (ticks >> (power - 4)).min(2 * STEPS - 1) - STEPS;
    (EXACT + (power - 4) * STEPS + step) as usize
}

/// The middle of a class.
fn middle(class: usize) -> f64 {
    let class = class as u64;
    if class < EXACT {
        return class as f64;
    }
    let (power, step) = ((class - EXACT) / STEPS, (class - EXACT) % STEPS);
    let width = (1u64 << power) as f64;
    (STEPS + step) as f64 * width + width / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_sixteenth_wide_and_classes_follow_each_other() {
        for ticks in (0..4096).chain([1 << 20, (1 << 30) + 12345, u64::MAX]) {
            let class = class(ticks);
            assert!(class < CLASSES, "{ticks}");
            if ticks < 1 << 39 {
                let off = (middle(class) - ticks as f64).abs();
                assert!(off <= ticks as f64 / 32.0 + 0.5, "{ticks}: {off}");
            }
        }
        assert!((1..4096).all(|t| class(t) - class(t - 1) <= 1));
    }

    /// The case that this is for: one call of 16 ms among 315 of a microsecond.
    #[test]
    fn one_preempted_call_moves_the_mean_and_not_the_median() {
        let mut lengths = Lengths::new();
        (0..315).for_each(|i| lengths.add(1300 + i % 7 * 20));
        lengths.add(16_000_000);
        let typical = lengths.typical(|median| PREEMPTED_TIMES * median + PREEMPTED_NS);
        assert!((1250.0..1450.0).contains(&typical.median), "{typical:?}");
        assert_eq!((typical.largest, typical.preempted), (16_000_000, 1));
        assert!((15e6..17e6).contains(&typical.lost), "{typical:?}");
        let none = Lengths::new().typical(|median| median);
        assert_eq!(none, Typical::default());
    }

    #[test]
    fn calls_that_vary_are_not_preempted() {
        let mut lengths = Lengths::new();
        (1..200).for_each(|i| lengths.add(i * 1000));
        let typical = lengths.typical(|median| PREEMPTED_TIMES * median + PREEMPTED_NS);
        assert_eq!((typical.preempted, typical.lost), (0, 0.0));
    }
}

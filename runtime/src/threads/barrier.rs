//! Where threads wait for each other, over and over.
//!
//! A thread that waits spins for a short while, because the others are usually microseconds behind, and then sleeps in the kernel. It
//! sleeps at once where another one was last seen on its own processor: that one, if it is what is waited for, cannot run
//! before. So threads that have to share a processor change places twenty times as fast as by spinning.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::cpu;

/// How long a waiting thread spins when every thread has a processor of its own: some ten kernels' worth of imbalance.
const SPIN: Duration = Duration::from_micros(80);
/// The same when there are more threads than processors, where spinning keeps away the thread that is waited for.
const SPIN_OVERSUBSCRIBED: Duration = Duration::from_micros(3);
/// Looks at the awaited value between two looks at the clock.
const LOOKS_PER_CLOCK: u32 = 32;
/// In place of a processor that is not known.
const NOWHERE: u32 = u32::MAX;

/// Keeps a value on cache lines of its own: 128 bytes, as processors fetch lines in pairs.
#[repr(align(128))]
struct OwnLine<T>(T);

/// `phase` changes each time all have arrived; a thread waits for it to differ from what it was when it came (the sense
/// of a sense-reversing barrier, counted rather than flipped).
pub(super) struct Barrier {
    threads: u32,
    spin: Duration,
    arrived: OwnLine<AtomicU32>,
    phase: OwnLine<AtomicU32>,
    sleepers: OwnLine<AtomicU32>,
    /// Waits in which a thread gave its processor to another one.
    given_way: OwnLine<AtomicU32>,
    /// For each thread, the processor it was on when it last slept or woke another one. Those that do neither are not in each
    /// other's way.
    seen: Box<[OwnLine<AtomicU32>]>,
}

impl Barrier {
    pub(super) fn new(threads: usize) -> Self {
        let crowded = threads > cpu::available_threads();
        let nowhere = |_| OwnLine(AtomicU32::new(NOWHERE));
        Barrier {
            threads: threads as u32,
            spin: if crowded { SPIN_OVERSUBSCRIBED } else { SPIN },
            arrived: OwnLine(AtomicU32::new(0)),
            phase: OwnLine(AtomicU32::new(0)),
            sleepers: OwnLine(AtomicU32::new(0)),
            given_way: OwnLine(AtomicU32::new(0)),
            seen: (0..threads).map(nowhere).collect(),
        }
    }

    pub(super) fn threads(&self) -> usize {
        self.threads as usize
    }

    /// Waits until all threads have come. The last one runs `alone` before any goes on.
    pub(super) fn wait(&self, thread: usize, alone: impl FnOnce()) {
        self.arrive(thread, 1, alone, || {});
    }

    /// Waits as `thread`, in the name of `count` threads; if others are still missing, runs `look` before each look for them.
    pub(super) fn arrive(
        &self,
        thread: usize,
        count: u32,
        alone: impl FnOnce(),
        look: impl FnMut(),
    ) {
        // Cannot change before this thread has arrived.
        let phase = self.phase.0.load(Ordering::Acquire);
        // AcqRel: what every thread did before the barrier is visible to the last, and through `phase` to all.
        if self.arrived.0.fetch_add(count, Ordering::AcqRel) + count == self.threads {
            alone();
            self.arrived.0.store(0, Ordering::Relaxed);
            self.open(thread);
        } else {
            self.sleep_while(thread, phase, look);
        }
    }

    /// Changes each time all have come.
    pub(super) fn phase(&self) -> u32 {
        self.phase.0.load(Ordering::Acquire)
    }

    /// Whether all threads were last seen on one processor, and gave way to each other most of the times they have met since a
    /// phase in which this was asked last. Asked by a thread that does not wait.
    pub(super) fn is_crowded(&self, since: u32) -> bool {
        let given_way = u64::from(self.given_way.0.swap(0, Ordering::Relaxed));
        let met = u64::from(self.phase().wrapping_sub(since));
        let mut processors = self.seen.iter().map(processor);
        let first = processors.next().flatten();
        2 * given_way > met && first.is_some() && processors.all(|other| other == first)
    }

    /// Lets the waiting threads go.
    fn open(&self, thread: usize) {
        // SeqCst on `phase` and `sleepers`, here and in `sleep_while`: either the sleeper is seen here and woken, or it sees
        // the new phase there and does not sleep.
        self.phase.0.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.0.load(Ordering::SeqCst) > 0 {
            futex::wake_all(&self.phase.0);
            self.note(thread);
        }
    }

    fn sleep_while(&self, thread: usize, phase: u32, mut look: impl FnMut()) {
        if self.spin_while(thread, phase, &mut look) {
            return;
        }
        self.sleepers.0.fetch_add(1, Ordering::SeqCst);
        while self.phase.0.load(Ordering::SeqCst) == phase {
            futex::wait(&self.phase.0, phase);
        }
        self.sleepers.0.fetch_sub(1, Ordering::SeqCst);
        self.note(thread);
        look();
    }

    /// Whether the phase changed while spinning.
    fn spin_while(&self, thread: usize, phase: u32, look: &mut impl FnMut()) -> bool {
        // The clock takes as long to read as many a wait lasts, so that the first looks come before it.
        let mut begun = None;
        loop {
            for _ in 0..LOOKS_PER_CLOCK {
                look();
                if self.phase.0.load(Ordering::Acquire) != phase {
                    return true;
                }
                std::hint::spin_loop();
            }
            if begun.is_none() && self.is_in_the_way(thread) {
                self.given_way.0.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            if begun.get_or_insert_with(Instant::now).elapsed() > self.spin {
                return false;
            }
        }
    }

    /// Notes where a thread is.
    fn note(&self, thread: usize) {
        let processor = cpu::current().unwrap_or(NOWHERE);
        self.seen[thread].0.store(processor, Ordering::Relaxed);
    }

    /// Whether another thread was last seen on the processor of this one.
    fn is_in_the_way(&self, thread: usize) -> bool {
        let own = cpu::current();
        let mut all = self.seen.iter().map(processor).enumerate();
        own.is_some() && all.any(|(other, seen)| other != thread && seen == own)
    }
}

/// The processor that a thread was seen on, if that is known.
fn processor(seen: &OwnLine<AtomicU32>) -> Option<u32> {
    let processor = seen.0.load(Ordering::Relaxed);
    (processor != NOWHERE).then_some(processor)
}

/// Sleeping until somebody says that a number has changed.
#[cfg(target_os = "linux")]
mod futex {
    use std::sync::atomic::AtomicU32;

    /// Sleeps if `word` is `expected`, until woken. May return early; the caller looks again.
    pub(super) fn wait(word: &AtomicU32, expected: u32) {
        let forever = std::ptr::null::<libc::timespec>();
        let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the address is that of a live, aligned 32-bit word, which the kernel only reads.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), wait, expected, forever) };
    }

    /// Wakes all that sleep on `word`.
    pub(super) fn wake_all(word: &AtomicU32) {
        let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the kernel uses the address only to find the sleepers.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), wake, i32::MAX) };
    }
}

/// Where the system has no such call, a waiting thread gives way until the number has changed.
#[cfg(not(target_os = "linux"))]
mod futex {
    use std::sync::atomic::AtomicU32;

    pub(super) fn wait(_word: &AtomicU32, _expected: u32) {
        std::thread::yield_now();
    }

    pub(super) fn wake_all(_word: &AtomicU32) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use super::*;
    use crate::cpu::Affinity;

    /// Time that the calling thread has spent on a processor.
    fn own_time() -> Duration {
        // SAFETY: `timespec` is plain numbers, for which zeros are a value.
        let mut time: libc::timespec = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a `timespec` that may be written.
        let told = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        assert_eq!(told, 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    /// Threads meet in `rounds` rounds, each on the processor that is given for it. Returns the processors' time of a round, and
    /// whether it was crowded.
    fn meet(processors: &[usize], rounds: u32) -> (Duration, bool) {
        let barrier = Barrier::new(processors.len());
        let spent = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for (thread, &processor) in processors.iter().enumerate() {
                let (barrier, spent) = (&barrier, &spent);
                scope.spawn(move || {
                    Affinity::one(processor).unwrap().apply().unwrap();
                    barrier.wait(thread, || {});
                    let before = own_time();
                    (0..rounds).for_each(|_| barrier.wait(thread, || {}));
                    let own = (own_time() - before).as_nanos() as u64;
                    spent.fetch_add(own, Ordering::Relaxed);
                });
            }
        });
        let spent = Duration::from_nanos(spent.into_inner());
        (spent / rounds, barrier.is_crowded(0))
    }

    /// Who waits for a thread on the same processor lets it go on, rather than spinning before it does.
    #[test]
    fn threads_on_one_processor_change_places_at_once() {
        let processor = cpu::allowed_cpus()[0];
        for threads in [2, 3] {
            let (spent, is_crowded) = meet(&vec![processor; threads], 2000);
            // Time on the processor, which does not depend on who else wants it.
            assert!(spent < SPIN / 2, "{threads} threads: {spent:?} a round");
            assert!(is_crowded);
        }
    }

    #[test]
    fn threads_on_processors_of_their_own_give_no_way() {
        let [first, second, ..] = *cpu::allowed_cpus() else {
            return;
        };
        let (_, is_crowded) = meet(&[first, second], 2000);
        assert!(!is_crowded);
    }
}

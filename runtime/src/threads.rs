//! The threads that run a step: the caller and a pool of workers, and the barrier at which they meet.
//!
//! A step begins and ends at the same barrier that generated code uses in between. Whoever waits spins for a short while,
//! because the others are usually microseconds behind, and then sleeps in the kernel, so that a model that is not asked
//! anything costs nothing. What a step computes is not this module's affair.

use std::cell::UnsafeCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::abi::{CLAIM_COUNTERS, Entry, StepContext, WAITING};
use crate::cpu::{self, Affinity};
use crate::error::Error;
use crate::profile;

/// The most threads of a pool.
pub const MAX_THREADS: usize = 1024;

/// How long a waiting thread spins when every thread has a processor of its own: some ten kernels' worth of imbalance.
const SPIN: Duration = Duration::from_micros(80);
/// The same when there are more threads than processors, where spinning keeps away the thread that is waited for.
const SPIN_OVERSUBSCRIBED: Duration = Duration::from_micros(3);
/// Looks at the awaited value between two looks at the clock.
const LOOKS_PER_CLOCK: u32 = 32;

/// Threads that run entry points together: the caller, which is thread 0, and `threads - 1` workers.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    pinned: Option<PinnedCaller>,
}

struct Shared {
    barrier: Barrier,
    /// Written by the caller while all workers wait for a step, read by them during it.
    job: UnsafeCell<Job>,
    quit: AtomicBool,
}

#[derive(Clone, Copy)]
struct Job {
    entry: Option<Entry>,
    context: *const StepContext,
}

// SAFETY: `job` is written only before the barrier that begins a step and read only after it, and the barrier that ends the
// step lies between those reads and the next write. What its pointers mean is the contract of `Pool::run`.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Pool {
    /// Starts `threads - 1` workers.
    ///
    /// With `pin`, each thread is bound to one of the processors this process may use, the caller included until the pool is
    /// dropped.
    pub fn new(threads: usize, pin: bool) -> Result<Pool, Error> {
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(Error::Threads {
                found: threads,
                max: MAX_THREADS,
            });
        }
        let shared = Arc::new(Shared {
            barrier: Barrier::new(threads),
            job: UnsafeCell::new(Job {
                entry: None,
                context: std::ptr::null(),
            }),
            quit: AtomicBool::new(false),
        });
        let pinned = if pin {
            Some(PinnedCaller::pin()?)
        } else {
            None
        };
        let mut pool = Pool {
            shared,
            workers: Vec::with_capacity(threads - 1),
            pinned,
        };
        for thread in 1..threads {
            pool.start(thread)?;
        }
        Ok(pool)
    }

    /// Threads, the caller included.
    pub fn threads(&self) -> usize {
        self.shared.barrier.threads as usize
    }

    /// Runs `entry(context, i)` once on each thread `i`, and returns when all of them have.
    ///
    /// Fills in `n_threads`, `barrier`, `timed_barrier` and `sync` of the context; zeroes its counters.
    ///
    /// # Safety
    /// `entry` is sound to call with this context, completed as above, by that many threads at once; every thread calls the
    /// barriers equally often; the recorder, if there is one, is a profiler's for that many threads. `context.counters` points to
    /// [`CLAIM_COUNTERS`] writable counters that nobody else uses.
    pub unsafe fn run(&mut self, entry: Entry, context: &mut StepContext) {
        context.n_threads = self.threads();
        context.barrier = barrier;
        context.timed_barrier = match context.recorder.is_null() {
            true => untimed_barrier,
            false => timed_barrier,
        };
        context.sync = (&raw const self.shared.barrier).cast();
        let context: *const StepContext = context;
        // If this thread unwound now, the workers would go on with a context that is gone.
        let guard = AbortOnUnwind;
        // SAFETY: the caller vouches for the counters, and no worker runs an entry yet.
        unsafe { zero_counters(context) };
        // SAFETY: all workers are at, or on their way to, the barrier below, before which they do not read the job.
        unsafe {
            *self.shared.job.get() = Job {
                entry: Some(entry),
                context,
            }
        };
        self.shared.barrier.wait(|| {});
        // SAFETY: the caller's contract.
        unsafe { entry(context, 0) };
        self.shared.barrier.wait(|| {});
        std::mem::forget(guard);
    }

    fn start(&mut self, thread: usize) -> Result<(), Error> {
        let cpu = self.pinned.as_ref().map(|_| nth_cpu(thread));
        let (report, started) = std::sync::mpsc::sync_channel(1);
        let shared = Arc::clone(&self.shared);
        let body = move || {
            let pinned = cpu.map_or(Ok(()), |cpu| Affinity::one(cpu).and_then(|one| one.apply()));
            let go = pinned.is_ok();
            // The pool waits for this report, so that it is still there to take it.
            let _ = report.send(pinned);
            if go {
                work(&shared, thread);
            }
        };
        let spawned = std::thread::Builder::new()
            .name(format!("graver-{thread}"))
            .spawn(body);
        let worker = spawned.map_err(|source| Error::Spawn { thread, source })?;
        let pinned = started
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread died")));
        match pinned {
            Ok(()) => {
                self.workers.push(worker);
                Ok(())
            }
            Err(source) => Err(Error::Pin {
                thread,
                cpu: cpu.unwrap_or(0),
                source,
            }),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.workers.is_empty() {
            return;
        }
        self.shared.quit.store(true, Ordering::Release);
        // In place of the caller, and of workers that could not be started.
        let absent = self.threads() - self.workers.len();
        self.shared.barrier.arrive(absent as u32, || {}, || {});
        self.workers.drain(..).for_each(join);
    }
}

fn join(worker: JoinHandle<()>) {
    // A worker cannot have panicked: `AbortOnUnwind` would have ended the process.
    let _ = worker.join();
}

/// A worker's life: wait for a step, run it, wait for the others to finish theirs.
fn work(shared: &Shared, thread: usize) {
    // A worker that died would leave the others waiting for ever; the panic's message is already out.
    let guard = AbortOnUnwind;
    loop {
        shared.barrier.wait(|| {});
        if shared.quit.load(Ordering::Acquire) {
            break;
        }
        // SAFETY: between the barriers that begin and end a step nobody writes the job.
        let job = unsafe { *shared.job.get() };
        if let Some(entry) = job.entry {
            // SAFETY: the contract of `Pool::run`, which waits below for this call to return.
            unsafe { entry(job.context, thread) };
        }
        shared.barrier.wait(|| {});
    }
    std::mem::forget(guard);
}

/// Ends the process when it is dropped, which only unwinding does.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// The caller's own pin, undone on drop if that happens on the same thread.
struct PinnedCaller {
    before: Affinity,
    caller: std::thread::ThreadId,
}

impl PinnedCaller {
    fn pin() -> Result<Self, Error> {
        let cpu = nth_cpu(0);
        let failed = |source| Error::Pin {
            thread: 0,
            cpu,
            source,
        };
        let before = Affinity::of_this_thread().map_err(failed)?;
        Affinity::one(cpu)
            .and_then(|one| one.apply())
            .map_err(failed)?;
        Ok(PinnedCaller {
            before,
            caller: std::thread::current().id(),
        })
    }
}

impl Drop for PinnedCaller {
    fn drop(&mut self) {
        if self.caller == std::thread::current().id() {
            // Nothing can be done about a failure, and nothing depends on it.
            let _ = self.before.apply();
        }
    }
}

/// The processor of a thread; threads share them when there are more threads than processors.
pub(crate) fn nth_cpu(thread: usize) -> usize {
    let cpus = cpu::allowed_cpus();
    cpus.get(thread % cpus.len().max(1))
        .copied()
        .unwrap_or(thread)
}

/// [`StepContext::barrier`].
///
/// # Safety
/// `context` is the one a [`Pool`] passed to the entry point that calls this.
unsafe extern "C" fn barrier(context: *const StepContext, _thread: usize) {
    // SAFETY: `Pool::run` set `sync` to its barrier, which outlives the step, and the context is valid for all of it.
    let barrier = unsafe { &*(*context).sync.cast::<Barrier>() };
    // SAFETY: the last thread to arrive runs this while all others wait, so that nobody uses the counters.
    barrier.wait(|| unsafe { zero_counters(context) });
}

/// [`StepContext::timed_barrier`] while nobody records.
///
/// # Safety
/// As of [`barrier`].
unsafe extern "C" fn untimed_barrier(context: *const StepContext, thread: usize, _stretch: usize) {
    // SAFETY: the caller's contract.
    unsafe { barrier(context, thread) };
}

/// [`StepContext::timed_barrier`]. Who comes last takes the time once, when it has let the others go; they took theirs while they
/// waited.
///
/// # Safety
/// As of [`barrier`] and [`profile::stamp`].
unsafe extern "C" fn timed_barrier(context: *const StepContext, thread: usize, stretch: usize) {
    // SAFETY: as in `barrier`.
    let barrier = unsafe { &*(*context).sync.cast::<Barrier>() };
    let mut waited = None;
    let look = || {
        let now = profile::now();
        waited.get_or_insert((now, now)).1 = now;
    };
    // SAFETY: as in `barrier`.
    barrier.arrive(1, || unsafe { zero_counters(context) }, look);
    // SAFETY: the caller's contract.
    let begins = |stretch, at| unsafe { profile::begin(context, thread, stretch, at) };
    if let Some((came, _)) = waited {
        begins(stretch + WAITING, came);
    }
    begins(stretch, waited.map_or_else(profile::now, |(_, went)| went));
}

/// What stands in a context's `barrier` until a [`Pool`] runs it.
pub(crate) unsafe extern "C" fn no_barrier(_context: *const StepContext, _thread: usize) {}

/// # Safety
/// The context's counters are writable, and no thread uses them now.
unsafe fn zero_counters(context: *const StepContext) {
    // SAFETY: the caller's contract.
    unsafe { (*context).counters.write_bytes(0, CLAIM_COUNTERS) };
}

/// Keeps a value on cache lines of its own: 128 bytes, as processors fetch lines in pairs.
#[repr(align(128))]
struct OwnLine<T>(T);

/// Where threads wait for each other, over and over.
///
/// `phase` changes each time all have arrived; a thread waits for it to differ from what it was when it came (the sense
/// of a sense-reversing barrier, counted rather than flipped).
struct Barrier {
    threads: u32,
    spin: Duration,
    arrived: OwnLine<AtomicU32>,
    phase: OwnLine<AtomicU32>,
    sleepers: OwnLine<AtomicU32>,
}

impl Barrier {
    fn new(threads: usize) -> Self {
        let crowded = threads > cpu::available_threads();
        Barrier {
            threads: threads as u32,
            spin: if crowded { SPIN_OVERSUBSCRIBED } else { SPIN },
            arrived: OwnLine(AtomicU32::new(0)),
            phase: OwnLine(AtomicU32::new(0)),
            sleepers: OwnLine(AtomicU32::new(0)),
        }
    }

    /// Waits until all threads have come. The last one runs `alone` before any goes on.
    fn wait(&self, alone: impl FnOnce()) {
        self.arrive(1, alone, || {});
    }

    /// Waits in the name of `count` threads; if others are still missing, runs `look` before each look for them.
    fn arrive(&self, count: u32, alone: impl FnOnce(), look: impl FnMut()) {
        // Cannot change before this thread has arrived.
        let phase = self.phase.0.load(Ordering::Acquire);
        // AcqRel: what every thread did before the barrier is visible to the last, and through `phase` to all.
        if self.arrived.0.fetch_add(count, Ordering::AcqRel) + count == self.threads {
            alone();
            self.arrived.0.store(0, Ordering::Relaxed);
            self.open();
        } else {
            self.sleep_while(phase, look);
        }
    }

    /// Lets the waiting threads go.
    fn open(&self) {
        // SeqCst on `phase` and `sleepers`, here and in `sleep_while`: either the sleeper is seen here and woken, or it sees
        // the new phase there and does not sleep.
        self.phase.0.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.0.load(Ordering::SeqCst) > 0 {
            futex::wake_all(&self.phase.0);
        }
    }

    fn sleep_while(&self, phase: u32, mut look: impl FnMut()) {
        if self.spin_while(phase, &mut look) {
            return;
        }
        self.sleepers.0.fetch_add(1, Ordering::SeqCst);
        while self.phase.0.load(Ordering::SeqCst) == phase {
            futex::wait(&self.phase.0, phase);
        }
        self.sleepers.0.fetch_sub(1, Ordering::SeqCst);
        look();
    }

    /// Whether the phase changed while spinning.
    fn spin_while(&self, phase: u32, look: &mut impl FnMut()) -> bool {
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
            if begun.get_or_insert_with(Instant::now).elapsed() > self.spin {
                return false;
            }
        }
    }
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

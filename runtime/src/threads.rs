//! The threads that run a step: the caller and a pool of workers, and the barrier at which they meet.
//!
//! A step begins and ends at the same barrier that generated code uses in between; a model that is not asked anything costs
//! nothing. What a step computes is not this module's affair.

use std::cell::UnsafeCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::abi::{CLAIM_COUNTERS, Entry, StepContext, WAITING};
use crate::cpu::{self, Affinity};
use crate::error::Error;
use crate::profile;

mod barrier;
mod solo;

use barrier::Barrier;
use solo::SoloMode;

/// The most threads of a pool.
pub const MAX_THREADS: usize = 1024;

/// Threads that run entry points together: the caller, which is thread 0, and `threads - 1` workers.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    pinned: Option<PinnedCaller>,
    /// Where one thread may do a step alone.
    solo: Option<SoloMode>,
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
        Pool::bound(threads, pin.then_some(0))
    }

    /// [`Pool::new`] with threads bound to processors that follow each other from `first` on, counted among those that this process may
    /// use; bound to none where that is not given.
    pub(crate) fn bound(threads: usize, first: Option<usize>) -> Result<Pool, Error> {
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
        let pinned = first.map(PinnedCaller::pin).transpose()?;
        let mut pool = Pool {
            shared,
            workers: Vec::with_capacity(threads - 1),
            pinned,
            solo: None,
        };
        for thread in 1..threads {
            pool.start(thread)?;
        }
        Ok(pool)
    }

    /// Lets the caller do a step alone while all threads have to share one processor, which it does faster.
    pub fn alone_where_crowded(mut self) -> Pool {
        self.solo = (self.threads() > 1).then(SoloMode::default);
        self
    }

    /// Threads, the caller included.
    pub fn threads(&self) -> usize {
        self.shared.barrier.threads()
    }

    /// Runs `entry(context, i)` once on each thread `i`, and returns when all of them have; or on the caller alone, as thread 0
    /// of 1, where that is allowed and better.
    ///
    /// Fills in `n_threads`, `barrier`, `timed_barrier` and `sync` of the context; zeroes its counters.
    ///
    /// # Safety
    /// `entry` is sound to call with this context, completed as above, by that many threads at once; every thread calls the
    /// barriers equally often; the recorder, if there is one, is a profiler's for that many threads. `context.counters` points to
    /// [`CLAIM_COUNTERS`] writable counters that nobody else uses.
    pub unsafe fn run(&mut self, entry: Entry, context: &mut StepContext) {
        // Profiles show what threads do.
        let may_be_alone = context.recorder.is_null();
        let solo = self.solo.as_ref().filter(|_| may_be_alone);
        if solo.is_some_and(SoloMode::is_on) {
            // SAFETY: the caller vouches for `entry` with any number of threads, and for the counters.
            return unsafe { run_alone(entry, context) };
        }
        let phase = self.shared.barrier.phase();
        // SAFETY: the caller vouches for `entry` with any number of threads, and for counters and recorder.
        unsafe { self.run_shared(entry, context) };
        if let Some(solo) = &mut self.solo {
            solo.after_shared(self.shared.barrier.is_crowded(phase));
        }
    }

    /// [`Pool::run`] on all threads.
    ///
    /// # Safety
    /// As of [`Pool::run`].
    unsafe fn run_shared(&mut self, entry: Entry, context: &mut StepContext) {
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
        }
        self.shared.barrier.wait(0, || {});
        // SAFETY: the caller vouches for `entry` with the context as it is completed above.
        unsafe { entry(context, 0) };
        self.shared.barrier.wait(0, || {});
        std::mem::forget(guard);
    }

    fn start(&mut self, thread: usize) -> Result<(), Error> {
        let cpu = self.pinned.as_ref().map(|p| nth_cpu(p.first + thread));
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
        self.shared.barrier.arrive(0, absent as u32, || {}, || {});
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
        shared.barrier.wait(thread, || {});
        if shared.quit.load(Ordering::Acquire) {
            break;
        }
        // SAFETY: between the barriers that begin and end a step nobody writes the job.
        let job = unsafe { *shared.job.get() };
        if let Some(entry) = job.entry {
            // SAFETY: the contract of `Pool::run`, which waits below for this call to return.
            unsafe { entry(job.context, thread) };
        }
        shared.barrier.wait(thread, || {});
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
    /// Its processor, by its place among those that this process may use.
    first: usize,
    before: Affinity,
    caller: std::thread::ThreadId,
}

impl PinnedCaller {
    fn pin(first: usize) -> Result<Self, Error> {
        let cpu = nth_cpu(first);
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
            first,
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

/// [`Pool::run`] on the caller.
///
/// # Safety
/// As of [`Pool::run`].
unsafe fn run_alone(entry: Entry, context: &mut StepContext) {
    context.n_threads = 1;
    context.barrier = barrier_of_one;
    context.timed_barrier = timed_barrier_of_one;
    context.sync = std::ptr::null();
    // SAFETY: the caller vouches for the counters, and no other thread runs the entry.
    unsafe { zero_counters(context) };
    // SAFETY: the caller vouches for `entry` with the context as it is completed above, for one thread as well.
    unsafe { entry(context, 0) };
}

/// [`StepContext::barrier`] where nobody has to be waited for.
///
/// # Safety
/// As of [`barrier`].
unsafe extern "C" fn barrier_of_one(context: *const StepContext, _thread: usize) {
    // SAFETY: the only thread that uses the counters is here.
    unsafe { zero_counters(context) };
}

/// [`StepContext::timed_barrier`] where nobody has to be waited for and nobody records.
///
/// # Safety
/// As of [`barrier`].
unsafe extern "C" fn timed_barrier_of_one(context: *const StepContext, thread: usize, _: usize) {
    // SAFETY: the context is the one that the pool passed to the entry point, as the caller promises.
    unsafe { barrier_of_one(context, thread) };
}

/// [`StepContext::barrier`].
///
/// # Safety
/// `context` is the one a [`Pool`] passed to the entry point that calls this.
unsafe extern "C" fn barrier(context: *const StepContext, thread: usize) {
    // SAFETY: `Pool::run` set `sync` to its barrier, which outlives the step, and the context is valid for all of it.
    let barrier = unsafe { &*(*context).sync.cast::<Barrier>() };
    // SAFETY: the last thread to arrive runs this while all others wait, so that nobody uses the counters.
    barrier.wait(thread, || unsafe { zero_counters(context) });
}

/// [`StepContext::timed_barrier`] while nobody records.
///
/// # Safety
/// As of [`barrier`].
unsafe extern "C" fn untimed_barrier(context: *const StepContext, thread: usize, _stretch: usize) {
    // SAFETY: the context is the one that the pool passed to the entry point, as the caller promises.
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
    barrier.arrive(thread, 1, || unsafe { zero_counters(context) }, look);
    // SAFETY: the context is of a step of a session with a profiler, and `thread` the caller's index, as the caller promises.
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
    // SAFETY: the counters are writable and unused now, as the caller promises.
    unsafe { (*context).counters.write_bytes(0, CLAIM_COUNTERS) };
}

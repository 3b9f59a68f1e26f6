//! What code with time stamps writes to: for each thread, the time of every kind of stretch, and the first stretches one by one.
//!
//! A stamp ends the stretch that the thread is in, adds its length to the sum of its kind, and begins another: nothing is left
//! to be summed up when a step ends, and nothing is lost however many steps there are. A step's first stretch is
//! begun by the caller, for all threads, and its last one ended so.

use std::cell::UnsafeCell;

use crate::abi::{STRETCHES, StepContext, WAITING, stretch};

use super::clock::now;
use super::lengths::Lengths;

/// Between two steps, a thread is in none of the stretches that are summed up.
const IDLE: usize = u32::MAX as usize;

/// One log for each thread.
pub(super) struct Recorder {
    logs: Box<[Log]>,
    /// Kernels of decode and of prefill.
    kernels: [usize; 2],
}

/// On cache lines of its own. During a step only thread `i` uses log `i`, between steps only the owner of the recorder does.
#[repr(align(128))]
struct Log(UnsafeCell<ThreadLog>);

/// What one thread did.
pub(super) struct ThreadLog {
    /// The stretch that goes on, an index into `sums`, and when it began.
    current: usize,
    since: u64,
    /// Where the sums of the step's program begin.
    first: usize,
    /// One for each stretch of decode, then of prefill.
    sums: Box<[Sum]>,
    /// One for each kernel of decode, then of prefill, as `sums` has them.
    lengths: Box<[Lengths]>,
    /// Time spent so far in the call that goes on.
    call: u64,
    timeline: Box<[Beginning]>,
    /// Entries of the timeline that are filled.
    filled: usize,
}

/// All stretches of a kind.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) ticks: u64,
    pub(super) count: u64,
}

/// The beginning of a stretch, which goes on to the next one's.
#[derive(Clone, Copy)]
struct Beginning {
    at: u64,
    /// As [`ThreadLog::current`].
    stretch: u32,
}

/// A stretch of the timeline, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Past {
    /// 0 for decode, 1 for prefill.
    pub(super) program: usize,
    /// As generated code numbers it, [`entering`] or [`leaving`].
    pub(super) stretch: usize,
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// The stretch from a step's beginning to a thread's first kernel, in a program of `kernels` kernels.
pub(super) const fn entering(kernels: usize) -> usize {
    stretch(kernels, true)
}

/// The stretch from the end of a thread's last kernel to the step's end.
pub(super) const fn leaving(kernels: usize) -> usize {
    stretch(kernels, false)
}

/// Stretches of a program of `kernels` kernels.
const fn stretches(kernels: usize) -> usize {
    stretch(kernels + 1, false)
}

impl Recorder {
    /// For decode and prefill programs of that many kernels, and timelines of `room` stretches on all threads together.
    pub(super) fn new(threads: usize, kernels: [usize; 2], room: usize) -> Recorder {
        let log = || Log(UnsafeCell::new(ThreadLog::new(kernels, room / threads)));
        let logs = (0..threads).map(|_| log()).collect();
        Recorder { logs, kernels }
    }

    pub(super) fn threads(&self) -> usize {
        self.logs.len()
    }

    /// What a context's `recorder` is.
    pub(super) fn as_ptr(&self) -> *const core::ffi::c_void {
        self.logs.as_ptr().cast()
    }

    /// Begins a step of program `program`, whose first kernel no thread has reached yet.
    pub(super) fn begin_step(&mut self, program: usize, at: u64) {
        let first = self.first(program);
        let entering = first + entering(self.kernels[program]);
        for log in self.logs.iter_mut().map(|log| log.0.get_mut()) {
            log.first = first;
            log.begin(entering, at);
        }
    }

    /// Ends a step that all threads have finished.
    pub(super) fn end_step(&mut self, at: u64) {
        let logs = self.logs.iter_mut();
        logs.for_each(|log| log.0.get_mut().begin(IDLE, at));
    }

    /// The sums of one thread and program, by stretch.
    pub(super) fn sums(&self, thread: usize, program: usize) -> &[Sum] {
        let sums = &self.log(thread).sums[self.first(program)..];
        &sums[..stretches(self.kernels[program])]
    }

    /// How long the calls of one thread and kernel of a program took.
    pub(super) fn lengths(&self, thread: usize, program: usize, kernel: usize) -> &Lengths {
        &self.log(thread).lengths[self.first(program) / STRETCHES + kernel]
    }

    /// How many stretches all sums are of.
    pub(super) fn stretches(&self) -> u64 {
        let sums = (0..self.threads()).flat_map(|thread| self.log(thread).sums.iter());
        sums.map(|sum| sum.count).sum()
    }

    /// The stretches of a thread's timeline, as far as the timelines of all threads go.
    pub(super) fn timeline(&self, thread: usize) -> impl Iterator<Item = Past> {
        let ends = (0..self.threads()).filter_map(|thread| self.log(thread).timeline_end());
        let (end, prefill) = (ends.min().unwrap_or(u64::MAX), self.first(1));
        let entries = self.log(thread).entries().windows(2);
        let stretch = move |pair: &[Beginning]| {
            let stretch = pair[0].stretch as usize;
            let program = usize::from(stretch >= prefill);
            Past {
                program,
                stretch: stretch - program * prefill,
                begin: pair[0].at,
                end: pair[1].at,
            }
        };
        let taken = entries.filter(|pair| pair[0].stretch as usize != IDLE);
        taken.map(stretch).take_while(move |past| past.end <= end)
    }

    #[cfg(test)]
    pub(super) fn log_mut(&mut self, thread: usize) -> &mut ThreadLog {
        self.logs[thread].0.get_mut()
    }

    fn log(&self, thread: usize) -> &ThreadLog {
        // SAFETY: whoever runs a step has the recorder's owner exclusively, so that none runs while it is borrowed here.
        unsafe { &*self.logs[thread].0.get() }
    }

    /// Where the sums of a program begin.
    fn first(&self, program: usize) -> usize {
        self.kernels[..program].iter().map(|n| stretches(*n)).sum()
    }
}

/// [`StepContext::stamp`].
///
/// # Safety
/// `context` is the one a step of a session with a profiler runs with, and `thread` the caller's index in it.
pub(crate) unsafe extern "C" fn stamp(context: *const StepContext, thread: usize, stretch: usize) {
    // SAFETY: the context is of a step of a session with a profiler, and `thread` the caller's index, as the caller promises.
    unsafe { begin(context, thread, stretch, now()) };
}

/// Begins a stretch of the thread's time at `at`.
///
/// # Safety
/// As of [`stamp`].
#[inline]
pub(crate) unsafe fn begin(context: *const StepContext, thread: usize, stretch: usize, at: u64) {
    // SAFETY: the profiler set the recorder, which the session keeps for all of the step, and it has a log for each thread.
    let log = unsafe { &*(*context).recorder.cast::<Log>().add(thread) };
    // SAFETY: a log is used by its own thread alone while a step runs.
    unsafe { &mut *log.0.get() }.stamp(stretch, at);
}

/// Does `wait` in the midst of a kernel, as a stretch of its own that is waiting; not at all where nobody records.
///
/// # Safety
/// As of [`stamp`], where the context has a recorder.
pub(crate) unsafe fn pause(context: *const StepContext, thread: usize, wait: impl FnOnce()) {
    // SAFETY: the context is of a step that goes on, as the caller promises.
    let recorder = unsafe { (*context).recorder };
    if recorder.is_null() {
        return;
    }
    // SAFETY: a recorder has a log for each thread, which its own thread alone uses while a step runs.
    let log = unsafe { &mut *(*recorder.cast::<Log>().add(thread)).0.get() };
    let begun = log.current - log.current % STRETCHES;
    let inside = begun + stretch(0, true);
    log.begin(inside + WAITING, now());
    wait();
    log.begin(inside, now());
}

/// What stands in a context's `stamp` and `timed_barrier` while nobody records.
pub(crate) unsafe extern "C" fn no_stamp(_: *const StepContext, _thread: usize, _stretch: usize) {}

impl ThreadLog {
    fn new(kernels: [usize; 2], room: usize) -> ThreadLog {
        // Not zero, so that the pages are there already and no step pays for them.
        let touched = Beginning { at: 1, stretch: 1 };
        let all: usize = kernels.map(stretches).iter().sum();
        ThreadLog {
            current: IDLE,
            since: 0,
            first: 0,
            sums: vec![Sum::default(); all].into(),
            lengths: vec![Lengths::new(); all / STRETCHES].into(),
            call: 0,
            timeline: vec![touched; room].into(),
            filled: 0,
        }
    }

    /// Begins a stretch that generated code numbered.
    pub(super) fn stamp(&mut self, stretch: usize, at: u64) {
        self.begin(self.first + stretch, at);
    }

    fn begin(&mut self, stretch: usize, at: u64) {
        if let Some(sum) = self.sums.get_mut(self.current) {
            let ticks = at.saturating_sub(self.since);
            sum.ticks += ticks;
            sum.count += 1;
            self.count_call(ticks, stretch);
        }
        (self.current, self.since) = (stretch, at);
        if let Some(entry) = self.timeline.get_mut(self.filled) {
            let stretch = stretch as u32;
            *entry = Beginning { at, stretch };
            self.filled += 1;
        }
    }

    /// Adds a stretch that took `ticks` to the call that it is part of, which ends unless `next` is a later part of it: a call
    /// goes on beyond the barriers inside it.
    fn count_call(&mut self, ticks: u64, next: usize) {
        let (kernel, kind) = (self.current / STRETCHES, self.current % STRETCHES);
        if kind == WAITING {
            return;
        }
        if kind & WAITING == 0 {
            self.call += ticks;
        }
        let goes_on = next / STRETCHES == kernel && next % STRETCHES > WAITING;
        if !goes_on {
            self.lengths[kernel].add(self.call);
            self.call = 0;
        }
    }

    fn entries(&self) -> &[Beginning] {
        &self.timeline[..self.filled]
    }

    /// When the timeline ended, if it is full.
    fn timeline_end(&self) -> Option<u64> {
        let is_full = self.filled == self.timeline.len();
        is_full.then(|| self.entries().last().map_or(0, |e| e.at))
    }
}

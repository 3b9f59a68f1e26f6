//! Where a step's time goes: per kernel and thread, waiting at barriers apart.
//!
//! Code compiled with time stamps calls [`StepContext::stamp`] when a thread has passed the barrier before a kernel and when it
//! has finished one. Each thread writes to a log of its own; after the step, when all threads wait, the logs are summed up
//! and emptied. A log has a fixed size, so that nothing is allocated during a step. Code compiled without stamps has no trace
//! of any of this.

mod clock;
mod trace;

use std::cell::UnsafeCell;

use serde::{Deserialize, Serialize};

use crate::abi::{KernelInfo, ProgramInfo, StepContext};

use self::clock::{Clock, now};

/// Stamps of one thread in one step: a step of the largest models takes some thousands.
const LOG: usize = 1 << 15;
/// Spans kept for the timeline, which are those of the first steps; sums go on.
const SPANS: usize = 200_000;

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// Threads, the caller included.
    pub threads: usize,
    /// Decode and prefill, as far as they ran.
    pub programs: Vec<ProgramProfile>,
    /// Stamps that found a log full; their time counts towards the next one.
    pub dropped: u64,
    /// What happened when, in the first steps.
    #[serde(skip)]
    pub spans: Vec<Span>,
}

/// All steps of one program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProgramProfile {
    /// `decode` or `prefill`.
    pub program: String,
    /// Steps that ran.
    pub steps: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Time from the first thread's start to the last one's end, summed over steps.
    pub wall_ns: u64,
    /// Each kernel, in the order of the program's blocks.
    pub kernels: Vec<KernelTime>,
    /// For each thread, waiting for the others at the end of a step.
    pub end_wait_ns: Vec<u64>,
}

/// One kernel, over all layers and steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KernelTime {
    /// Which.
    #[serde(flatten)]
    pub kernel: KernelInfo,
    /// Times that thread 0 ran it.
    pub calls: u64,
    /// For each thread, the time spent in it.
    pub busy_ns: Vec<u64>,
    /// For each thread, the time spent waiting for the others before it.
    pub wait_ns: Vec<u64>,
}

/// A stretch of one thread's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Thread.
    pub thread: usize,
    /// Kernel by its place in the program's list; none for a whole step.
    pub kernel: Option<usize>,
    /// Index into [`Profile::programs`].
    pub program: usize,
    /// Waiting rather than working.
    pub wait: bool,
    /// Nanoseconds since the session began.
    pub begin_ns: u64,
    /// The same.
    pub end_ns: u64,
}

/// Records a session's steps.
pub(crate) struct Profiler {
    recorder: Recorder,
    clock: Clock,
    programs: [Sums; 2],
    spans: Vec<RawSpan>,
    dropped: u64,
}

/// One log for each thread: what generated code writes to.
struct Recorder(Box<[Log]>);

#[repr(align(128))]
struct Log(UnsafeCell<Stamps>);

// SAFETY: during a step only thread `i` uses log `i`; between steps only the caller does, who waits for the end of the step.
unsafe impl Sync for Log {}

struct Stamps {
    /// Ticks, and twice the kernel's place in its program, plus one when it has finished.
    entries: Box<[(u64, u32)]>,
    len: usize,
    dropped: u64,
}

struct Sums {
    info: Vec<KernelInfo>,
    steps: u64,
    tokens: u64,
    wall: u64,
    calls: Vec<u64>,
    /// `[threads][kernels]`, in ticks.
    busy: Vec<Vec<u64>>,
    wait: Vec<Vec<u64>>,
    end_wait: Vec<u64>,
}

#[derive(Clone)]
struct RawSpan {
    thread: u32,
    kernel: Option<u32>,
    program: u8,
    wait: bool,
    begin: u64,
    end: u64,
}

impl Profiler {
    pub(crate) fn new(threads: usize, decode: &ProgramInfo, prefill: &ProgramInfo) -> Profiler {
        let stamps = || Stamps {
            entries: vec![(0, 0); LOG].into(),
            len: 0,
            dropped: 0,
        };
        let logs = (0..threads).map(|_| Log(UnsafeCell::new(stamps())));
        Profiler {
            recorder: Recorder(logs.collect()),
            clock: Clock::start(),
            programs: [decode, prefill].map(|p| Sums::new(p.kernels.clone(), threads)),
            spans: touched(SPANS),
            dropped: 0,
        }
    }

    /// Makes a step's code write here, and begins the step: returns what [`Profiler::end_step`] wants. The context must not be
    /// used after this profiler is gone.
    pub(crate) fn attach(&self, context: &mut StepContext) -> u64 {
        context.stamp = stamp;
        context.recorder = (&raw const self.recorder).cast();
        now()
    }

    /// Sums up a step of `tokens` tokens of program `program` (0 for decode) that all threads have finished.
    pub(crate) fn end_step(&mut self, program: usize, tokens: usize, begin: u64) {
        let end = now();
        let sums = &mut self.programs[program];
        sums.steps += 1;
        sums.tokens += tokens as u64;
        sums.wall += end.saturating_sub(begin);
        let room = self.spans.len() < SPANS;
        let mut spans = room.then_some(&mut self.spans);
        if let Some(spans) = &mut spans {
            spans.push(RawSpan::step(program, begin, end));
        }
        for (thread, log) in self.recorder.0.iter_mut().enumerate() {
            let log = log.0.get_mut();
            sums.add(
                program,
                thread,
                &log.entries[..log.len],
                (begin, end),
                &mut spans,
            );
            self.dropped += log.dropped;
            (log.len, log.dropped) = (0, 0);
        }
    }

    /// What was measured so far.
    pub(crate) fn profile(&self) -> Profile {
        let ns = self.clock.ns_per_tick();
        let names = ["decode", "prefill"];
        let programs = names
            .iter()
            .zip(&self.programs)
            .map(|(name, s)| s.profile(name, ns));
        let span = |s: &RawSpan| Span {
            thread: s.thread as usize,
            kernel: s.kernel.map(|k| k as usize),
            program: usize::from(s.program),
            wait: s.wait,
            begin_ns: self.clock.since_start(s.begin, ns),
            end_ns: self.clock.since_start(s.end, ns),
        };
        Profile {
            threads: self.recorder.0.len(),
            programs: programs.collect(),
            dropped: self.dropped,
            spans: self.spans.iter().map(span).collect(),
        }
    }
}

/// [`StepContext::stamp`].
///
/// # Safety
/// `context` is the one a step of a session with a profiler runs with, and `thread` the caller's index in it.
unsafe extern "C" fn stamp(context: *const StepContext, thread: usize, event: usize) {
    // SAFETY: `Profiler::attach` set the recorder, which the session keeps for all of the step.
    let recorder = unsafe { &*(*context).recorder.cast::<Recorder>() };
    // SAFETY: a log is used by its own thread alone while a step runs.
    let log = unsafe { &mut *recorder.0[thread].0.get() };
    match log.entries.get_mut(log.len) {
        Some(entry) => {
            *entry = (now(), event as u32);
            log.len += 1;
        }
        None => log.dropped += 1,
    }
}

/// What stands in a context's `stamp` while nobody records.
pub(crate) unsafe extern "C" fn no_stamp(_: *const StepContext, _thread: usize, _event: usize) {}

impl Sums {
    fn new(info: Vec<KernelInfo>, threads: usize) -> Sums {
        let n = info.len();
        Sums {
            info,
            steps: 0,
            tokens: 0,
            wall: 0,
            calls: vec![0; n],
            busy: vec![vec![0; n]; threads],
            wait: vec![vec![0; n]; threads],
            end_wait: vec![0; threads],
        }
    }

    /// Adds one thread's stamps: each ends a stretch that began with the one before.
    fn add(
        &mut self,
        program: usize,
        thread: usize,
        stamps: &[(u64, u32)],
        (begin, end): (u64, u64),
        spans: &mut Option<&mut Vec<RawSpan>>,
    ) {
        let mut from = begin;
        for &(at, event) in stamps {
            let (kernel, worked) = (event as usize / 2, event % 2 == 1);
            let sums = if worked {
                &mut self.busy
            } else {
                &mut self.wait
            };
            let Some(sum) = sums[thread].get_mut(kernel) else {
                continue;
            };
            *sum += at.saturating_sub(from);
            self.calls[kernel] += u64::from(worked && thread == 0);
            if let Some(spans) = spans {
                spans.push(RawSpan {
                    thread: thread as u32,
                    kernel: Some(kernel as u32),
                    program: program as u8,
                    wait: !worked,
                    begin: from,
                    end: at,
                });
            }
            from = at;
        }
        self.end_wait[thread] += end.saturating_sub(from);
    }

    fn profile(&self, program: &str, ns: f64) -> ProgramProfile {
        let scale = |ticks: u64| (ticks as f64 * ns) as u64;
        let of = |sums: &[Vec<u64>], kernel: usize| -> Vec<u64> {
            sums.iter().map(|thread| scale(thread[kernel])).collect()
        };
        let kernels = self.info.iter().enumerate().map(|(i, kernel)| KernelTime {
            kernel: kernel.clone(),
            calls: self.calls[i],
            busy_ns: of(&self.busy, i),
            wait_ns: of(&self.wait, i),
        });
        ProgramProfile {
            program: program.into(),
            steps: self.steps,
            tokens: self.tokens,
            wall_ns: scale(self.wall),
            kernels: kernels.collect(),
            end_wait_ns: self.end_wait.iter().map(|t| scale(*t)).collect(),
        }
    }
}

/// Room whose pages are there already, so that no step pays for them.
fn touched(n: usize) -> Vec<RawSpan> {
    let mut spans = vec![RawSpan::step(0, 1, 1); n];
    spans.clear();
    spans
}

impl RawSpan {
    fn step(program: usize, begin: u64, end: u64) -> RawSpan {
        RawSpan {
            thread: 0,
            kernel: None,
            program: program as u8,
            wait: false,
            begin,
            end,
        }
    }
}

impl ProgramProfile {
    /// Time in kernels and waiting, for each thread: close to [`ProgramProfile::wall_ns`].
    pub fn accounted_ns(&self) -> Vec<u64> {
        let of = |thread: usize| {
            let kernels = self.kernels.iter();
            kernels
                .map(|k| k.busy_ns[thread] + k.wait_ns[thread])
                .sum::<u64>()
                + self.end_wait_ns[thread]
        };
        (0..self.end_wait_ns.len()).map(of).collect()
    }

    /// Time in kernels and waiting before them for each source block, summed over threads, in the order of the program.
    pub fn groups(&self) -> Vec<(String, u64, u64)> {
        let mut out: Vec<(String, u64, u64)> = vec![];
        for k in &self.kernels {
            let (busy, wait) = (k.busy_ns.iter().sum::<u64>(), k.wait_ns.iter().sum::<u64>());
            let group = k.kernel.group();
            match out.iter_mut().find(|g| g.0 == group) {
                Some(g) => (g.1, g.2) = (g.1 + busy, g.2 + wait),
                None => out.push((group.into(), busy, wait)),
            }
        }
        out
    }
}

impl KernelInfo {
    /// The source block: `attention` of `layers.dense.attention.o`, `head` of `head.logits`.
    pub fn group(&self) -> &str {
        // Kinds that were split by how weights are stored are called `dense.2`.
        let is_name = |part: &&str| !part.bytes().all(|b| b.is_ascii_digit());
        let mut parts = self.at.split('.').filter(is_name);
        match parts.next() {
            Some("layers") => parts.nth(1).unwrap_or("layers"),
            Some(block) => block,
            None => "",
        }
    }
}

impl std::fmt::Display for Profile {
    /// A table of source blocks, and of the kernels that take most time.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for p in self.programs.iter().filter(|p| p.steps > 0) {
            let per_step = p.wall_ns as f64 / p.steps as f64 / 1e6;
            writeln!(
                f,
                "{}: {} steps of {per_step:.3} ms on {} threads",
                p.program, p.steps, self.threads
            )?;
            let all = (p.wall_ns * self.threads as u64).max(1) as f64;
            let line = |f: &mut std::fmt::Formatter<'_>, name: &str, busy: u64, wait: u64| {
                let share = |ns: u64| 100.0 * ns as f64 / all;
                writeln!(
                    f,
                    "  {name:<40} {:5.1} %  waiting {:5.1} %",
                    share(busy),
                    share(wait)
                )
            };
            for (name, busy, wait) in p.groups() {
                line(f, &name, busy, wait)?;
            }
            line(f, "end of step", 0, p.end_wait_ns.iter().sum())?;
            let mut kernels: Vec<_> = p.kernels.iter().collect();
            kernels.sort_by_key(|k| std::cmp::Reverse(k.busy_ns.iter().sum::<u64>()));
            for k in kernels.iter().take(8) {
                let (busy, wait) = (k.busy_ns.iter().sum(), k.wait_ns.iter().sum());
                line(
                    f,
                    &format!("  {} ({})", k.kernel.at, k.kernel.op),
                    busy,
                    wait,
                )?;
            }
        }
        match self.dropped {
            0 => Ok(()),
            n => writeln!(f, "{n} stamps found no room"),
        }
    }
}

#[cfg(test)]
mod tests;

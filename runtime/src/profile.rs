//! Where a step's time goes: per kernel and thread, waiting at barriers apart.
//!
//! Code compiled with time stamps calls [`StepContext::stamp`] or [`StepContext::timed_barrier`] when a thread begins a kernel;
//! each thread has sums and a timeline of its own, of fixed size, so that nothing is allocated during a step. Code compiled
//! without stamps has no trace of any of this.

mod breakdown;
mod clock;
mod lengths;
mod of_ranks;
mod recorder;
mod shared;
mod text;
mod trace;

use serde::{Deserialize, Serialize};

use crate::abi::{KernelInfo, Manifest, STRETCHES, StepContext, WAITING, stretch};

pub use self::breakdown::Breakdown;
use self::clock::Clock;
use self::lengths::{PREEMPTED_NS, PREEMPTED_TIMES, Typical};
use self::recorder::{Recorder, Sum, entering, leaving};

pub(crate) use self::clock::now;
pub(crate) use self::recorder::{begin, no_stamp, pause, stamp};

/// Stretches kept for the timeline, which are those of the first steps; sums go on. What is written here pushes weights of the
/// smallest models out of the caches: four times as many cost some half a percent of their steps.
const TIMELINE: usize = 50_000;

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// Checksum of the model's shape, [`Manifest::model_checksum`]; empty in files of before there was one.
    #[serde(default)]
    pub model_checksum: String,
    /// Threads, the caller included.
    pub threads: usize,
    /// Decode and prefill, as far as they ran.
    pub programs: Vec<ProgramProfile>,
    /// Stretches that the sums have and `spans` has no room for.
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
    /// For each of these tokens, the positions of its sequence that were filled before the step; all of them added up.
    pub depths: u64,
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
    /// For each thread, the time spent waiting for the others before it or in its midst.
    pub wait_ns: Vec<u64>,
    /// For each thread, what of this was in its midst: for other threads or, where ranks meet, for other ranks.
    #[serde(default)]
    pub inside_wait_ns: Vec<u64>,
    /// For each thread, the median of its calls, to some 3 %.
    #[serde(default)]
    pub median_ns: Vec<u64>,
    /// For each thread, the longest of its calls.
    #[serde(default)]
    pub largest_ns: Vec<u64>,
    /// Calls, of all threads, during which the thread lost its processor: they took over four times the median and 100 µs more.
    #[serde(default)]
    pub preempted: u64,
    /// How much longer than the median those took, for each thread.
    #[serde(default)]
    pub lost_ns: Vec<u64>,
}

/// A stretch of one thread's time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    model_checksum: String,
    recorder: Recorder,
    clock: Clock,
    programs: [Steps; 2],
}

/// All steps of one program.
struct Steps {
    info: Vec<KernelInfo>,
    steps: u64,
    tokens: u64,
    depths: u64,
    /// In ticks.
    wall: u64,
}

impl Profiler {
    pub(crate) fn new(threads: usize, manifest: &Manifest) -> Profiler {
        let info = [&manifest.decode, &manifest.prefill].map(|p| p.kernels.clone());
        Profiler {
            model_checksum: manifest.model_checksum(),
            recorder: Recorder::new(threads, [info[0].len(), info[1].len()], TIMELINE),
            clock: Clock::start(),
            programs: info.map(Steps::new),
        }
    }

    /// Makes the code of a step of program `program` (0 for decode) write here, and begins the step: returns what
    /// [`Profiler::end_step`] wants. The context must not be used after this profiler is gone.
    pub(crate) fn begin_step(&mut self, program: usize, context: &mut StepContext) -> u64 {
        let begin = now();
        self.recorder.begin_step(program, begin);
        context.stamp = stamp;
        context.recorder = self.recorder.as_ptr();
        begin
    }

    /// Ends a step that all threads have finished. Of each of its segments, `segments` has the tokens and the positions before them.
    pub(crate) fn end_step(
        &mut self,
        program: usize,
        segments: impl Iterator<Item = (usize, usize)>,
        begin: u64,
    ) {
        let end = now();
        self.recorder.end_step(end);
        let sums = &mut self.programs[program];
        sums.steps += 1;
        for (tokens, depth) in segments {
            sums.tokens += tokens as u64;
            sums.depths += (tokens * depth) as u64;
        }
        sums.wall += end.saturating_sub(begin);
    }

    /// What was measured so far.
    pub(crate) fn profile(&self) -> Profile {
        let ns = self.clock.ns_per_tick();
        let threads = 0..self.recorder.threads();
        let shown = |thread| self.recorder.timeline(thread).count() as u64;
        Profile {
            model_checksum: self.model_checksum.clone(),
            threads: threads.len(),
            programs: [0, 1].map(|program| self.program(program, ns)).into(),
            dropped: self.recorder.stretches() - threads.clone().map(shown).sum::<u64>(),
            spans: threads.flat_map(|thread| self.spans(thread, ns)).collect(),
        }
    }

    fn program(&self, program: usize, ns: f64) -> ProgramProfile {
        let Steps {
            info,
            steps,
            tokens,
            depths,
            wall,
        } = &self.programs[program];
        let threads = 0..self.recorder.threads();
        let sums: Vec<_> = threads
            .clone()
            .map(|t| self.recorder.sums(t, program))
            .collect();
        let time = |kinds: &[usize]| -> Vec<u64> {
            let ticks = |sums: &[Sum]| kinds.iter().map(|s| sums[*s].ticks).sum::<u64>();
            sums.iter().map(|of| scale(ticks(of), ns)).collect()
        };
        let kernels = info.iter().enumerate().map(|(k, kernel)| {
            let [begun, resumed] = [stretch(k, false), stretch(k, true)];
            let mut waits = vec![begun + WAITING, resumed + WAITING];
            waits.extend((k == 0).then(|| entering(info.len())));
            let typical: Vec<_> = threads
                .clone()
                .map(|t| self.typical(t, program, k, ns))
                .collect();
            let each = |of: fn(&Typical) -> f64| -> Vec<u64> {
                typical.iter().map(|t| (of(t) * ns) as u64).collect()
            };
            KernelTime {
                kernel: kernel.clone(),
                calls: sums[0][begun].count,
                busy_ns: time(&[begun, resumed]),
                wait_ns: time(&waits),
                inside_wait_ns: time(&[resumed + WAITING]),
                median_ns: each(|t| t.median),
                largest_ns: each(|t| t.largest as f64),
                preempted: typical.iter().map(|t| t.preempted).sum(),
                lost_ns: each(|t| t.lost),
            }
        });
        ProgramProfile {
            program: ["decode", "prefill"][program].into(),
            steps: *steps,
            tokens: *tokens,
            depths: *depths,
            wall_ns: scale(*wall, ns),
            kernels: kernels.collect(),
            end_wait_ns: time(&[leaving(info.len())]),
        }
    }

    fn typical(&self, thread: usize, program: usize, kernel: usize, ns: f64) -> Typical {
        let lengths = self.recorder.lengths(thread, program, kernel);
        lengths.typical(|median| PREEMPTED_TIMES * median + PREEMPTED_NS / ns)
    }

    /// A thread's part of the timeline; that of thread 0 has the steps as well.
    fn spans(&self, thread: usize, ns: f64) -> Vec<Span> {
        let mut spans = vec![];
        let mut step_begin = 0;
        for past in self.recorder.timeline(thread) {
            let kernels = self.programs[past.program].info.len();
            let mut push = |kernel, wait, begin| {
                spans.push(Span {
                    thread,
                    kernel,
                    program: past.program,
                    wait,
                    begin_ns: self.clock.since_start(begin, ns),
                    end_ns: self.clock.since_start(past.end, ns),
                })
            };
            if past.stretch == entering(kernels) {
                step_begin = past.begin;
                push(Some(0), true, past.begin);
            } else if past.stretch != leaving(kernels) {
                let (kernel, kind) = (past.stretch / STRETCHES, past.stretch % STRETCHES);
                push(Some(kernel), kind & WAITING != 0, past.begin);
            } else if thread == 0 {
                push(None, false, step_begin);
            }
        }
        spans
    }
}

fn scale(ticks: u64, ns_per_tick: f64) -> u64 {
    (ticks as f64 * ns_per_tick) as u64
}

impl Steps {
    fn new(info: Vec<KernelInfo>) -> Steps {
        Steps {
            info,
            steps: 0,
            tokens: 0,
            depths: 0,
            wall: 0,
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

impl KernelTime {
    /// Nanoseconds of a usual call: the slowest thread's median.
    pub fn median(&self) -> u64 {
        self.median_ns.iter().copied().max().unwrap_or(0)
    }

    /// Nanoseconds of the longest call of any thread.
    pub fn largest(&self) -> u64 {
        self.largest_ns.iter().copied().max().unwrap_or(0)
    }

    /// Time spent in it on all threads, without what was lost to preemption.
    pub fn usual_ns(&self) -> u64 {
        let (busy, lost): (u64, u64) = (self.busy_ns.iter().sum(), self.lost_ns.iter().sum());
        busy.saturating_sub(lost)
    }
}

#[cfg(test)]
mod tests;

//! What every kernel takes on this machine: some steps of each program, with time stamps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use graver_runtime::Error;
use graver_runtime::profile::{Profile, ProgramProfile};
use graver_runtime::session::{Session, SessionOptions, Wanted};
use serde::Serialize;

use super::view::steps;
use crate::bench::token_ids;
use crate::driver::{self, CompileOptions, Loaded, OpenError, Part};

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// Code, or its ranks.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] Error),
}

/// What kernels of both programs take.
#[derive(Clone, Debug, Serialize)]
pub struct Times {
    /// Threads.
    pub threads: usize,
    programs: Vec<ProgramTimes>,
}

#[derive(Clone, Debug, Serialize)]
struct ProgramTimes {
    program: String,
    /// Of a whole step, its waits included.
    step_ns: u64,
    /// By block and kernel, in order.
    kernels: Vec<KernelTimes>,
}

#[derive(Clone, Debug, Serialize)]
struct KernelTimes {
    /// `layers.dense.attention.o`.
    at: String,
    op: String,
    median_ns: u64,
    largest_ns: u64,
    /// Calls that lost their processor.
    preempted: u64,
}

/// Steps of decode, as far as they fit into the time.
const STEPS: usize = 32;
const TIME: Duration = Duration::from_secs(2);

/// Compiles a model whose weights are there with time stamps, and runs it, all its ranks; `threads` is for each of them.
///
/// # Errors
/// Systems that forbid code made in memory, and a session that does not fit the memory.
pub fn measure(
    (loaded, part): (&Arc<Loaded>, Part),
    options: &CompileOptions,
    threads: usize,
) -> Result<Times, MeasureError> {
    let [decode, prefill] = steps(loaded);
    let mut options = options.clone();
    options.instruments.stamps = true;
    let session = SessionOptions {
        threads: Some(threads),
        context: Some(prefill.tokens.max(decode.depth) + 1),
        profile: true,
        ..SessionOptions::default()
    };
    let mut session = start((loaded, part), &options, session)?;
    // Once to warm up.
    run(&mut session, decode.depth, prefill.tokens, 1)?;
    session.reset_profile();
    run(&mut session, decode.depth, prefill.tokens, STEPS)?;
    let profiles = session.profiles()?;
    let own = profiles.get(part.rank);
    Ok(Times {
        threads,
        programs: own.iter().flat_map(|p| &p.programs).map(times).collect(),
    })
}

/// A session of the whole model, or of all ranks as threads of this process.
fn start(
    (loaded, part): (&Arc<Loaded>, Part),
    options: &CompileOptions,
    session: SessionOptions,
) -> Result<Session, OpenError> {
    if part.is_shared() {
        let planned = driver::plan_ranks(loaded, options, part.division)?;
        return driver::start_ranks(planned, options, &session);
    }
    let program = driver::compile(loaded, options)?;
    Ok(driver::start(program, loaded, session)?)
}

/// A prompt, and some tokens after it, each of them the first.
fn run(session: &mut Session, depth: usize, prompt: usize, steps: usize) -> Result<(), Error> {
    let vocab = session.vocab();
    let tokens = token_ids(0, prompt, vocab);
    session.reset(0)?;
    session.feed(0, &tokens, Wanted::Last)?;
    let begun = Instant::now();
    for step in 0..steps {
        if begun.elapsed() > TIME {
            break;
        }
        if session.position(0)? > depth && session.truncate(0, depth).is_err() {
            // A ring or a recurrent state has lost what the cut needs: the prompt is read again, and timed again.
            session.reset(0)?;
            session.feed(0, &tokens, Wanted::Last)?;
        }
        session.feed(0, &[(step % vocab) as u32], Wanted::Last)?;
    }
    Ok(())
}

fn times(p: &ProgramProfile) -> ProgramTimes {
    let kernel = |k: &graver_runtime::profile::KernelTime| KernelTimes {
        at: k.kernel.at.clone(),
        op: k.kernel.op.clone(),
        median_ns: k.median(),
        largest_ns: k.largest(),
        preempted: k.preempted,
    };
    ProgramTimes {
        program: p.program.clone(),
        step_ns: p.wall_ns / p.steps.max(1),
        kernels: p.kernels.iter().map(kernel).collect(),
    }
}

impl Times {
    /// Those of a profile that a program wrote.
    pub fn of(profile: &Profile) -> Times {
        let ran = profile.programs.iter().filter(|p| p.steps > 0);
        Times {
            threads: profile.threads,
            programs: ran.map(times).collect(),
        }
    }
}

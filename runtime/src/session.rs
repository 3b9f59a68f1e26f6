//! A compiled model, ready to run: its program, weights, threads and the state of its sequences.
//!
//! A session takes tokens and gives logits. Everything that generated code may touch is reserved here, at the sizes the
//! manifest states, and every number that comes from outside (the manifest, the caller) is checked before a step begins;
//! a step that has begun cannot fail.

use std::sync::Arc;

use crate::abi::{CLAIM_COUNTERS, KernelTable, Manifest, RankInfo, StepContext};
use crate::checked::{self, CheckOptions, Checked, Checker};
use crate::cpu;
use crate::error::Error;
use crate::mapped::WeightSource;
use crate::memory::Region;
use crate::profile::{Profile, Profiler, no_stamp};
use crate::ranks::{Command, Link, no_collective, nothing_finished};
use crate::sizes::{self, sized};
use crate::state::{Snapshot, States};
use crate::step::StepLists;
pub use crate::step::{Segment, Wanted};
use crate::threads::{self, Pool};

mod again;
mod checks;
mod feed;
mod logits;
mod program;
mod ranks;
mod taken;

pub use logits::Logits;
pub use program::Program;
pub use taken::TakenLogits;

/// Positions of a context that nobody chose, where the model has as many.
pub const DEFAULT_CONTEXT: usize = 4096;

/// Choices that are made when a session begins.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Threads, the caller included; as many as this process may use if not given.
    pub threads: Option<usize>,
    /// Positions each sequence has room for; the model's own limit or [`DEFAULT_CONTEXT`] if not given.
    pub context: Option<usize>,
    /// Sequences that can be held at once.
    pub slots: usize,
    /// Binds each thread to a processor.
    pub pin: bool,
    /// Which of the processors that this process may use is the first thread's then: ranks of one process have different ones.
    pub first_cpu: usize,
    /// Lets one thread do a step alone while all of them have to share one processor, which is faster and gives the same bits.
    pub alone: bool,
    /// Records where time goes; the program has to be compiled with time stamps.
    pub profile: bool,
    /// Micro-kernels to use instead of those for this processor.
    pub kernels: Option<&'static KernelTable>,
    /// Compares every access with what its kernel may touch; the program has to be compiled with checks.
    pub checks: Option<CheckOptions>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            threads: None,
            context: None,
            slots: 1,
            pin: false,
            first_cpu: 0,
            alone: false,
            profile: false,
            kernels: None,
            checks: None,
        }
    }
}

/// A model with its weights, threads and sequences.
pub struct Session {
    // Dropped in this order: threads first, what they use after them.
    pool: Pool,
    program: Program,
    #[expect(
        dead_code,
        reason = "keeps the bytes in place that `pointers` points to"
    )]
    weights: WeightSource,
    pointers: Vec<*const u8>,
    kernels: &'static KernelTable,
    states: States,
    arena: Region,
    scratch: Region,
    scratch_stride: usize,
    logits: Region,
    counters: Box<Counters>,
    lists: StepLists,
    profiler: Option<Profiler>,
    checker: Option<Box<Checker>>,
    /// Rows of several steps, for `feed` with [`Wanted::All`].
    collected: Vec<f32>,
    /// Whether the last call's rows are in `collected`.
    is_collected: bool,
    /// To the ranks that have the rest of the model.
    link: Option<Box<Link>>,
}

/// On cache lines of their own: every thread writes to them.
#[repr(align(128))]
struct Counters([u64; CLAIM_COUNTERS]);

// SAFETY: the pointers of a session are to memory it owns, and are used only by its own threads inside a call that has it
// exclusively.
unsafe impl Send for Session {}

impl Session {
    /// Makes a program ready to run with its weights, which are given in the order of the manifest's blobs.
    ///
    /// Fails if the program is of another ABI, needs processor features that are missing, or states sizes that do not fit
    /// the weights or the memory.
    pub fn new(
        program: Program,
        weights: WeightSource,
        options: SessionOptions,
    ) -> Result<Session, Error> {
        match program.manifest.rank {
            Some(RankInfo { rank, ranks, .. }) if ranks > 1 => {
                Err(Error::PartOfModel { rank, ranks })
            }
            Some(_) | None => Session::make(program, weights, options),
        }
    }

    fn make(
        program: Program,
        weights: WeightSource,
        options: SessionOptions,
    ) -> Result<Session, Error> {
        let manifest = Arc::clone(&program.manifest);
        sizes::check_manifest(&manifest)?;
        if weights.blobs.len() != manifest.blobs.len() {
            return Err(Error::BlobCount {
                found: weights.blobs.len(),
                expected: manifest.blobs.len(),
            });
        }
        let mut pointers = weights.pointers(&manifest.weights)?;
        let context = sizes::context(&manifest, options.context)?;
        let threads = options
            .threads
            .unwrap_or_else(|| cpu::available_threads().min(threads::MAX_THREADS));
        let scratch_stride = sizes::scratch_stride(&manifest)?;
        let max_tokens = manifest.decode.max_tokens.max(manifest.prefill.max_tokens);
        let logits_bytes = max_tokens
            .checked_mul(manifest.width())
            .and_then(|n| n.checked_mul(size_of::<f32>()));
        if options.profile && manifest.decode.kernels.is_empty() {
            return Err(Error::NoStamps);
        }
        let states = checks::states(&manifest, context, &options)?;
        let kernels = match options.kernels {
            Some(kernels) => kernels,
            None => crate::kernels::table(&manifest.tuned)?,
        };
        let checked = Checked {
            threads,
            kernels,
            manifest: &manifest,
            states: &states,
            scratch_stride,
        };
        let checker = match options.checks {
            Some(checks) => Some(checks::checker(&program, checks, &checked, &mut pointers)?),
            None => None,
        };
        let mut pool = Pool::bound(threads, options.pin.then_some(options.first_cpu))?;
        if options.alone && checker.is_none() {
            pool = pool.alone_where_crowded();
        }
        let profiler = || Profiler::new(threads, &manifest);
        Ok(Session {
            profiler: options.profile.then(profiler),
            checker,
            pointers,
            kernels,
            states,
            arena: Region::reserve("activations", sizes::arena_bytes(&manifest, context)?)?
                .large_pages(),
            scratch: Region::reserve(
                "scratch",
                sized("scratch", scratch_stride.checked_mul(threads))?,
            )?,
            scratch_stride,
            logits: Region::reserve("logits", sized("logits", logits_bytes)?)?,
            counters: Box::new(Counters([0; CLAIM_COUNTERS])),
            lists: StepLists::with_capacity(max_tokens),
            collected: Vec::new(),
            is_collected: false,
            link: None,
            pool,
            program,
            weights,
        })
    }

    /// Runs one step: appends the tokens of each segment to its sequence, and computes the logits wanted, `[rows, vocab]`.
    ///
    /// Steps of up to `decode.max_tokens` tokens run the decode program, longer ones, up to [`Session::max_step`], prefill.
    /// After an error nothing has changed.
    pub fn step(&mut self, segments: &[Segment<'_>], wanted: Wanted) -> Result<Logits<'_>, Error> {
        let tokens = segments.iter().map(|segment| segment.tokens.len()).sum();
        let max = self.max_step();
        if tokens > max {
            return Err(Error::StepTooLong { tokens, max });
        }
        self.check(segments)?;
        self.begin(segments, || Command::step(segments, wanted))?;
        self.run(segments, tokens, wanted)?;
        self.is_collected = false;
        Ok(self.step_logits())
    }

    /// What the program says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.program.manifest
    }

    /// Where time went so far, if that is recorded.
    pub fn profile(&self) -> Option<Profile> {
        self.profiler.as_ref().map(Profiler::profile)
    }

    /// Forgets what was recorded so far: after warming up.
    pub fn reset_profile(&mut self) {
        // A rank that is gone is what the next step complains about.
        let _ = self.tell(|| Command::ResetProfile);
        self.forget_profile();
    }

    /// [`Session::reset_profile`] of this rank.
    fn forget_profile(&mut self) {
        if let Some(profiler) = &mut self.profiler {
            *profiler = Profiler::new(self.pool.threads(), &self.program.manifest);
        }
    }

    /// Size of the vocabulary: the width of a row of logits.
    pub fn vocab(&self) -> usize {
        self.program.manifest.vocab
    }

    /// Positions each sequence has room for.
    pub fn context(&self) -> usize {
        self.states.layout().context()
    }

    /// The most tokens of one step.
    pub fn max_step(&self) -> usize {
        self.program
            .manifest
            .prefill
            .max_tokens
            .max(self.program.manifest.decode.max_tokens)
    }

    /// Threads, the caller included.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Number of sequence slots.
    pub fn slots(&self) -> usize {
        self.states.slots()
    }

    /// Says how many positions a sequence will have, until it is reset. It matters only where a rotary embedding changes with
    /// the length ([`Manifest::length_switches`]): logits are then those of a text so long from the start, and growing up to
    /// that length computes nothing again.
    pub fn expect(&mut self, slot: usize, positions: usize) -> Result<(), Error> {
        self.states.expect(slot, positions)?;
        self.tell(|| Command::Expect { slot, positions })
    }

    /// Positions filled in a slot.
    pub fn position(&self, slot: usize) -> Result<usize, Error> {
        self.states.position(slot)
    }

    /// Forgets what a sequence holds after its first `position` positions; see [`States::truncate`].
    pub fn truncate(&mut self, slot: usize, position: usize) -> Result<(), Error> {
        self.states.truncate(slot, position)?;
        self.tell(|| Command::Truncate { slot, position })
    }

    /// The first position, other than 0, to which a sequence can be cut now; see [`States::truncate`].
    pub fn earliest(&self, slot: usize) -> Result<usize, Error> {
        self.states.earliest(slot)
    }

    /// Begins a new sequence in a slot.
    pub fn reset(&mut self, slot: usize) -> Result<(), Error> {
        self.states.reset(slot)?;
        self.tell(|| Command::Reset { slot })
    }

    /// Makes the sequence in `to` an independent copy of the one in `from`.
    pub fn copy(&mut self, from: usize, to: usize) -> Result<(), Error> {
        self.states.copy(from, to)?;
        self.tell(|| Command::Copy { from, to })
    }

    /// Copies a sequence's state out.
    pub fn snapshot(&self, slot: usize) -> Result<Snapshot, Error> {
        self.check_alone()?;
        self.states.snapshot(slot)
    }

    /// Puts a sequence's state back, into any slot.
    pub fn restore(&mut self, slot: usize, snapshot: &Snapshot) -> Result<(), Error> {
        self.check_alone()?;
        self.states.restore(slot, snapshot)
    }

    /// Everything about segments that generated code relies on, but their total length.
    fn check(&self, segments: &[Segment<'_>]) -> Result<(), Error> {
        if segments.is_empty() {
            return Err(Error::NoSegments);
        }
        for (index, &Segment { slot, tokens }) in segments.iter().enumerate() {
            let position = self.states.position(slot)?;
            if tokens.is_empty() {
                return Err(Error::NoTokens { slot });
            }
            if segments[..index].iter().any(|before| before.slot == slot) {
                return Err(Error::SlotTwice { slot });
            }
            if let Some(&id) = tokens.iter().find(|id| **id as usize >= self.vocab()) {
                return Err(Error::Token {
                    id,
                    vocab: self.vocab(),
                });
            }
            let context = self.context();
            if tokens.len() > context - position {
                let most = self.manifest().context;
                return Err(Error::ContextFull {
                    tokens: tokens.len(),
                    position,
                    context,
                    most,
                });
            }
        }
        Ok(())
    }

    /// Runs a step whose segments have been checked. It fails only where accesses of the code are checked too, and one is wrong:
    /// then the sequences of its segments are of no use any more.
    fn run(
        &mut self,
        segments: &[Segment<'_>],
        tokens: usize,
        wanted: Wanted,
    ) -> Result<(), Error> {
        let manifest = &self.program.manifest;
        let (program, entry, info) = match tokens <= manifest.decode.max_tokens {
            true => (0, self.program.decode, &manifest.decode),
            false => (1, self.program.prefill, &manifest.prefill),
        };
        let states = &self.states;
        self.lists.fill(segments, wanted, info.query_tile, |slot| {
            let (position, length) = (states.position(slot), states.length(slot));
            position
                .and_then(|p| Ok((p, length?)))
                .expect("segments are checked")
        });
        let mut context = self.step_context();
        if let Some(link) = &mut self.link {
            link.begin_step(program, &mut context);
        }
        let begin = self
            .profiler
            .as_mut()
            .map(|p| p.begin_step(program, &mut context));
        let mut enter = entry;
        if let Some(checker) = &mut self.checker {
            enter = checker.begin_step(program, entry, &mut context);
            self.states.guard(true)?;
        }
        // SAFETY: `Program::new` vouches for the entry points, and the context has what they were promised: weight slots inside
        // their blobs, state for slots and positions that exist, an arena, scratch and logits of the manifest's sizes, token
        // ids inside the vocabulary. `&mut self` keeps everybody else away.
        unsafe { self.pool.run(enter, &mut context) };
        if let Some((profiler, begin)) = self.profiler.as_mut().zip(begin) {
            let states = &self.states;
            let depth = |slot| states.position(slot).expect("segments are checked");
            let segments = segments.iter().map(|s| (s.tokens.len(), depth(s.slot)));
            profiler.end_step(program, segments, begin);
        }
        for segment in segments {
            self.states
                .advance(segment.slot, segment.tokens.len())
                .expect("segments are checked");
        }
        if let Some(link) = &self.link {
            link.check()?;
        }
        let Some(checker) = &mut self.checker else {
            return Ok(());
        };
        self.states.guard(false)?;
        match checker.end_step() {
            Some(found) => Err(Error::Checked { found }),
            None => Ok(()),
        }
    }

    fn step_context(&mut self) -> StepContext {
        let lists = &self.lists;
        StepContext {
            n_tokens: lists.tokens.len(),
            n_logit_rows: lists.logit_rows.len(),
            n_spans: lists.spans.len(),
            n_tiles: lists.tiles.len(),
            // The pool fills in what concerns threads.
            n_threads: 0,
            context: self.states.layout().context(),
            tokens: lists.tokens.as_ptr(),
            positions: lists.positions.as_ptr(),
            slots: lists.slots.as_ptr(),
            logit_rows: lists.logit_rows.as_ptr(),
            spans: lists.spans.as_ptr(),
            tiles: lists.tiles.as_ptr(),
            weights: self.pointers.as_ptr(),
            slot_base: self.states.bases().as_ptr(),
            state_offset: self.states.layout().offsets().as_ptr(),
            arena: self.arena.as_mut_ptr(),
            scratch: self.scratch.as_mut_ptr(),
            scratch_stride: self.scratch_stride,
            logits: self.logits.as_mut_ptr().cast(),
            kernels: self.kernels,
            counters: self.counters.0.as_mut_ptr(),
            barrier: threads::no_barrier,
            timed_barrier: no_stamp,
            sync: std::ptr::null(),
            lengths: lists.lengths.as_ptr(),
            stamp: no_stamp,
            recorder: std::ptr::null(),
            enter_kernel: checked::enter_nothing,
            check: checked::allow,
            admit: checked::admit_nothing,
            chunk: checked::same_chunk,
            checker: std::ptr::null(),
            collective: no_collective,
            ranks: std::ptr::null(),
            finished: nothing_finished,
            columns: std::ptr::null(),
        }
    }

    /// What the last step wrote.
    fn step_logits(&self) -> Logits<'_> {
        let width = self.program.manifest.width();
        Logits {
            values: step_rows(&self.logits, self.lists.logit_rows.len(), width),
            width,
        }
    }
}

/// The first `rows` rows of a buffer of logits.
fn step_rows(logits: &Region, rows: usize, vocab: usize) -> &[f32] {
    // SAFETY: generated code writes logits only inside `Session::run`, which has the session exclusively, as no caller of this
    // function does while the slice lives.
    let bytes = unsafe { logits.slice(0, rows * vocab * size_of::<f32>()) };
    // SAFETY: a region is aligned to a page, every bit pattern is an f32, and the length is that of the bytes.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), rows * vocab) }
}

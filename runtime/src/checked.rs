//! Checked execution: every access of generated code is compared with what the compiler says that its kernel may touch.
//!
//! Code compiled for it asks before each load and store, and calls micro-kernels that look at their arguments first. A
//! violation is noted, with kernel and address, and the access is not made; the step then fails. Beside that, as
//! [`CheckOptions`] say: memory that nobody has written, or that nobody should read any more, is filled with NaN; weights
//! and state end at pages that are mapped to nothing; threads take turns in a drawn order, and so do the chunks of their
//! kernels. Results have the same bits as without all this.
//!
//! Made for tests and `--checked`: a checked step takes many times as long.

mod access;
mod calls;
mod guard;
mod live;
mod micro;
mod table;
mod turns;

use std::cell::UnsafeCell;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

pub use access::{
    BlockPlace, Extent, KernelAccess, ProgramAccess, RowCount, Size, ValueAccess, ValuePlace,
};
pub(crate) use calls::{admit_nothing, allow, enter_nothing, same_chunk};
pub(crate) use guard::{GuardedWeights, protect};

use self::live::{Live, Region};
use self::turns::{Apart, Turns};
use crate::abi::{Entry, KernelTable, Manifest, Span, StepContext};
use crate::error::Error;
use crate::sizes;
use crate::state::States;

/// Violations that are told in full; more are only counted.
const TOLD: usize = 8;

/// What a checked session does beside looking at accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckOptions {
    /// Fills arena, scratch and unwritten state with NaN before each step, and values when nobody reads them any more.
    pub poison: bool,
    /// Lets every weight slot and state buffer end at an unmapped page.
    pub guards: bool,
    /// Seed of the order in which threads take turns between barriers, and of the order of chunks; ascending if not given.
    pub order: Option<u64>,
}

impl CheckOptions {
    /// All of it.
    pub const ALL: CheckOptions = CheckOptions {
        poison: true,
        guards: true,
        order: Some(1),
    };
}

/// Byte that poisoned memory is filled with: NaN in every float type, an index beyond every table.
pub(crate) const POISON: u8 = 0xff;

/// The checks of one session.
pub(crate) struct Checker {
    programs: Arc<[ProgramAccess; 2]>,
    options: CheckOptions,
    threads: Vec<UnsafeCell<Live>>,
    turns: Turns,
    /// Bytes of each weight slot.
    weight_bytes: Vec<usize>,
    /// Bytes of each state buffer of a slot.
    state_bytes: Vec<usize>,
    slots: usize,
    scratch_stride: usize,
    /// Bytes of the arena that each program uses.
    arena_bytes: [usize; 2],
    #[expect(dead_code, reason = "holds the weights in place that code reads")]
    guarded: Option<GuardedWeights>,
    found: Mutex<Found>,
    step: UnsafeCell<Step>,
}

/// A session that is to be checked.
pub(crate) struct Checked<'a> {
    pub(crate) threads: usize,
    pub(crate) kernels: &'static KernelTable,
    pub(crate) manifest: &'a Manifest,
    pub(crate) states: &'a States,
    pub(crate) scratch_stride: usize,
}

/// What is the same for a whole step, or only changed by the thread whose turn it is.
#[derive(Clone, Copy)]
struct Step {
    entry: Option<Entry>,
    program: usize,
    /// The furthest that a thread has come: blocks begun, and the kernel within the block.
    furthest: (usize, usize),
    seed: u64,
}

#[derive(Default)]
struct Found {
    told: Vec<String>,
    more: usize,
}

// SAFETY: `threads[i]` is used by thread `i` of the session's pool alone; `step` is written by the session between steps, and
// during a step by the thread whose turn it is (`Turns` lets one run at a time, with a lock between two turns).
unsafe impl Sync for Checker {}
// SAFETY: what its pointers and cells refer to belongs to the session, which may move between threads.
unsafe impl Send for Checker {}

impl Checker {
    /// Checks what `programs` says of the kernels of a session.
    pub(crate) fn new(
        programs: Arc<[ProgramAccess; 2]>,
        options: CheckOptions,
        of: &Checked<'_>,
        guarded: Option<GuardedWeights>,
    ) -> Result<Checker, Error> {
        let Checked {
            manifest, states, ..
        } = of;
        let live = |_| UnsafeCell::new(Live::new(of.kernels));
        let context = states.layout().context();
        let arena = |info| sizes::program_arena_bytes(info, context);
        Ok(Checker {
            programs,
            options,
            threads: (0..of.threads).map(live).collect(),
            turns: Turns::new(options.order),
            weight_bytes: manifest.weights.iter().map(|w| w.bytes).collect(),
            state_bytes: states.layout().sizes().to_vec(),
            slots: states.slots(),
            scratch_stride: of.scratch_stride,
            arena_bytes: [arena(&manifest.decode)?, arena(&manifest.prefill)?],
            guarded,
            found: Mutex::default(),
            step: UnsafeCell::new(Step {
                entry: None,
                program: 0,
                furthest: (0, 0),
                seed: 0,
            }),
        })
    }

    /// Prepares a step of `program`, whose code starts at `entry`; returns what the pool has to enter instead.
    pub(crate) fn begin_step(
        &mut self,
        program: usize,
        entry: Entry,
        context: &mut StepContext,
    ) -> Entry {
        self.turns.reset(self.threads.len());
        *self.step.get_mut() = Step {
            entry: Some(entry),
            program,
            furthest: (0, 0),
            seed: self.turns.draw(),
        };
        for live in &mut self.threads {
            let live = live.get_mut();
            (live.kernel, live.blocks) = (None, 0);
        }
        context.checker = (&raw const *self).cast();
        calls::fill_in(context);
        context.kernels = &raw const table::TABLE;
        if self.options.poison {
            // SAFETY: the session owns arena and scratch, at these sizes, and no thread runs yet.
            unsafe {
                context.arena.write_bytes(POISON, self.arena_bytes[program]);
                let scratch = self.scratch_stride * self.threads.len();
                context.scratch.write_bytes(POISON, scratch);
            }
        }
        calls::checked_entry
    }

    /// Everything found in the step that has just ended.
    pub(crate) fn end_step(&mut self) -> Option<String> {
        let found = std::mem::take(self.found.get_mut().unwrap_or_else(PoisonError::into_inner));
        if found.told.is_empty() {
            return None;
        }
        let mut text = found.told.join("\n");
        if found.more > 0 {
            let _ = write!(text, "\n… and {} more", found.more);
        }
        Some(text)
    }

    fn tell(&self, what: String) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match found.told.len() < TOLD {
            true => found.told.push(what),
            false => found.more += 1,
        }
    }

    /// Notes an access that `live`'s kernel may not make.
    fn report(&self, live: &Live, micro: Option<&str>, at: usize, bytes: usize, write: bool) {
        let kernel = self.kernel_name(live);
        let through = micro.map_or(String::new(), |m| format!(" through {m}"));
        let verb = if write { "writes" } else { "reads" };
        let bytes = match bytes {
            usize::MAX => "more bytes than there are".to_string(),
            n => format!("{n} bytes"),
        };
        self.tell(format!(
            "{kernel}{through} {verb} {bytes} at {at:#x}, outside of what it may {}; {}",
            verb.trim_end_matches('s'),
            live.near(at)
        ));
    }

    fn kernel_name(&self, live: &Live) -> String {
        let Some(index) = live.kernel else {
            return "code outside of any kernel".into();
        };
        let program = self.program();
        let kernel = &program.kernels[index];
        match live.place.and_then(|place| program.places.get(place)) {
            Some(place) => format!("{} ({})", kernel.name, place.name),
            None => kernel.name.clone(),
        }
    }

    fn program(&self) -> &ProgramAccess {
        &self.programs[self.step().program]
    }

    fn step(&self) -> Step {
        // SAFETY: written only between steps, or by the thread whose turn it is, which is this one.
        unsafe { *self.step.get() }
    }

    /// What kernel `index` may touch when it is run for the block at `weights` and `states`.
    fn enter(&self, live: &mut Live, ctx: &StepContext, thread: usize, own: Own) {
        let program = self.program();
        let kernel = &program.kernels[own.kernel];
        live.kernel = Some(own.kernel);
        live.blocks += usize::from(kernel.index == 0 && !own.again);
        let (weight, state) = (
            (own.weights.wrapping_sub(ctx.weights as usize)) / size_of::<*const u8>(),
            (own.states.wrapping_sub(ctx.state_offset as usize)) / size_of::<usize>(),
        );
        let stands = |p: &BlockPlace| (p.block, p.weight, p.state) == (kernel.block, weight, state);
        live.place = program.places.iter().position(stands);
        live.regions.clear();
        if live.place.is_none() {
            let name = &kernel.name;
            self.tell(format!(
                "{name}: called with weight slot {weight} and state buffer {state}, which begin no block of its kind"
            ));
            return;
        }
        self.allow_step(live, ctx);
        for value in &kernel.values {
            live.regions
                .push(Region::of(&value.extent, ctx, value.written));
        }
        self.allow_weights(live, ctx, weight, kernel);
        self.allow_states(live, ctx, state, kernel);
        let scratch = ctx.scratch as usize + thread * ctx.scratch_stride;
        let areas = kernel.scratch.iter();
        live.regions
            .extend(areas.map(|a| Region::dense(scratch + a.start, a.len(), true)));
        if self.options.poison {
            self.poison(live, ctx, kernel, scratch);
        }
    }

    /// The lists that describe a step, which every kernel may read.
    fn allow_step(&self, live: &mut Live, ctx: &StepContext) {
        let tokens = [ctx.tokens, ctx.positions, ctx.slots, ctx.lengths];
        let lists = tokens.map(|at| (at as usize, ctx.n_tokens * size_of::<u32>()));
        let spans = [(ctx.spans, ctx.n_spans), (ctx.tiles, ctx.n_tiles)];
        let spans = spans.map(|(at, n)| (at as usize, n * size_of::<Span>()));
        let others = [
            (ctx.logit_rows as usize, ctx.n_logit_rows * size_of::<u32>()),
            (ctx.slot_base as usize, self.slots * size_of::<*mut u8>()),
        ];
        let all = lists.into_iter().chain(spans).chain(others);
        live.regions
            .extend(all.map(|(at, bytes)| Region::dense(at, bytes, false)));
    }

    fn allow_weights(&self, live: &mut Live, ctx: &StepContext, base: usize, k: &KernelAccess) {
        for slots in &k.weights {
            let slots = base + slots.start..base + slots.end;
            let entry = ctx.weights.wrapping_add(slots.start);
            let bytes = slots.len() * size_of::<*const u8>();
            live.regions
                .push(Region::dense(entry as usize, bytes, false));
            for slot in slots {
                let Some(bytes) = self.weight_bytes.get(slot).copied() else {
                    continue;
                };
                // SAFETY: the table has an entry for every weight slot of the manifest, as `weight_bytes` has.
                let at = unsafe { *ctx.weights.add(slot) };
                live.regions.push(Region::dense(at as usize, bytes, false));
            }
        }
    }

    fn allow_states(&self, live: &mut Live, ctx: &StepContext, base: usize, k: &KernelAccess) {
        // SAFETY: the session filled in the list of segments, and their slots exist.
        let spans = unsafe { std::slice::from_raw_parts(ctx.spans, ctx.n_spans) };
        for buffers in &k.states {
            let buffers = base + buffers.start..base + buffers.end;
            let entry = ctx.state_offset.wrapping_add(buffers.start);
            let bytes = buffers.len() * size_of::<usize>();
            live.regions
                .push(Region::dense(entry as usize, bytes, false));
            for buffer in buffers.filter(|b| *b < self.state_bytes.len()) {
                for span in spans {
                    // SAFETY: there is a base for every slot, and an offset for every state buffer.
                    let at = unsafe {
                        *ctx.slot_base.add(span.slot as usize) as usize
                            + *ctx.state_offset.add(buffer)
                    };
                    let bytes = self.state_bytes[buffer];
                    live.regions.push(Region::dense(at, bytes, true));
                }
            }
        }
    }

    /// Fills what nobody may rely on: scratch, and values that have died, which the first thread to come does for all.
    fn poison(&self, live: &Live, ctx: &StepContext, kernel: &KernelAccess, scratch: usize) {
        let used = kernel.scratch.last().map_or(0, |area| area.end);
        // SAFETY: the thread's own scratch, of the size that the manifest states.
        unsafe { (scratch as *mut u8).write_bytes(POISON, used.min(self.scratch_stride)) };
        // SAFETY: it is this thread's turn.
        let step = unsafe { &mut *self.step.get() };
        let here = (live.blocks, kernel.index);
        if here <= step.furthest {
            return;
        }
        step.furthest = here;
        let fill = |at: usize, bytes: usize| {
            // SAFETY: an extent of the memory plan lies inside the arena, and no kernel of this epoch has begun on any thread.
            unsafe { (at as *mut u8).write_bytes(POISON, bytes) };
        };
        if kernel.index == 0 {
            let carried = self.program().carried_bytes;
            fill(
                ctx.arena as usize + carried,
                self.arena_bytes[step.program] - carried,
            );
        }
        for extent in &kernel.dead {
            let (at, bytes) = Region::of(extent, ctx, true).span();
            fill(at, bytes);
        }
    }

    fn apart(&self, apart: Option<Apart>) {
        let Some(Apart { one, other }) = apart else {
            return;
        };
        let program = self.program();
        let at = |(thread, kernel): (usize, Option<usize>)| match kernel {
            Some(usize::MAX) => format!("thread {thread} waits before any kernel"),
            Some(k) => format!("thread {thread} waits after {}", program.kernels[k].name),
            None => format!("thread {thread} has finished"),
        };
        self.tell(format!(
            "threads do not meet at the same barriers: {}, {}",
            at(one),
            at(other)
        ));
    }
}

/// A kernel that begins, and the block that it is run for.
struct Own {
    kernel: usize,
    weights: usize,
    states: usize,
    /// It has run for this block before: for another tile.
    again: bool,
}

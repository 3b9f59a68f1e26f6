//! A program in place of compiled code; see `session.rs` for what it computes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use graver_runtime::Error;
use graver_runtime::abi::{
    ABI_VERSION, BlobInfo, CacheType, KernelTable, Manifest, ProgramInfo, Span, StateInfo,
    StepContext, WeightInfo,
};
use graver_runtime::mapped::{Blob, WeightSource};
use graver_runtime::session::{Program, Session, SessionOptions};

/// Size of the vocabulary.
pub(crate) const VOCAB: usize = 11;
/// Positions the model takes.
pub(crate) const CONTEXT: usize = 300;
/// Queries of a tile of the fake prefill program.
const TILE: usize = 5;
/// Where the arena's buffer that grows with the context begins: after a number for each of at most 16 rows of a step.
const AFTER_ROWS: usize = 64;

thread_local! {
    static LAST_PROGRAM: Cell<&'static str> = const { Cell::new("none") };
}

/// Which program the calling thread's last step ran.
pub(crate) fn last_program() -> &'static str {
    LAST_PROGRAM.get()
}

/// The number the fake model has for a token: its weight table.
fn weight(token: usize) -> f32 {
    (token * token % 13) as f32
}

/// Logits of all rows of a sequence, from the definition.
pub(crate) fn expected(tokens: &[u32]) -> Vec<f32> {
    let key = |p: usize| weight(tokens[p] as usize) + p as f32;
    let row = |p: usize| {
        let sum: f32 = (0..=p).map(key).sum();
        (0..VOCAB).map(move |column| sum + column as f32)
    };
    (0..tokens.len()).flat_map(row).collect()
}

/// Lengths at which the keys of [`Fake::changing`] change.
pub(crate) const SWITCHES: [usize; 2] = [20, 45];

/// Logits of all rows of a sequence of a model made by [`Fake::changing`] that is to have `length` positions.
pub(crate) fn expected_changing(tokens: &[u32], length: usize) -> Vec<f32> {
    let mut logits = expected(tokens);
    for (p, row) in logits.chunks_exact_mut(VOCAB).enumerate() {
        row.iter_mut()
            .for_each(|x| *x += (p + 1) as f32 * change(length));
    }
    logits
}

/// What each key has more in a sequence of `length` positions.
fn change(length: usize) -> f32 {
    1000.0 * SWITCHES.iter().filter(|&&above| length > above).count() as f32
}

/// Makes sessions of the fake model.
pub(crate) struct Fake {
    manifest: Manifest,
    options: SessionOptions,
}

impl Default for Fake {
    fn default() -> Self {
        let program = |max_tokens, query_tile| ProgramInfo {
            max_tokens,
            // One number per row of the step.
            arena_bytes: max_tokens * 4,
            // One number per thread and position, for no more than 4 threads.
            arena_bytes_per_position: 16,
            scratch_bytes: 64,
            query_tile,
            kernels: Vec::new(),
            collectives: Vec::new(),
        };
        let manifest = Manifest {
            abi: ABI_VERSION,
            compiler: "0".to_owned(),
            spec: "fake".to_owned(),
            target: "fake".to_owned(),
            features: Vec::new(),
            tuned: graver_runtime::abi::tuned::Record::default(),
            passes: Vec::new(),
            vocab: VOCAB,
            output: None,
            hidden: 1,
            layers: 1,
            context: CONTEXT,
            cache: CacheType::F32,
            weight_types: BTreeMap::new(),
            rounds_activations: false,
            eos: Vec::new(),
            bos: None,
            decode: program(4, 1),
            prefill: program(16, TILE),
            length_switches: Vec::new(),
            states: vec![StateInfo {
                name: "keys".to_owned(),
                bytes_per_position: 4,
                fixed_bytes: 0,
                ring: None,
            }],
            weights: vec![WeightInfo {
                name: "table".to_owned(),
                blob: 0,
                offset: 4,
                bytes: VOCAB * 4,
            }],
            blobs: vec![BlobInfo {
                file: None,
                offset: 0,
                bytes: VOCAB * 4 + 4,
            }],
            rank: None,
        };
        Fake {
            manifest,
            options: SessionOptions {
                kernels: Some(no_kernels()),
                threads: Some(1),
                ..SessionOptions::default()
            },
        }
    }
}

impl Fake {
    /// Adds a count of tokens as recurrent state, which column 0 shows.
    pub(crate) fn recurrent(mut self) -> Self {
        self.manifest.states.push(StateInfo {
            name: "count".to_owned(),
            bytes_per_position: 0,
            fixed_bytes: 4,
            ring: None,
        });
        self
    }

    /// Adds a ring that the program does not use.
    pub(crate) fn ring(mut self, window: usize) -> Self {
        self.manifest.states.push(StateInfo {
            name: "ring".to_owned(),
            bytes_per_position: 4,
            fixed_bytes: 0,
            ring: Some(window),
        });
        self
    }

    /// Keys change with the length of the sequence.
    pub(crate) fn changing(self) -> Self {
        self.manifest(|m| m.length_switches = SWITCHES.to_vec())
    }

    pub(crate) fn threads(self, threads: usize) -> Self {
        self.options(|options| options.threads = Some(threads))
    }

    pub(crate) fn slots(self, slots: usize) -> Self {
        self.options(|options| options.slots = slots)
    }

    pub(crate) fn options(mut self, change: impl FnOnce(&mut SessionOptions)) -> Self {
        change(&mut self.options);
        self
    }

    pub(crate) fn manifest(mut self, change: impl FnOnce(&mut Manifest)) -> Self {
        change(&mut self.manifest);
        self
    }

    pub(crate) fn try_session(self) -> Result<Session, Error> {
        // 4 bytes in front, so that slots do not all begin at their blob's start.
        let bytes: Vec<u8> = [0u8; 4]
            .into_iter()
            .chain((0..VOCAB).flat_map(|token| weight(token).to_ne_bytes()))
            .collect();
        let weights = WeightSource {
            blobs: vec![Blob::owned(&bytes)?],
        };
        let recurrent = self
            .manifest
            .states
            .iter()
            .any(|state| state.fixed_bytes > 0);
        let changing = !self.manifest.length_switches.is_empty();
        let (decode, prefill) = match (recurrent, changing) {
            (false, false) => (decode as _, prefill as _),
            (true, false) => (decode_counting as _, prefill_counting as _),
            (false, true) => (decode_changing as _, prefill_changing as _),
            (true, true) => (decode_both as _, prefill_both as _),
        };
        // SAFETY: these functions were written for this manifest, and need no code kept in place.
        let program =
            unsafe { Program::new(decode, prefill, Arc::new(self.manifest), Arc::new(())) };
        Session::new(program, weights, self.options)
    }

    pub(crate) fn session(self) -> Session {
        self.try_session().unwrap()
    }
}

/// A table whose kernels must not be called.
fn no_kernels() -> &'static KernelTable {
    // SAFETY: the program never looks into the table; its address only has to be there. (A zeroed table would not do, as
    // function pointers are never null.)
    static PLACE: [u64; 64] = [0; 64];
    const { assert!(size_of::<KernelTable>() <= size_of::<[u64; 64]>()) };
    // SAFETY: never dereferenced, see above.
    unsafe { &*PLACE.as_ptr().cast::<KernelTable>() }
}

/// What the fake model does beside summing keys.
#[derive(Clone, Copy)]
struct Kind {
    recurrent: bool,
    changing: bool,
}

/// Entry points of a kind of the fake model.
macro_rules! entries {
    ($decode:ident, $prefill:ident, $recurrent:literal, $changing:literal) => {
        unsafe extern "C" fn $decode(ctx: *const StepContext, thread: usize) {
            LAST_PROGRAM.set("decode");
            let (recurrent, changing) = ($recurrent, $changing);
            let kind = Kind {
                recurrent,
                changing,
            };
            // SAFETY: a session passes a valid context.
            unsafe { run(&*ctx, thread, 1, kind) };
        }

        unsafe extern "C" fn $prefill(ctx: *const StepContext, thread: usize) {
            LAST_PROGRAM.set("prefill");
            let (recurrent, changing) = ($recurrent, $changing);
            let kind = Kind {
                recurrent,
                changing,
            };
            // SAFETY: as above.
            unsafe { run(&*ctx, thread, TILE, kind) };
        }
    };
}

entries!(decode, prefill, false, false);
entries!(decode_counting, prefill_counting, true, false);
entries!(decode_changing, prefill_changing, false, true);
entries!(decode_both, prefill_both, true, true);

/// # Safety
/// `ctx` is what a session passes to an entry point, for the manifest above.
unsafe fn run(ctx: &StepContext, thread: usize, tile: usize, kind: Kind) {
    // SAFETY: the arrays have the lengths the context states.
    unsafe {
        let spans = std::slice::from_raw_parts(ctx.spans, ctx.n_spans);
        let tiles = std::slice::from_raw_parts(ctx.tiles, ctx.n_tiles);
        check_lists(ctx, spans, tiles, tile);
        for row in claim(ctx, 0, ctx.n_tokens) {
            write_key(ctx, row, kind.changing);
        }
        if kind.recurrent && thread == 0 {
            spans
                .iter()
                .for_each(|span| *count(ctx, span.slot) += span.n as f32);
        }
        (ctx.barrier)(ctx, thread);
        for index in claim(ctx, 0, tiles.len()) {
            sum_keys(ctx, thread, &tiles[index]);
        }
        (ctx.barrier)(ctx, thread);
        for index in claim(ctx, 3, ctx.n_logit_rows) {
            write_logits(ctx, index, kind.recurrent);
        }
        (ctx.barrier)(ctx, thread);
    }
}

/// Chunks of `0..n` that this thread gets, from a counter.
unsafe fn claim(ctx: &StepContext, counter: usize, n: usize) -> impl Iterator<Item = usize> {
    // SAFETY: all threads use the counters atomically.
    let counter = unsafe { AtomicU64::from_ptr(ctx.counters.add(counter)) };
    std::iter::from_fn(move || Some(counter.fetch_add(1, Ordering::Relaxed) as usize))
        .take_while(move |i| *i < n)
}

/// The lists agree with each other, and tiles cover the spans in order.
fn check_lists(ctx: &StepContext, spans: &[Span], tiles: &[Span], tile: usize) {
    assert_eq!(
        spans.iter().map(|span| span.n as usize).sum::<usize>(),
        ctx.n_tokens
    );
    let mut row = 0;
    for piece in tiles {
        assert_eq!(piece.start_row, row);
        assert!((1..=tile as u32).contains(&piece.n));
        row += piece.n;
    }
    assert_eq!(row as usize, ctx.n_tokens);
    assert!((ctx.arena as usize).is_multiple_of(64) && (ctx.scratch as usize).is_multiple_of(64));
}

/// Keys of a slot, `[context]`.
unsafe fn keys(ctx: &StepContext, slot: u32) -> *mut f32 {
    // SAFETY: state 0 is the keys.
    unsafe {
        (*ctx.slot_base.add(slot as usize))
            .add(*ctx.state_offset)
            .cast()
    }
}

/// The recurrent count of a slot.
unsafe fn count<'a>(ctx: &StepContext, slot: u32) -> &'a mut f32 {
    // SAFETY: state 1 is the count; only thread 0 writes it, and others read it past a barrier.
    unsafe {
        &mut *(*ctx.slot_base.add(slot as usize))
            .add(*ctx.state_offset.add(1))
            .cast()
    }
}

unsafe fn write_key(ctx: &StepContext, row: usize, changing: bool) {
    // SAFETY: the row is below `n_tokens`, the token inside the table, the position inside the context.
    unsafe {
        let (token, position, slot) = (
            *ctx.tokens.add(row),
            *ctx.positions.add(row),
            *ctx.slots.add(row),
        );
        let value: f32 = (*ctx.weights)
            .add(token as usize * 4)
            .cast::<f32>()
            .read_unaligned();
        let more = match changing {
            true => change(*ctx.lengths.add(row) as usize),
            false => 0.0,
        };
        keys(ctx, slot)
            .add(position as usize)
            .write(value + position as f32 + more);
    }
}

/// Sums the keys that each query of a tile sees, by way of this thread's part of the buffer that follows the rows of a step.
unsafe fn sum_keys(ctx: &StepContext, thread: usize, tile: &Span) {
    // SAFETY: that buffer has a number per position for each of up to four threads.
    unsafe {
        let seen = ctx
            .arena
            .add(AFTER_ROWS)
            .cast::<f32>()
            .add(thread * ctx.context);
        for query in 0..tile.n {
            let last = (tile.position + query) as usize;
            std::ptr::copy_nonoverlapping(keys(ctx, tile.slot), seen, last + 1);
            let sum: f32 = std::slice::from_raw_parts(seen, last + 1).iter().sum();
            ctx.arena
                .cast::<f32>()
                .add((tile.start_row + query) as usize)
                .write(sum);
        }
    }
}

unsafe fn write_logits(ctx: &StepContext, index: usize, recurrent: bool) {
    // SAFETY: there are `n_logit_rows` rows of logits and as many entries of `logit_rows`.
    unsafe {
        let row = *ctx.logit_rows.add(index) as usize;
        let sum = *ctx.arena.cast::<f32>().add(row);
        let out = std::slice::from_raw_parts_mut(ctx.logits.add(index * VOCAB), VOCAB);
        out.iter_mut()
            .enumerate()
            .for_each(|(column, out)| *out = sum + column as f32);
        if recurrent {
            // The count at this row: that at the end of the step, less the tokens that follow in the segment.
            let slot = *ctx.slots.add(row);
            let spans = std::slice::from_raw_parts(ctx.spans, ctx.n_spans);
            let span = spans.iter().find(|span| span.slot == slot).unwrap();
            out[0] += *count(ctx, slot) - (span.start_row + span.n - 1 - row as u32) as f32;
        }
    }
}

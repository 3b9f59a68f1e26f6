//! The barrier and the pool: nobody passes before all have come, counters are fresh after each barrier, and a step that
//! has ended has ended on every thread.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use graver_runtime::Error;
use graver_runtime::abi::{CLAIM_COUNTERS, StepContext};
use graver_runtime::cpu::{Affinity, allowed_cpus};
use graver_runtime::threads::{MAX_THREADS, Pool};

const ROUNDS: usize = 2000;
const CHUNKS: u64 = 24;

/// What the entry points below find at `ctx.arena`.
struct Shared {
    arrivals: AtomicUsize,
    claims: [AtomicU64; CHUNKS as usize],
    errors: AtomicUsize,
}

/// In each round every thread arrives and then checks, past the barrier, that all have; then chunks are claimed from a
/// counter that must begin at zero.
unsafe extern "C" fn rounds(ctx: *const StepContext, thread: usize) {
    // SAFETY: the test passes a context with these pointers.
    let (ctx, shared) = unsafe { (&*ctx, &*(*ctx).arena.cast::<Shared>()) };
    for round in 0..ROUNDS {
        shared.arrivals.fetch_add(1, Ordering::Relaxed);
        // SAFETY: every thread calls it equally often.
        unsafe { (ctx.barrier)(ctx, thread) };
        let seen = shared.arrivals.load(Ordering::Relaxed);
        if seen < (round + 1) * ctx.n_threads {
            shared.errors.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the counters are shared by this step's threads, which all use them atomically.
        let counter = unsafe { AtomicU64::from_ptr(ctx.counters.add(round % CLAIM_COUNTERS)) };
        loop {
            let chunk = counter.fetch_add(1, Ordering::Relaxed);
            if chunk >= CHUNKS {
                break;
            }
            shared.claims[chunk as usize].fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: as above.
        unsafe { (ctx.barrier)(ctx, thread) };
    }
}

fn context<T>(shared: &T, counters: &mut [u64; CLAIM_COUNTERS]) -> StepContext {
    unsafe extern "C" fn unset(_: *const StepContext, _: usize) {
        std::process::abort();
    }
    unsafe extern "C" fn no_stamp(_: *const StepContext, _: usize, _: usize) {}
    type Of = *const StepContext;
    unsafe extern "C" fn no_kernel(_: Of, _: usize, _: usize, _: usize, _: usize, _: usize) {}
    unsafe extern "C" fn anywhere(_: Of, _: usize, at: usize, _: usize) -> usize {
        at
    }
    unsafe extern "C" fn no_constants(_: Of, _: usize, _: usize, _: usize) {}
    unsafe extern "C" fn same(_: Of, _: usize, i: usize, _: usize, _: usize) -> usize {
        i
    }
    unsafe extern "C" fn no_ranks(_: Of, _: usize, _: *const f32, _: usize, _: *mut f32, _: usize) {
    }
    #[rustfmt::skip]
    unsafe extern "C" fn nothing_done(
        _: Of, _: usize, _: usize, _: usize, _: usize, _: *const f32, _: usize, _: *mut f32, _: usize,
    ) {
    }
    StepContext {
        n_tokens: 0,
        n_logit_rows: 0,
        n_spans: 0,
        n_tiles: 0,
        n_threads: 0,
        context: 0,
        tokens: std::ptr::null(),
        positions: std::ptr::null(),
        slots: std::ptr::null(),
        logit_rows: std::ptr::null(),
        spans: std::ptr::null(),
        tiles: std::ptr::null(),
        weights: std::ptr::null(),
        slot_base: std::ptr::null(),
        state_offset: std::ptr::null(),
        arena: std::ptr::from_ref(shared).cast_mut().cast(),
        scratch: std::ptr::null_mut(),
        scratch_stride: 0,
        logits: std::ptr::null_mut(),
        kernels: std::ptr::null(),
        counters: counters.as_mut_ptr(),
        barrier: unset,
        sync: std::ptr::null(),
        lengths: std::ptr::null(),
        stamp: no_stamp,
        timed_barrier: no_stamp,
        recorder: std::ptr::null(),
        enter_kernel: no_kernel,
        check: anywhere,
        admit: no_constants,
        chunk: same,
        checker: std::ptr::null(),
        collective: no_ranks,
        ranks: std::ptr::null(),
        finished: nothing_done,
        columns: std::ptr::null(),
    }
}

fn run_rounds(threads: usize, pin: bool, steps: usize) {
    let mut pool = Pool::new(threads, pin).expect("threads start");
    let shared = Shared {
        arrivals: AtomicUsize::new(0),
        claims: [const { AtomicU64::new(0) }; CHUNKS as usize],
        errors: AtomicUsize::new(0),
    };
    for step in 1..=steps {
        shared.arrivals.store(0, Ordering::Relaxed);
        // Left over from some earlier use: a step must not see them.
        let mut counters = [99; CLAIM_COUNTERS];
        let mut ctx = context(&shared, &mut counters);
        // SAFETY: `rounds` uses nothing but what the context points to.
        unsafe { pool.run(rounds, &mut ctx) };
        assert_eq!(
            shared.errors.load(Ordering::Relaxed),
            0,
            "somebody passed a barrier early"
        );
        assert_eq!(shared.arrivals.load(Ordering::Relaxed), ROUNDS * threads);
        for claims in &shared.claims {
            assert_eq!(
                claims.load(Ordering::Relaxed),
                (step * ROUNDS) as u64,
                "every chunk is claimed once a round"
            );
        }
    }
}

#[test]
fn barriers_with_one_to_four_threads() {
    for threads in 1..=4 {
        run_rounds(threads, false, 3);
    }
}

#[test]
fn barriers_with_more_threads_than_processors() {
    run_rounds(
        3 * std::thread::available_parallelism().map_or(4, usize::from),
        false,
        1,
    );
}

#[test]
fn pinned_threads_and_the_caller_is_free_again_afterwards() {
    let before = std::thread::available_parallelism().expect("known on Linux");
    run_rounds(2, true, 1);
    assert_eq!(
        std::thread::available_parallelism().expect("known on Linux"),
        before
    );
}

#[test]
fn workers_that_sleep_between_steps_wake_up() {
    let mut pool = Pool::new(3, false).expect("threads start");
    let shared = Shared {
        arrivals: AtomicUsize::new(0),
        claims: [const { AtomicU64::new(0) }; CHUNKS as usize],
        errors: AtomicUsize::new(0),
    };
    for step in 1..=20 {
        // Longer than any spinning, so that the workers are asleep.
        std::thread::sleep(std::time::Duration::from_millis(2));
        let mut counters = [0; CLAIM_COUNTERS];
        let mut ctx = context(&shared, &mut counters);
        // SAFETY: `once` uses nothing but what the context points to.
        unsafe { pool.run(once, &mut ctx) };
        assert_eq!(shared.arrivals.load(Ordering::Relaxed), 3 * step);
    }
}

unsafe extern "C" fn once(ctx: *const StepContext, _thread: usize) {
    // SAFETY: the test passes a context with this pointer.
    let shared = unsafe { &*(*ctx).arena.cast::<Shared>() };
    shared.arrivals.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_number_of_threads_out_of_range_is_an_error() {
    for threads in [0, MAX_THREADS + 1] {
        let error = Pool::new(threads, false).err().expect("refused");
        assert!(matches!(error, Error::Threads { found, .. } if found == threads));
        assert_eq!(
            error.to_string(),
            format!("--threads {threads}: expected 1 to 1024")
        );
    }
}

/// A panic in an entry point ends the process at once, rather than leaving it waiting at a barrier. Tried in a child
/// process, which is this test again with a variable set.
#[test]
fn a_panic_in_a_worker_ends_the_process() {
    const CHILD: &str = "GRAVER_TEST_PANICKING_WORKER";
    if std::env::var_os(CHILD).is_some() {
        let mut pool = Pool::new(2, false).expect("threads start");
        let shared = Shared {
            arrivals: AtomicUsize::new(0),
            claims: [const { AtomicU64::new(0) }; CHUNKS as usize],
            errors: AtomicUsize::new(0),
        };
        let mut counters = [0; CLAIM_COUNTERS];
        // SAFETY: `panic_on_worker` uses nothing.
        unsafe { pool.run(panic_on_worker, &mut context(&shared, &mut counters)) };
        return;
    }
    let child = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args([
            "a_panic_in_a_worker_ends_the_process",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .expect("the child starts");
    assert!(!child.status.success());
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(said.contains("the worker's own message"), "{said}");
}

unsafe extern "C" fn panic_on_worker(ctx: *const StepContext, thread: usize) {
    assert!(thread == 0, "the worker's own message");
    // SAFETY: the other thread would come too, if it could.
    unsafe { ((*ctx).barrier)(ctx, thread) };
}

/// What [`place`] finds at `ctx.arena`.
struct Places {
    /// The processor for each thread.
    processors: [AtomicUsize; 2],
    /// Threads that the last step ran on.
    threads: AtomicUsize,
}

/// Goes to the thread's processor and meets the others there some times.
unsafe extern "C" fn place(ctx: *const StepContext, thread: usize) {
    // SAFETY: the test passes a context with these pointers.
    let (ctx, places) = unsafe { (&*ctx, &*(*ctx).arena.cast::<Places>()) };
    let processor = places.processors[thread].load(Ordering::Relaxed);
    Affinity::one(processor).unwrap().apply().unwrap();
    places.threads.store(ctx.n_threads, Ordering::Relaxed);
    for _ in 0..50 {
        // SAFETY: every thread calls it equally often.
        unsafe { (ctx.barrier)(ctx, thread) };
        if thread == 0 {
            // SAFETY: no other thread uses the first counter.
            let before = unsafe { ctx.counters.replace(1) };
            assert_eq!(before, 0, "counters are fresh");
        }
    }
}

/// A processor is taken away while the pool is at work, and given back.
#[test]
fn a_step_is_shared_while_there_is_more_than_one_processor() {
    let [first, second, ..] = *allowed_cpus() else {
        return;
    };
    let before = Affinity::of_this_thread().unwrap();
    let mut pool = Pool::new(2, false)
        .expect("threads start")
        .alone_where_crowded();
    let places = Places {
        processors: [AtomicUsize::new(first), AtomicUsize::new(second)],
        threads: AtomicUsize::new(0),
    };
    let mut step = || {
        let mut counters = [99; CLAIM_COUNTERS];
        let mut ctx = context(&places, &mut counters);
        // SAFETY: `place` uses nothing but what the context points to.
        unsafe { pool.run(place, &mut ctx) };
        places.threads.load(Ordering::Relaxed)
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut until = |threads| {
        while step() != threads {
            assert!(Instant::now() < deadline, "never on {threads} threads");
        }
    };
    until(2);
    places.processors[1].store(first, Ordering::Relaxed);
    until(1);
    places.processors[1].store(second, Ordering::Relaxed);
    until(2);
    let stays = (0..50).all(|_| step() == 2);
    assert!(stays);
    before.apply().unwrap();
}

//! What a checked step's context points to: the functions that generated code and the pool call.

use super::live::{Live, Region};
use super::{Checker, Own, micro};
use crate::abi::{CHECK_WRITE, CLAIM_COUNTERS, StepContext};

/// Puts the functions of checked code into a context.
pub(super) fn fill_in(context: &mut StepContext) {
    context.check = check;
    context.enter_kernel = enter_kernel;
    context.admit = admit;
    context.chunk = chunk;
}

/// # Safety
/// `context` is what [`Checker::begin_step`] made, in a step that goes on; `thread` is the calling thread's index.
unsafe fn of<'a>(context: *const StepContext, thread: usize) -> (&'a Checker, &'a mut Live) {
    // SAFETY: `begin_step` put its checker there, which outlives the step.
    let checker = unsafe { &*(*context).checker.cast::<Checker>() };
    // SAFETY: each thread uses its own part alone, and holds no other reference to it during this call.
    let live = unsafe { &mut *checker.threads[thread].get() };
    (checker, live)
}

/// What the pool enters in place of a program: waits for the thread's turn and enters the program with a barrier of its own.
///
/// # Safety
/// As of [`of`], for a thread that has not entered yet.
pub(super) unsafe extern "C" fn checked_entry(context: *const StepContext, thread: usize) {
    // SAFETY: the pool's contract: the context is what `begin_step` made.
    let checker = unsafe { of(context, thread) }.0;
    checker.turns.wait(thread);
    // SAFETY: the context is valid, and plain data.
    let own = StepContext {
        barrier: turn_barrier,
        timed_barrier: turn_barrier_timed,
        ..unsafe { *context }
    };
    micro::set_current(Some((checker, checker.threads[thread].get())));
    if let Some(entry) = checker.step().entry {
        // SAFETY: the contract of `Program::new`; every pointer of the context is as the session filled it in.
        unsafe { entry(&own, thread) };
    }
    micro::set_current(None);
    checker.apart(checker.turns.finish(thread));
}

/// [`StepContext::barrier`] of a checked step.
///
/// # Safety
/// As of [`of`].
unsafe extern "C" fn turn_barrier(context: *const StepContext, thread: usize) {
    // SAFETY: the context is of a checked step, and `thread` the caller's index in it, as the caller promises.
    let (checker, live) = unsafe { of(context, thread) };
    let at = live.kernel;
    let zero = || {
        // SAFETY: the context's counters are writable, and every other thread waits for its turn.
        unsafe { (*context).counters.write_bytes(0, CLAIM_COUNTERS) }
    };
    checker.apart(checker.turns.meet(thread, at, zero));
}

/// [`StepContext::timed_barrier`] of a checked step, which takes no times.
///
/// # Safety
/// As of [`of`].
unsafe extern "C" fn turn_barrier_timed(context: *const StepContext, thread: usize, _: usize) {
    // SAFETY: the context is of a checked step, and `thread` the caller's index in it, as the caller promises.
    unsafe { turn_barrier(context, thread) };
}

/// [`StepContext::enter_kernel`].
///
/// # Safety
/// As of [`of`].
unsafe extern "C" fn enter_kernel(
    context: *const StepContext,
    thread: usize,
    weights: usize,
    states: usize,
    kernel: usize,
    tile: usize,
) {
    // SAFETY: the context is of a checked step, and `thread` the caller's index in it, as the caller promises.
    let (checker, live) = unsafe { of(context, thread) };
    let own = Own {
        kernel,
        weights,
        states,
        again: tile > 0,
    };
    // SAFETY: the context is valid for the whole step.
    checker.enter(live, unsafe { &*context }, thread, own);
}

/// [`StepContext::admit`].
///
/// # Safety
/// As of [`of`].
unsafe extern "C" fn admit(context: *const StepContext, thread: usize, at: usize, bytes: usize) {
    // SAFETY: the context is of a checked step, and `thread` the caller's index in it, as the caller promises.
    let live = unsafe { of(context, thread) }.1;
    live.regions.push(Region::dense(at, bytes, false));
}

/// [`StepContext::check`].
///
/// # Safety
/// As of [`of`].
unsafe extern "C" fn check(
    context: *const StepContext,
    thread: usize,
    at: usize,
    bytes: usize,
) -> usize {
    // SAFETY: the context is of a checked step, and `thread` the caller's index in it, as the caller promises.
    let (checker, live) = unsafe { of(context, thread) };
    let (bytes, write) = (bytes & !CHECK_WRITE, bytes & CHECK_WRITE != 0);
    if live.allows(at, bytes, write) {
        return at;
    }
    checker.report(live, None, at, bytes, write);
    live.sink()
}

/// [`StepContext::chunk`]: a chunk of `from..to` in place of chunk `index`, another one for each index.
///
/// # Safety
/// As of [`of`].
unsafe extern "C" fn chunk(
    context: *const StepContext,
    thread: usize,
    index: usize,
    from: usize,
    to: usize,
) -> usize {
    // SAFETY: the context is of a checked step, and `thread` the caller's index in it, as the caller promises.
    let (checker, live) = unsafe { of(context, thread) };
    let n = to.wrapping_sub(from);
    if checker.options.order.is_none() || n < 2 || index < from || index >= to {
        return index;
    }
    // A step that has no divisor in common with `n` visits all of `0..n`.
    let seed = checker.step().seed ^ live.kernel.unwrap_or(0) as u64;
    let (a, b) = ((seed >> 32) as usize, seed as u32 as usize);
    let mut step = 1 + a % (n - 1);
    while gcd(step, n) > 1 {
        step -= 1;
    }
    let place = (index - from) as u128 * step as u128 + b as u128;
    from + (place % n as u128) as usize
}

fn gcd(mut a: usize, mut b: usize) -> usize {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// [`StepContext::check`] of a session that checks nothing.
pub(crate) unsafe extern "C" fn allow(
    _: *const StepContext,
    _: usize,
    at: usize,
    _bytes: usize,
) -> usize {
    at
}

/// [`StepContext::enter_kernel`] of a session that checks nothing.
pub(crate) unsafe extern "C" fn enter_nothing(
    _: *const StepContext,
    _: usize,
    _weights: usize,
    _states: usize,
    _kernel: usize,
    _tile: usize,
) {
}

/// [`StepContext::admit`] of a session that checks nothing.
pub(crate) unsafe extern "C" fn admit_nothing(
    _: *const StepContext,
    _: usize,
    _at: usize,
    _bytes: usize,
) {
}

/// [`StepContext::chunk`] of a session that checks nothing.
pub(crate) unsafe extern "C" fn same_chunk(
    _: *const StepContext,
    _: usize,
    index: usize,
    _from: usize,
    _to: usize,
) -> usize {
    index
}

//! Calls that fail, for want of memory or because they make no sense, change nothing: what follows is as if they had not been made.

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod fake;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fake::{CONTEXT, Fake, VOCAB, expected_changing};
use graver_runtime::Error;
use graver_runtime::session::{Segment, Session, Wanted};

thread_local! {
    /// How many times more the thread gets memory.
    static ALLOWED: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The system's allocator, which can be told to fail.
struct Failing;

// SAFETY: hands everything on to the system's allocator, or gives nothing, as an allocator may.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(left) = ALLOWED.get().checked_sub(1) else {
            return std::ptr::null_mut();
        };
        ALLOWED.set(left);
        // SAFETY: the system's allocator asks of a layout what this function does.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the memory is from the system's allocator, with this layout, as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// What a call reports that gets no memory.
fn without_memory<T>(call: impl FnOnce() -> Result<T, Error>) -> Option<Error> {
    with_memory_for(0, call)
}

/// What a call reports that gets memory so many times.
fn with_memory_for<T>(times: usize, call: impl FnOnce() -> Result<T, Error>) -> Option<Error> {
    ALLOWED.set(times);
    let error = call().err();
    ALLOWED.set(usize::MAX);
    error
}

fn no_memory_for(what: &str, error: Option<Error>) {
    let error = error.expect("there is no memory").to_string();
    let for_what = format!(" bytes for {what}: ");
    assert!(error.starts_with("cannot reserve "), "{error}");
    assert!(error.contains(&for_what), "{error}");
}

fn tokens(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32)
        .map(|i| (i * 7 + seed * 3 + i * i) % VOCAB as u32)
        .collect()
}

fn session() -> Session {
    Fake::default().changing().slots(3).threads(2).session()
}

/// Feeds the next token of a text, and compares its logits with those of the text at once.
fn goes_on(session: &mut Session, slot: usize, text: &[u32]) {
    let fed = session.position(slot).unwrap();
    let row = session.feed(slot, &text[fed..=fed], Wanted::Last).unwrap();
    let expected = expected_changing(&text[..=fed], fed + 1);
    assert_eq!(row.values(), &expected[fed * VOCAB..], "after {fed}");
}

#[test]
fn without_memory_calls_fail_and_change_nothing() {
    let (text, mut session) = (tokens(80, 1), session());
    session.feed(0, &text[..18], Wanted::None).unwrap();
    session.feed(1, &text[..2], Wanted::None).unwrap();

    let long = without_memory(|| session.feed(0, &text[18..58], Wanted::None));
    no_memory_for("the tokens of a sequence", long);
    assert_eq!(session.position(0).unwrap(), 18);
    goes_on(&mut session, 0, &text);

    let [a, b] = [&text[19..30], &text[2..6]];
    let segments = [(1, b), (0, a)].map(|(slot, tokens)| Segment { slot, tokens });
    let step = without_memory(|| session.step(&segments, Wanted::All));
    no_memory_for("the tokens of a sequence", step);
    goes_on(&mut session, 1, &text);
    goes_on(&mut session, 0, &text);

    let snapshot = without_memory(|| session.snapshot(0));
    no_memory_for("the tokens of a sequence", snapshot);
    for times in [1, 2] {
        let snapshot = with_memory_for(times, || session.snapshot(0));
        no_memory_for("a snapshot", snapshot);
    }
    let copy = without_memory(|| session.copy(0, 1));
    no_memory_for("the tokens of a sequence", copy);
    let snapshot = session.snapshot(0).unwrap();
    let restored = without_memory(|| session.restore(1, &snapshot));
    no_memory_for("the tokens of a sequence", restored);
    while session.position(0).unwrap() < 50 {
        goes_on(&mut session, 0, &text);
        goes_on(&mut session, 1, &text);
    }
}

/// The rows of a call stay in place, and stay those of that call, while the next one fails.
#[test]
fn rows_outlive_a_call_that_fails() {
    let (text, mut session) = (tokens(80, 2), session());
    let rows = session.feed(0, &text[..20], Wanted::All).unwrap();
    let (at, n) = (rows.values().as_ptr(), rows.values().len());
    let expected = expected_changing(&text[..20], 20);
    let same = || {
        // SAFETY: the session is there, and no call that succeeded came since.
        let rows = unsafe { std::slice::from_raw_parts(at, n) };
        assert_eq!(rows, expected);
    };
    for (times, what) in [(0, "the tokens of a sequence"), (1, "logits")] {
        let more = with_memory_for(times, || session.feed(0, &text[20..60], Wanted::All));
        no_memory_for(what, more);
        same();
    }
    assert!(session.feed(0, &[VOCAB as u32], Wanted::All).is_err());
    same();
    goes_on(&mut session, 0, &text);
}

/// Mistakes of every kind between steps that make sense.
#[test]
fn mistakes_change_nothing() {
    let (text, mut session) = (tokens(60, 3), session());
    let (bad, whole) = ([1, VOCAB as u32], tokens(CONTEXT + 1, 4));
    for fed in 0..text.len() {
        let slot = fed % 2;
        assert!(session.feed(slot, &bad, Wanted::All).is_err());
        assert!(session.feed(slot, &[], Wanted::Last).is_err());
        assert!(session.feed(slot, &whole, Wanted::All).is_err());
        assert!(session.feed(3, &[1], Wanted::Last).is_err());
        for parts in [
            [(0, &text[..2]), (1, &bad)],
            [(0, &text[..2]), (0, &text[..1])],
            [(1, &text[..9]), (0, &text[..9])],
            [(0, &text[..1]), (1, &[])],
            [(0, &text[..1]), (9, &text[..1])],
        ] {
            let parts = parts.map(|(slot, tokens): (usize, &[u32])| Segment { slot, tokens });
            assert!(session.step(&parts, Wanted::Last).is_err());
        }
        let beyond = session.position(slot).unwrap() + 1;
        assert!(session.truncate(slot, beyond).is_err());
        assert!(session.copy(slot, 3).is_err() && session.copy(3, slot).is_err());
        assert!(session.expect(3, 1).is_err() && session.reset(3).is_err());
        goes_on(&mut session, slot, &text);
    }
}

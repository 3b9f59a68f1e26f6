//! Decoding allocates nothing, on any thread.

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod fake;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use fake::Fake;
use graver_runtime::session::{Segment, Wanted};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn decoding_allocates_nothing() {
    let mut session = Fake::default().threads(2).slots(2).session();
    session
        .feed(0, &[1, 2, 3, 4, 5, 6, 7], Wanted::Last)
        .unwrap();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut sum = 0.0;
    for token in 0..100 {
        sum += session.feed(0, &[token % 11], Wanted::Last).unwrap().row(0)[0];
        let both = [
            Segment {
                slot: 0,
                tokens: &[1],
            },
            Segment {
                slot: 1,
                tokens: &[2, 3],
            },
        ];
        sum += session.step(&both, Wanted::All).unwrap()[0];
    }
    assert!(sum > 0.0);
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before);
}

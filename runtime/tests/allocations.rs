//! Decoding allocates nothing, on any thread.

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod fake;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use fake::Fake;
use graver_runtime::session::{Segment, Session, Wanted};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the system's allocator asks of a layout what this function does.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the memory is from the system's allocator, with this layout, as the caller promises.
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
    // The test harness's own threads allocate too, now and then; what decoding allocated it would allocate in every round.
    let rounds = (0..8).map(|_| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        assert!(decode_some(&mut session) > 0.0);
        ALLOCATIONS.load(Ordering::Relaxed) - before
    });
    assert_eq!(rounds.min(), Some(0));
}

/// Eleven steps of one sequence and as many of two; a sum of logits, so that nothing is left out.
fn decode_some(session: &mut Session) -> f32 {
    let mut sum = 0.0;
    for token in 0..11 {
        sum += session.feed(0, &[token], Wanted::Last).unwrap().row(0)[0];
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
    sum
}

//! Logits that are taken out of a session, over the fake program of `fake`.

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod fake;

use fake::{CONTEXT, Fake, VOCAB, expected};
use graver_runtime::session::Wanted;

fn tokens(n: usize, seed: u32) -> Vec<u32> {
    let token = |i: u32| (i * 7 + seed * 3 + i * i) % VOCAB as u32;
    (0..n as u32).map(token).collect()
}

/// Of one step, and of the many that a long prompt takes.
#[test]
fn taken_logits_outlive_the_steps_after_them() {
    let mut session = Fake::default().session();
    for length in [1, 5, CONTEXT] {
        let prompt = tokens(length, 1);
        session.reset(0).unwrap();
        let place = session
            .feed(0, &prompt, Wanted::All)
            .unwrap()
            .values()
            .as_ptr();
        let taken = session.take_logits().unwrap();
        assert_eq!(taken.values().as_ptr(), place, "copied");
        assert!(session.take_logits().unwrap().values().is_empty());
        session.reset(0).unwrap();
        let other = tokens(length, 2);
        let got = session.feed(0, &other, Wanted::All).unwrap();
        assert_eq!(got.values(), expected(&other));
        assert_eq!((taken.n_rows(), taken.width()), (length, VOCAB));
        assert_eq!(taken.values(), expected(&prompt));
    }
}

//! Sequences whose keys change with the length: whatever calls led to a text, its logits are those of the text fed at once.
//!
//! The fake model's keys change twice; see `session.rs` for the rest of it.

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod fake;

use fake::{Fake, SWITCHES, VOCAB, expected_changing};
use graver_runtime::Error;
use graver_runtime::session::{Segment, Session, Wanted};
use graver_runtime::state::Snapshot;

const SLOTS: usize = 3;

fn tokens(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32)
        .map(|i| (i * 7 + seed * 3 + i * i) % VOCAB as u32)
        .collect()
}

fn session() -> Session {
    Fake::default().changing().slots(SLOTS).threads(2).session()
}

/// Logits of the last `n` tokens of a text that is fed at once.
fn last(text: &[u32], n: usize) -> Vec<f32> {
    expected_changing(text, text.len())[(text.len() - n) * VOCAB..].to_vec()
}

#[test]
fn a_text_that_grows_token_by_token() {
    let (text, mut session) = (tokens(60, 1), session());
    for n in 1..=text.len() {
        let row = session.feed(0, &text[n - 1..n], Wanted::Last).unwrap();
        assert_eq!(row.values(), last(&text[..n], 1), "grown to {n}");
    }
}

#[test]
fn every_cut_and_every_way_to_go_on() {
    let (text, mut session) = (tokens(60, 2), session());
    for long in [10, 20, 21, 45, 46, 60] {
        for cut in (1..long).step_by(3).chain([19, 20, 21, 45]) {
            for more in [1, 2, 12, 30] {
                let cut = cut.min(long);
                session.reset(0).unwrap();
                session.feed(0, &text[..long], Wanted::None).unwrap();
                session.truncate(0, cut).unwrap();
                let mut other = text[..cut].to_vec();
                other.extend(tokens(more, 5));
                let rows = session.feed(0, &other[cut..], Wanted::All).unwrap();
                let expected = last(&other, more);
                assert_eq!(rows.values(), expected, "{long} cut to {cut} and {more}");
            }
        }
    }
}

#[test]
fn copies_and_snapshots_cross_on_their_own() {
    let (text, mut session) = (tokens(50, 3), session());
    session.feed(0, &text[..18], Wanted::None).unwrap();
    session.copy(0, 1).unwrap();
    let below = session.snapshot(0).unwrap();
    let rows = session.feed(0, &text[18..30], Wanted::All).unwrap();
    assert_eq!(rows.values(), last(&text[..30], 12));
    let above = session.snapshot(0).unwrap();
    // The copy has stayed below, and so has what is restored.
    let row = session.feed(1, &text[18..19], Wanted::Last).unwrap();
    assert_eq!(row.values(), last(&text[..19], 1));
    session.restore(2, &below).unwrap();
    let row = session.feed(2, &text[18..21], Wanted::Last).unwrap();
    assert_eq!(row.values(), last(&text[..21], 1));
    session.restore(1, &above).unwrap();
    let row = session.feed(1, &text[30..46], Wanted::Last).unwrap();
    assert_eq!(row.values(), last(&text[..46], 1));
    drop(session);
    let mut again = self::session();
    again.restore(0, &above).unwrap();
    again.truncate(0, 4).unwrap();
    let row = again.feed(0, &text[4..5], Wanted::Last).unwrap();
    assert_eq!(row.values(), last(&text[..5], 1));
}

#[test]
fn one_step_takes_several_sequences_over() {
    let (a, b, c) = (tokens(23, 4), tokens(50, 5), tokens(8, 6));
    let mut session = session();
    session.feed(0, &a[..19], Wanted::None).unwrap();
    session.feed(1, &b[..44], Wanted::None).unwrap();
    session.feed(2, &c[..7], Wanted::None).unwrap();
    let [x, y, z] = [&a[19..], &b[44..], &c[7..]];
    let segment = |(slot, tokens)| Segment { slot, tokens };
    let step = [(1, y), (2, z), (0, x)].map(segment);
    let rows = session.step(&step, Wanted::All).unwrap();
    let expected = [last(&b, 6), last(&c, 1), last(&a, 4)].concat();
    assert_eq!(rows.values(), expected);
}

#[test]
fn what_is_expected_holds_from_the_start_until_a_reset() {
    let (text, mut session) = (tokens(30, 7), session());
    let long = expected_changing(&text, SWITCHES[0] + 1);
    session.expect(0, SWITCHES[0] + 1).unwrap();
    for n in 1..=text.len() {
        let row = session.feed(0, &text[n - 1..n], Wanted::Last).unwrap();
        assert_eq!(row.values(), &long[(n - 1) * VOCAB..][..VOCAB]);
    }
    session.truncate(0, 10).unwrap();
    let row = session.feed(0, &text[10..11], Wanted::Last).unwrap();
    assert_eq!(row.values(), &long[10 * VOCAB..11 * VOCAB]);
    session.reset(0).unwrap();
    let row = session.feed(0, &text[..5], Wanted::Last).unwrap();
    assert_eq!(row.values(), last(&text[..5], 1));
    // Said late, it is as if it had been said at once.
    session.expect(0, 46).unwrap();
    let row = session.feed(0, &text[5..6], Wanted::Last).unwrap();
    let expected = expected_changing(&text[..6], 46);
    assert_eq!(row.values(), &expected[5 * VOCAB..]);
}

#[test]
fn recurrent_state_is_computed_again_too() {
    let (text, fake) = (tokens(50, 8), Fake::default().changing().recurrent());
    let mut session = fake.session();
    for n in 1..=text.len() {
        let row = session.feed(0, &text[n - 1..n], Wanted::Last).unwrap();
        let mut expected = last(&text[..n], 1);
        expected[0] += n as f32;
        assert_eq!(row.values(), expected, "grown to {n}");
    }
}

#[test]
fn a_failed_call_takes_nobody_over() {
    let (text, mut session) = (tokens(30, 9), session());
    session.feed(0, &text[..20], Wanted::None).unwrap();
    session.feed(1, &text[..4], Wanted::None).unwrap();
    let bad = [1, VOCAB as u32];
    assert!(session.feed(0, &bad, Wanted::Last).is_err());
    let step = [(0, &text[20..22]), (1, &bad[..])].map(|(slot, tokens)| Segment { slot, tokens });
    assert!(session.step(&step, Wanted::Last).is_err());
    let whole = tokens(400, 9);
    assert!(session.feed(0, &whole, Wanted::All).is_err());
    assert_eq!(session.position(0).unwrap(), 20);
    session.truncate(0, 19).unwrap();
    let row = session.feed(0, &text[19..20], Wanted::Last).unwrap();
    assert_eq!(row.values(), last(&text[..20], 1));
    let row = session.feed(0, &text[20..21], Wanted::Last).unwrap();
    assert_eq!(row.values(), last(&text[..21], 1));
}

#[test]
fn snapshots_of_models_that_change_elsewhere_are_refused() {
    let mut plain = Fake::default().session();
    plain.feed(0, &tokens(7, 0), Wanted::None).unwrap();
    let snapshot = plain.snapshot(0).unwrap();
    assert!(matches!(
        session().restore(0, &snapshot),
        Err(Error::Snapshot { .. })
    ));
}

/// A text and the snapshot of a sequence that holds it.
type Kept = Option<(Vec<u32>, Snapshot)>;

/// Whatever calls come in whatever order, every row is that of the whole text.
#[test]
fn random_calls_agree_with_the_text_at_once() {
    let mut seed = 1u64;
    let mut random = |below: usize| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) as usize % below
    };
    let mut session = session();
    let mut texts: [Vec<u32>; SLOTS] = Default::default();
    let mut kept: Kept = None;
    for round in 0..3000 {
        let (slot, other) = (random(SLOTS), random(SLOTS));
        let most = [1, 3, 40][random(3)];
        let n = 1 + random(most);
        let more = tokens(n, round);
        match random(8) {
            0 => {
                let to = random(texts[slot].len() + 1);
                session.truncate(slot, to).unwrap();
                texts[slot].truncate(to);
            }
            1 => {
                session.copy(other, slot).unwrap();
                texts[slot] = texts[other].clone();
            }
            2 => kept = Some((texts[slot].clone(), session.snapshot(slot).unwrap())),
            3 => {
                if let Some((text, snapshot)) = &kept {
                    session.restore(slot, snapshot).unwrap();
                    texts[slot].clone_from(text);
                }
            }
            4 if slot != other && texts[slot].len() + texts[other].len() < 120 => {
                let n = n.min(8);
                let parts = [slot, other].map(|slot| Segment {
                    slot,
                    tokens: &more[..n],
                });
                let rows = session.step(&parts, Wanted::All).unwrap();
                let rows = rows.values().to_vec();
                let expected = [slot, other].map(|slot| {
                    texts[slot].extend(&more[..n]);
                    last(&texts[slot], n)
                });
                assert_eq!(rows, expected.concat(), "round {round}");
            }
            _ => {
                if texts[slot].len() > 70 {
                    session.reset(slot).unwrap();
                    texts[slot].clear();
                }
                texts[slot].extend(&more);
                let rows = session.feed(slot, &more, Wanted::All).unwrap();
                assert_eq!(rows.values(), last(&texts[slot], n), "round {round}");
            }
        }
    }
}

//! Sessions with a fake program, written in Rust, whose logits can be computed by hand.
//!
//! The fake model keeps one number per position in a full cache: its "key" for token `t` at position `p` is
//! `table[t] + p`. The logits of a row are `sum of the keys up to its position + column`, and column 0 also gets, from
//! recurrent state where the manifest has it, the number of tokens seen. Rows are computed in chunks that threads claim.

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod fake;

use fake::{CONTEXT, Fake, VOCAB, expected};
use graver_runtime::Error;
use graver_runtime::cpu::{Affinity, allowed_cpus};
use graver_runtime::session::{Segment, SessionOptions, Wanted};

/// Tokens with some variety.
fn tokens(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32)
        .map(|i| (i * 7 + seed * 3 + i * i) % VOCAB as u32)
        .collect()
}

#[test]
fn one_step_gives_the_wanted_rows() {
    for threads in 1..=4 {
        let mut session = Fake::default().threads(threads).session();
        let prompt = tokens(6, 1);
        let all = expected(&prompt);
        let got = session
            .step(
                &[Segment {
                    slot: 0,
                    tokens: &prompt,
                }],
                Wanted::All,
            )
            .unwrap();
        assert_eq!(got.n_rows(), 6);
        assert_eq!(got.values(), all);
        session.reset(0).unwrap();
        let got = session
            .step(
                &[Segment {
                    slot: 0,
                    tokens: &prompt,
                }],
                Wanted::Last,
            )
            .unwrap();
        assert_eq!(&*got, &all[5 * VOCAB..]);
        assert_eq!(got.last().unwrap(), &all[5 * VOCAB..]);
        session.reset(0).unwrap();
        let got = session
            .step(
                &[Segment {
                    slot: 0,
                    tokens: &prompt,
                }],
                Wanted::None,
            )
            .unwrap();
        assert!(got.is_empty() && got.last().is_none());
        assert_eq!(session.position(0).unwrap(), 6);
    }
}

#[test]
fn any_cut_of_a_prompt_gives_the_same_logits() {
    let prompt = tokens(50, 2);
    let all = expected(&prompt);
    let mut session = Fake::default().threads(2).session();
    // The fake prefill program takes 16 tokens, decode 4: 50 is three steps of prefill and one of decode.
    assert_eq!(session.max_step(), 16);
    assert_eq!(session.feed(0, &prompt, Wanted::All).unwrap().values(), all);
    session.reset(0).unwrap();
    assert_eq!(
        session.feed(0, &prompt, Wanted::Last).unwrap().values(),
        &all[49 * VOCAB..]
    );
    for cut in [1, 3, 4, 5, 16, 17, 33, 49] {
        session.reset(0).unwrap();
        assert!(
            session
                .feed(0, &prompt[..cut], Wanted::None)
                .unwrap()
                .is_empty()
        );
        let rest = session.feed(0, &prompt[cut..], Wanted::All).unwrap();
        assert_eq!(rest.values(), &all[cut * VOCAB..], "cut at {cut}");
    }
    session.reset(0).unwrap();
    for (i, token) in prompt.iter().enumerate() {
        let row = session.feed(0, &[*token], Wanted::Last).unwrap();
        assert_eq!(row.row(0), &all[i * VOCAB..][..VOCAB], "token {i}");
    }
}

#[test]
fn short_steps_run_decode_and_long_ones_prefill() {
    let mut session = Fake::default().session();
    for (n, program) in [
        (1, "decode"),
        (4, "decode"),
        (5, "prefill"),
        (16, "prefill"),
    ] {
        session.reset(0).unwrap();
        session.feed(0, &tokens(n, 0), Wanted::Last).unwrap();
        assert_eq!(fake::last_program(), program, "{n} tokens");
    }
}

/// Some steps are one thread's alone then, others are shared.
#[test]
fn threads_that_share_a_processor_give_the_same_logits() {
    let Some(&processor) = allowed_cpus().first() else {
        return;
    };
    let before = Affinity::of_this_thread().unwrap();
    // Threads stay where the one that starts them is.
    Affinity::one(processor).unwrap().apply().unwrap();
    let prompt = tokens(200, 3);
    let all = expected(&prompt);
    let fake = Fake::default().threads(2).options(|o| o.alone = true);
    let mut session = fake.session();
    for round in 0..20 {
        session.reset(0).unwrap();
        let mut fed = 0;
        while fed < prompt.len() {
            let n = (1 + (fed + round) % 7).min(prompt.len() - fed);
            let rows = session.feed(0, &prompt[fed..fed + n], Wanted::All).unwrap();
            assert_eq!(rows.values(), &all[fed * VOCAB..(fed + n) * VOCAB]);
            fed += n;
        }
    }
    before.apply().unwrap();
}

#[test]
fn several_sequences_in_one_step_do_not_mix() {
    let mut session = Fake::default().slots(3).threads(2).session();
    let (a, b) = (tokens(9, 3), tokens(12, 4));
    session.feed(2, &a[..5], Wanted::None).unwrap();
    session.feed(0, &b[..3], Wanted::None).unwrap();
    let got = session
        .step(
            &[
                Segment {
                    slot: 2,
                    tokens: &a[5..],
                },
                Segment {
                    slot: 0,
                    tokens: &b[3..],
                },
            ],
            Wanted::Last,
        )
        .unwrap();
    assert_eq!(got.row(0), &expected(&a)[8 * VOCAB..]);
    assert_eq!(got.row(1), &expected(&b)[11 * VOCAB..]);
    assert_eq!(
        (
            session.position(0).unwrap(),
            session.position(1).unwrap(),
            session.position(2).unwrap()
        ),
        (12, 0, 9)
    );
}

#[test]
fn truncating_a_full_cache_goes_back_anywhere() {
    let mut session = Fake::default().session();
    let prompt = tokens(30, 5);
    session.feed(0, &prompt, Wanted::None).unwrap();
    session.truncate(0, 11).unwrap();
    let mut other = prompt[..11].to_vec();
    other.extend(tokens(6, 6));
    let got = session.feed(0, &other[11..], Wanted::Last).unwrap();
    assert_eq!(got.values(), &expected(&other)[16 * VOCAB..]);
    let error = session.truncate(0, 18).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sequence slot 0 cannot be truncated to position 18: only to 0 or to any position from 0 to 17; restore a snapshot instead"
    );
}

#[test]
fn recurrent_state_goes_back_to_the_start_or_a_snapshot_only() {
    let mut session = Fake::default().recurrent().session();
    let prompt = tokens(10, 7);
    let first = session
        .feed(0, &prompt, Wanted::All)
        .unwrap()
        .values()
        .to_vec();
    let without = expected(&prompt);
    for row in 0..10 {
        assert_eq!(
            first[row * VOCAB] - without[row * VOCAB],
            (row + 1) as f32,
            "column 0 of row {row} has the count"
        );
    }
    let error = session.truncate(0, 9).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sequence slot 0 cannot be truncated to position 9: only to 0 or 10; restore a snapshot instead"
    );
    assert_eq!(session.earliest(0).unwrap(), 10);
    session.truncate(0, 10).unwrap();
    session.truncate(0, 0).unwrap();
    assert_eq!(
        session.feed(0, &prompt, Wanted::All).unwrap().values(),
        first,
        "recurrent state begins at zero"
    );
}

#[test]
fn a_ring_goes_back_as_far_as_nothing_was_overwritten() {
    // A window of 8 and steps of 16: 24 rows, far fewer than the context.
    let mut session = Fake::default().ring(8).session();
    session.feed(0, &tokens(20, 8), Wanted::None).unwrap();
    session.truncate(0, 3).unwrap();
    session.feed(0, &tokens(37, 8), Wanted::None).unwrap();
    session.truncate(0, 30).unwrap();
    session.feed(0, &tokens(2, 8), Wanted::None).unwrap();
    // Positions up to 40 were written, so that those before 16 are gone; a query at 24 looks back to 17.
    let error = session.truncate(0, 23).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Truncate {
                earliest: 24,
                current: 32,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(session.earliest(0).unwrap(), 24);
    session.truncate(0, 24).unwrap();
}

#[test]
fn copies_are_independent() {
    let mut session = Fake::default().recurrent().slots(3).session();
    let prompt = tokens(20, 9);
    let all = session
        .feed(0, &prompt, Wanted::All)
        .unwrap()
        .values()
        .to_vec();
    session.reset(0).unwrap();
    session.feed(0, &prompt[..12], Wanted::None).unwrap();
    // Upwards, downwards, and over something that was there before.
    session.feed(2, &tokens(33, 1), Wanted::None).unwrap();
    session.copy(0, 2).unwrap();
    session.copy(2, 1).unwrap();
    session.copy(1, 1).unwrap();
    session.feed(0, &tokens(5, 2), Wanted::None).unwrap();
    for slot in [1, 2] {
        assert_eq!(session.position(slot).unwrap(), 12);
        assert_eq!(
            session
                .feed(slot, &prompt[12..], Wanted::All)
                .unwrap()
                .values(),
            &all[12 * VOCAB..],
            "slot {slot}"
        );
    }
}

#[test]
fn snapshots_restore_into_any_slot_and_survive_their_session() {
    let prompt = tokens(20, 10);
    let mut session = Fake::default().recurrent().slots(2).session();
    let all = session
        .feed(0, &prompt, Wanted::All)
        .unwrap()
        .values()
        .to_vec();
    session.reset(0).unwrap();
    session.feed(0, &prompt[..7], Wanted::None).unwrap();
    let snapshot = session.snapshot(0).unwrap();
    assert_eq!(snapshot.position(), 7);
    assert!(snapshot.bytes() >= 7 * 4, "{}", snapshot.bytes());
    session.feed(0, &tokens(9, 1), Wanted::None).unwrap();
    for slot in [0, 1] {
        session.restore(slot, &snapshot).unwrap();
        assert_eq!(
            session
                .feed(slot, &prompt[7..], Wanted::All)
                .unwrap()
                .values(),
            &all[7 * VOCAB..],
            "slot {slot}"
        );
    }
    drop(session);
    let mut again = Fake::default().recurrent().session();
    again.restore(0, &snapshot).unwrap();
    assert_eq!(
        again.feed(0, &prompt[7..], Wanted::All).unwrap().values(),
        &all[7 * VOCAB..]
    );
    let mut other = Fake::default().session();
    assert!(matches!(
        other.restore(0, &snapshot),
        Err(Error::Snapshot { .. })
    ));
}

#[test]
fn errors_come_before_anything_runs() {
    let mut session = Fake::default()
        .options(|o| o.context = Some(20))
        .slots(2)
        .session();
    session.feed(0, &tokens(18, 0), Wanted::None).unwrap();
    let message = |result: Result<graver_runtime::session::Logits<'_>, Error>| {
        result.unwrap_err().to_string()
    };
    let bad = [1, 2, VOCAB as u32];
    assert_eq!(
        message(session.feed(0, &bad[1..], Wanted::Last)),
        "token id 11 is outside the vocabulary of 11 tokens (0 to 10)"
    );
    assert_eq!(
        message(session.feed(0, &[1, 2, 3], Wanted::Last)),
        "3 tokens after position 18 do not fit a context of 20 positions: --context can be up to 300"
    );
    assert_eq!(
        message(session.feed(2, &[1], Wanted::Last)),
        "sequence slot 2 does not exist: there are 2, counted from 0"
    );
    assert_eq!(
        message(session.feed(0, &[], Wanted::Last)),
        "no tokens for sequence slot 0: a step needs at least one"
    );
    assert_eq!(
        message(session.step(&[], Wanted::Last)),
        "a step needs at least one segment, found none"
    );
    let twice = [
        Segment {
            slot: 0,
            tokens: &[1],
        },
        Segment {
            slot: 0,
            tokens: &[2],
        },
    ];
    assert_eq!(
        message(session.step(&twice, Wanted::Last)),
        "sequence slot 0 is in two segments of one step: join them"
    );
    assert_eq!(
        message(session.step(
            &[Segment {
                slot: 1,
                tokens: &tokens(17, 0)
            }],
            Wanted::Last
        )),
        "17 tokens in one step: the model was compiled for at most 16; use several steps"
    );
    assert_eq!(session.position(0).unwrap(), 18);
    session.feed(0, &[1, 2], Wanted::Last).unwrap();
    assert!(matches!(
        session.feed(0, &[1], Wanted::Last),
        Err(Error::ContextFull {
            tokens: 1,
            position: 20,
            ..
        })
    ));
    assert!(
        session.snapshot(5).is_err()
            && session.copy(0, 5).is_err()
            && session.reset(5).is_err()
            && session.position(5).is_err()
    );
}

#[test]
fn options_out_of_range_are_errors() {
    let refused = |fake: Fake| fake.try_session().err().expect("refused").to_string();
    let options = |change: fn(&mut SessionOptions)| refused(Fake::default().options(change));
    assert_eq!(
        options(|o| o.context = Some(0)),
        format!("--context 0: this model takes 1 to {CONTEXT} positions")
    );
    assert_eq!(
        options(|o| o.context = Some(301)),
        "--context 301: this model takes 1 to 300 positions"
    );
    assert_eq!(
        options(|o| o.threads = Some(0)),
        "--threads 0: expected 1 to 1024"
    );
    assert_eq!(
        options(|o| o.slots = 0),
        "0 sequence slots: expected 1 to 65536"
    );
}

#[test]
fn broken_manifests_are_errors() {
    let refused = |change: fn(&mut graver_runtime::abi::Manifest)| {
        Fake::default()
            .manifest(change)
            .try_session()
            .err()
            .expect("refused")
            .to_string()
    };
    assert_eq!(
        refused(|m| m.abi = 77),
        format!(
            "the model was compiled for runtime interface 77, this runtime has {}: compile the model again",
            graver_runtime::abi::ABI_VERSION
        )
    );
    assert_eq!(
        refused(|m| m.features = vec!["quantum9".to_owned()]),
        "the model was compiled for fake and needs quantum9, which this processor lacks: compile it again with --target-cpu"
    );
    assert_eq!(
        refused(|m| m.vocab = 0),
        "broken manifest: vocab is 0, expected 1 to 4294967295: compile the model again"
    );
    assert!(refused(|m| m.decode.query_tile = 0).contains("decode.query_tile is 0"));
    assert!(refused(|m| m.prefill.max_tokens = usize::MAX).contains("prefill.max_tokens"));
    assert!(refused(|m| m.decode.arena_bytes = usize::MAX).contains("exceeds the address space"));
    assert!(
        refused(|m| m.prefill.arena_bytes_per_position = usize::MAX / 2)
            .contains("exceeds the address space")
    );
    assert!(refused(|m| m.decode.scratch_bytes = usize::MAX).contains("exceeds the address space"));
    assert!(
        refused(|m| m.states[0].bytes_per_position = usize::MAX)
            .contains("exceeds the address space")
    );
    assert!(
        refused(|m| m.states[0].bytes_per_position = 1 << 50).contains("bytes for sequence state")
    );
    assert_eq!(
        refused(|m| m.weights[0].bytes = 1000),
        "weight `table`: 1000 bytes from byte 4 do not fit blob 0 of 48 bytes: are the weights truncated?"
    );
    assert!(refused(|m| m.weights[0].offset = usize::MAX).contains("weight `table`"));
    assert_eq!(
        refused(|m| m.weights[0].blob = 1),
        "broken manifest: weight `table` is in blob 1, but there are 1 blobs: compile the model again"
    );
    assert_eq!(
        refused(|m| m.blobs.clear()),
        "the manifest lists 0 runs of weights, 1 were given"
    );
}

#[test]
fn a_big_context_costs_nothing_until_it_is_used() {
    let make = |m: &mut graver_runtime::abi::Manifest| {
        m.context = 1 << 20;
        m.states[0].bytes_per_position = 1 << 16;
        m.decode.arena_bytes_per_position = 1 << 12;
    };
    // 64 GiB of addresses a slot.
    let mut session = Fake::default()
        .manifest(make)
        .options(|o| o.context = Some(1 << 20))
        .slots(4)
        .session();
    let prompt = tokens(5, 0);
    assert_eq!(
        session.feed(3, &prompt, Wanted::All).unwrap().values(),
        expected(&prompt)
    );
}

//! Rotary embeddings that change with the length of the sequence (LongRoPE): whichever way a session comes to a text, its logits are
//! those of the text fed at once.

use graver::driver::{Loaded, plain_program};
use graver::graph::ProgramKind;
use graver::interp::Interpreter;
use graver::passes::PassOptions;
use graver::spec::{SpecSource, load};
use graver_runtime::abi::CacheType;
use graver_runtime::sequence::Sequence;
use graver_runtime::session::{Segment, Session, SessionOptions, Wanted};
use graver_tests::{compile, compile_for, load_preset};

/// The preset's short frequencies serve up to here.
const SHORT: usize = 128;
const VOCAB: usize = 211;

fn model() -> Loaded {
    let spec = load(SpecSource::Builtin("phi3")).unwrap();
    load_preset(&spec, "tiny", 3, None).unwrap()
}

fn session() -> Session {
    compile_for(model(), false, 1)
}

fn tokens(n: usize) -> Vec<u32> {
    (0..n)
        .map(|i| ((i * i * 7 + i * 3) % VOCAB) as u32)
        .collect()
}

/// Logits of all positions by the interpreter, which is given all tokens at once.
fn reference(tokens: &[u32]) -> Vec<f32> {
    let loaded = model();
    let program = plain_program(&loaded, ProgramKind::Prefill, CacheType::F32);
    let bytes = loaded.weights.slots();
    Interpreter::new(&program, &bytes).step(tokens)
}

fn furthest_apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let off = a.iter().zip(b).map(|(x, y)| (x - y).abs());
    off.fold(0.0, f32::max)
}

#[test]
fn whole_sequences_on_both_sides_of_the_switch() {
    for n in [SHORT, SHORT + 1, SHORT + 40] {
        let (tokens, mut session) = (tokens(n), session());
        let logits = session.feed(0, &tokens, Wanted::All).unwrap();
        let off = furthest_apart(logits.values(), &reference(&tokens));
        assert!(off < 1e-4, "{n} tokens: off by {off}");
    }
}

#[test]
fn a_length_that_was_announced_makes_every_split_agree() {
    let (tokens, mut session) = (tokens(SHORT + 20), session());
    let expected = reference(&tokens);
    session.expect(0, tokens.len()).unwrap();
    for (i, run) in tokens.chunks(11).enumerate() {
        let logits = session.feed(0, run, Wanted::All).unwrap();
        let own = &expected[i * 11 * VOCAB..][..run.len() * VOCAB];
        let off = furthest_apart(logits.values(), own);
        assert!(off < 1e-4, "run {i}: off by {off}");
    }
    session.reset(0).unwrap();
    let logits = session.feed(0, &tokens[..SHORT], Wanted::All).unwrap();
    let off = furthest_apart(logits.values(), &reference(&tokens[..SHORT]));
    assert!(
        off < 1e-4,
        "announced for the sequence before: off by {off}"
    );
}

/// The last row of logits is that of the text at once.
fn assert_at_once(what: &str, found: &[f32], text: &[u32]) {
    let expected = reference(text);
    let off = furthest_apart(found, &expected[expected.len() - VOCAB..]);
    assert!(off < 1e-4, "{what}: off by {off}");
}

#[test]
fn a_session_that_is_fed_token_by_token_crosses_over() {
    let (tokens, mut session) = (tokens(SHORT + 3), session());
    session.feed(0, &tokens[..SHORT - 1], Wanted::None).unwrap();
    for n in SHORT..=tokens.len() {
        let row = session.feed(0, &tokens[n - 1..n], Wanted::Last).unwrap();
        assert_at_once(&format!("grown to {n}"), row.values(), &tokens[..n]);
    }
}

#[test]
fn a_text_that_is_cut_comes_back_to_the_short_frequencies() {
    let (mut tokens, mut session) = (tokens(SHORT + 30), session());
    session.feed(0, &tokens, Wanted::None).unwrap();
    for cut in [SHORT + 10, SHORT, 20] {
        session.truncate(0, cut).unwrap();
        tokens.truncate(cut);
        tokens.extend([7, 8]);
        let row = session.feed(0, &[7, 8], Wanted::Last).unwrap();
        assert_at_once(&format!("cut to {cut}"), row.values(), &tokens);
    }
}

#[test]
fn copies_snapshots_and_steps_of_several_cross_over() {
    let tokens = tokens(SHORT + 4);
    let options = SessionOptions {
        slots: 3,
        ..SessionOptions::default()
    };
    let mut session = compile(model(), PassOptions::default(), options);
    session.feed(0, &tokens[..SHORT], Wanted::None).unwrap();
    session.copy(0, 1).unwrap();
    let snapshot = session.snapshot(0).unwrap();
    session.feed(2, &tokens[..5], Wanted::None).unwrap();
    let segment = |(slot, tokens)| Segment { slot, tokens };
    let [long, short] = [&tokens[SHORT..], &tokens[5..7]];
    let rows = session.step(&[(1, long), (2, short)].map(segment), Wanted::Last);
    let rows = rows.unwrap();
    assert_at_once("a copy in a step", rows.row(0), &tokens);
    assert_at_once("its company", rows.row(1), &tokens[..7]);
    session.restore(2, &snapshot).unwrap();
    let row = session.feed(2, &long[..1], Wanted::Last).unwrap();
    assert_at_once("restored", row.values(), &tokens[..SHORT + 1]);
}

#[test]
fn a_generation_that_outgrows_the_short_frequencies_begins_anew() {
    let (tokens, mut session) = (tokens(SHORT + 3), session());
    let mut sequence = Sequence::new(&mut session);
    sequence.feed(&tokens[..SHORT - 2]).unwrap();
    for n in SHORT - 1..=tokens.len() {
        let found = sequence.feed(&tokens[n - 1..n]).unwrap().to_vec();
        let expected = reference(&tokens[..n]);
        let off = furthest_apart(&found, &expected[(n - 1) * VOCAB..]);
        assert!(off < 1e-4, "{n} tokens: off by {off}");
    }
}

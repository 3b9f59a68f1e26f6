//! Rotary embeddings that change with the length of the sequence (LongRoPE): where the length is known, no split shows.

use graver::graph::ProgramKind;
use graver::interp::Interpreter;
use graver::pipeline::{Loaded, load_preset, plain_program};
use graver::spec::{SpecSource, load};
use graver_runtime::abi::CacheType;
use graver_runtime::sequence::Sequence;
use graver_runtime::session::{Session, Wanted};
use graver_tests::compile_for;

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

//! Windows, chunks and sinks over state that is a ring: every position agrees with the interpreter, which keeps all keys.
//!
//! A ring holds what its queries look back over and the largest step beyond that, so that sequences here are several times
//! as long as a step before anything wraps several times.

use std::sync::OnceLock;

use graver::driver::{Loaded, plain_program};
use graver::graph::ProgramKind;
use graver::interp::Interpreter;
use graver::passes::PassOptions;
use graver::spec::{SpecSource, load};
use graver_runtime::Error;
use graver_runtime::abi::{CacheType, PREFILL_TOKENS};
use graver_runtime::session::{Segment, Session, SessionOptions, Wanted};
use graver_tests::{compile, load_preset};

/// Tokens of a sequence: a ring for a window of 5 wraps three times.
const LENGTH: usize = 3 * (PREFILL_TOKENS + 5) + 100;
/// Allowed, in standard deviations of the logits: two orders of sums in f32.
const TOLERANCE: f32 = 1e-4;

/// A layer that sees everything, then one of limited reach, so that an error in one shows in the other.
fn model(reach: &str, sinks: bool) -> Loaded {
    model_of(2, reach, sinks)
}

/// With so many query heads.
fn model_of(heads: usize, reach: &str, sinks: bool) -> Loaded {
    let sinks = if sinks {
        r#", "sinks": "model.layers.{i}.sinks""#
    } else {
        ""
    };
    let text = format!(
        r#"{{
        "extends": "llama", "match": {{ "model_type": ["ringed"] }},
        "layer_kind": "layer % 2 == 0 ? 'dense' : 'limited'",
        "layers": {{ "limited": [
          {{ "residual": [
            {{ "op": "rms_norm", "name": "attention_norm", "eps": "eps", "gain": "model.layers.{{i}}.input_layernorm.weight" }},
            {{ "op": "attention", "n_heads": "n_heads", "n_kv_heads": "n_kv_heads", "head_dim": "head_dim", "rope": "rope",
              {reach}{sinks},
              "q": "model.layers.{{i}}.q.weight", "k": "model.layers.{{i}}.k.weight",
              "v": "model.layers.{{i}}.v.weight", "o": "model.layers.{{i}}.o.weight" }} ] }} ] }},
        "presets": {{ "tiny": {{ "vocab_size": 31, "hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": {heads},
          "num_key_value_heads": 1, "head_dim": 6, "intermediate_size": 24, "max_position_embeddings": 2048 }} }} }}"#
    );
    let spec = load(SpecSource::Text {
        name: "ringed",
        text: &text,
    })
    .unwrap();
    load_preset(&spec, "tiny", 7, None).unwrap()
}

fn tokens(seed: usize) -> Vec<u32> {
    let draw = |i: usize| ((i * i * 31 + i * 17 + seed * 13 + 5) % 31) as u32;
    (0..LENGTH).map(draw).collect()
}

/// Logits of every position, `[LENGTH, vocab]`, by the interpreter.
fn reference(loaded: &Loaded, tokens: &[u32]) -> Vec<f32> {
    let program = plain_program(loaded, ProgramKind::Prefill, CacheType::F32);
    let bytes = loaded.weights.slots();
    Interpreter::new(&program, &bytes).step(tokens)
}

fn session(loaded: Loaded, no_fuse: bool, slots: usize) -> Session {
    let passes = PassOptions {
        no_fuse,
        ..PassOptions::default()
    };
    let options = SessionOptions {
        threads: Some(1),
        context: Some(2048),
        slots,
        ..SessionOptions::default()
    };
    compile(loaded, passes, options)
}

/// Fails unless `found`, the logits from position `from` on, are those of the reference.
fn agree(what: &str, found: &[f32], reference: &[f32], from: usize) {
    let expected = &reference[from * 31..from * 31 + found.len()];
    let spread = (expected.iter().map(|v| v * v).sum::<f32>() / expected.len() as f32).sqrt();
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let off = (a - b).abs() / spread;
        assert!(
            off < TOLERANCE,
            "{what}: position {} is off by {off}",
            from + i / 31
        );
    }
}

/// Feeds a sequence in runs of the given lengths, over and over.
fn feed(what: &str, session: &mut Session, slot: usize, runs: &[usize], all: (&[u32], &[f32])) {
    let (tokens, expected) = all;
    let mut lengths = runs.iter().cycle();
    let mut at = session.position(slot).unwrap();
    while at < tokens.len() {
        let n = (*lengths.next().unwrap()).min(tokens.len() - at);
        let logits = session
            .feed(slot, &tokens[at..at + n], Wanted::All)
            .unwrap();
        agree(
            &format!("{what}, runs of {runs:?}"),
            logits.values(),
            expected,
            at,
        );
        at += n;
    }
}

fn every_split(reach: &str, sinks: bool) {
    every_split_of(2, reach, sinks);
}

fn every_split_of(heads: usize, reach: &str, sinks: bool) {
    let tokens = tokens(0);
    let expected = reference(&model_of(heads, reach, sinks), &tokens);
    for no_fuse in [false, true] {
        let mut session = session(model_of(heads, reach, sinks), no_fuse, 1);
        for runs in [&[LENGTH][..], &[1, 7, 512, 3], &[9, 8, 100], &[5]] {
            session.reset(0).unwrap();
            let what = format!("{heads} heads, {reach} sinks={sinks} no_fuse={no_fuse}");
            feed(&what, &mut session, 0, runs, (&tokens, &expected));
        }
    }
}

/// The limited layer has one residual only, whose sum goes where the layer's input lay.
#[test]
fn a_product_does_not_overwrite_the_residual_it_is_added_to() {
    let (tokens, reach) = (&tokens(0)[..40], r#""scale": 0.5"#);
    let expected = reference(&model(reach, false), tokens);
    let mut session = session(model(reach, false), false, 1);
    let logits = session.feed(0, tokens, Wanted::All).unwrap();
    agree("one residual", logits.values(), &expected, 0);
}

#[test]
fn a_window_of_one() {
    every_split(r#""window": 1"#, false);
}

#[test]
fn a_window_of_five_with_sinks() {
    every_split(r#""window": 5"#, true);
}

#[test]
fn a_window_of_several_key_blocks() {
    every_split(r#""window": 700"#, true);
}

#[test]
fn a_window_wider_than_the_context() {
    every_split(r#""window": 5000"#, true);
}

#[test]
fn chunks() {
    every_split(r#""chunk": 7"#, false);
    every_split(r#""chunk": 300"#, true);
}

#[test]
fn a_bias_by_distance() {
    let bias = |reach: &str, extent: usize| {
        format!(
            r#"{reach} "relative": {{ "dim": 3, "extent": {extent}, "r": "model.layers.{{i}}.r.weight",
              "profiles": "model.layers.{{i}}.profiles" }}"#
        )
    };
    every_split(&bias(r#""window": 5,"#, 5), true);
    every_split(&bias(r#""window": 700,"#, 40), false);
    every_split(&bias(r#""chunk": 300,"#, 500), false);
    every_split(&bias("", 600), true);
}

/// Which a prompt takes three and two at a time.
#[test]
fn five_heads_of_one_key_head() {
    every_split_of(5, r#""window": 700"#, true);
    every_split_of(5, r#""scale": 0.5"#, false);
}

const WINDOW: &str = r#""window": 5"#;

/// A window's model, its tokens and their logits, made once.
fn five() -> &'static (Vec<u32>, Vec<f32>) {
    static ONCE: OnceLock<(Vec<u32>, Vec<f32>)> = OnceLock::new();
    ONCE.get_or_init(|| {
        let tokens = tokens(0);
        let expected = reference(&model(WINDOW, false), &tokens);
        (tokens, expected)
    })
}

#[test]
fn several_sequences_in_one_step() {
    let (other, (tokens, expected)) = (tokens(3), five());
    let of_other = reference(&model(WINDOW, false), &other);
    for no_fuse in [false, true] {
        let mut session = session(model(WINDOW, false), no_fuse, 3);
        session.feed(0, &tokens[..600], Wanted::None).unwrap();
        let (mut a, mut b) = (600, 0);
        for n in [
            (100, 400),
            (2, 3),
            (1, 500),
            (7, 1),
            (300, 212),
            (4, 4),
            (1, 400),
            (500, 1),
        ] {
            let segments = [
                Segment {
                    slot: 0,
                    tokens: &tokens[a..a + n.0],
                },
                Segment {
                    slot: 2,
                    tokens: &other[b..b + n.1],
                },
            ];
            let logits = session.step(&segments, Wanted::All).unwrap();
            agree("first", &logits.values()[..n.0 * 31], expected, a);
            agree("second", &logits.values()[n.0 * 31..], &of_other, b);
            (a, b) = (a + n.0, b + n.1);
        }
    }
}

#[test]
fn a_ring_is_cut_as_far_back_as_it_remembers() {
    let (tokens, expected) = five();
    let mut session = session(model(WINDOW, false), false, 1);
    session.feed(0, tokens, Wanted::None).unwrap();
    let earliest = LENGTH - PREFILL_TOKENS;
    let refused = session.truncate(0, earliest - 1).unwrap_err();
    assert!(
        matches!(refused, Error::Truncate { earliest: e, .. } if e == earliest),
        "{refused}"
    );
    for position in [LENGTH - 3, earliest] {
        session.truncate(0, position).unwrap();
        feed("cut", &mut session, 0, &[3, 40], (tokens, expected));
    }
}

#[test]
fn copies_and_snapshots_of_rings() {
    let (tokens, expected) = five();
    let mut session = session(model(WINDOW, false), false, 3);
    session.feed(0, &tokens[..1100], Wanted::None).unwrap();
    let snapshot = session.snapshot(0).unwrap();
    session.copy(0, 1).unwrap();
    feed("original", &mut session, 0, &[77, 6], (tokens, expected));
    feed("copy", &mut session, 1, &[5, 300], (tokens, expected));
    session.restore(2, &snapshot).unwrap();
    session.restore(0, &snapshot).unwrap();
    feed(
        "restored elsewhere",
        &mut session,
        2,
        &[512],
        (tokens, expected),
    );
    feed("restored", &mut session, 0, &[8, 9], (tokens, expected));
}

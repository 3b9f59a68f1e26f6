//! State of fixed size: every split, several sequences at once, copies and snapshots agree with the interpreter, and a sequence
//! cannot be cut where its state cannot follow.

use std::sync::OnceLock;

use graver::driver::plain_program;
use graver::graph::ProgramKind;
use graver::interp::Interpreter;
use graver::passes::PassOptions;
use graver_runtime::Error;
use graver_runtime::abi::CacheType;
use graver_runtime::session::{Segment, Session, SessionOptions, Wanted};
use graver_tests::{compile, tiny};

const SPECS: [&str; 4] = ["qwen3_next", "kimi_linear", "jamba", "minimax"];
const LENGTH: usize = 260;
const VOCAB: usize = 211;
/// Allowed, in standard deviations of the logits: two orders of sums in f32.
const TOLERANCE: f32 = 2e-4;

/// A prompt and the logits of each of its positions.
struct Sequence {
    tokens: Vec<u32>,
    logits: Vec<f32>,
}

impl Sequence {
    fn of(spec: &str, seed: usize) -> Sequence {
        let draw = |i: usize| ((i * i * 31 + i * 17 + seed * 13 + 5) % VOCAB) as u32;
        let tokens: Vec<u32> = (0..LENGTH).map(draw).collect();
        let loaded = tiny(spec);
        let program = plain_program(&loaded, ProgramKind::Prefill, CacheType::F32);
        let bytes = loaded.weights.slots();
        let logits = Interpreter::new(&program, &bytes).step(&tokens);
        Sequence { tokens, logits }
    }

    /// Fails unless `found` are the logits from position `from` on.
    fn agree(&self, what: &str, found: &[f32], from: usize) {
        let expected = &self.logits[from * VOCAB..][..found.len()];
        let squares = expected.iter().map(|v| v * v).sum::<f32>();
        let spread = (squares / expected.len() as f32).sqrt();
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            let off = (a - b).abs() / spread;
            let at = from + i / VOCAB;
            assert!(off < TOLERANCE, "{what}: position {at} is off by {off}");
        }
    }

    /// Feeds what is left in runs of the given lengths, over and over.
    fn feed(&self, what: &str, session: &mut Session, slot: usize, runs: &[usize]) {
        let mut at = session.position(slot).unwrap();
        for n in runs.iter().cycle() {
            let n = (*n).min(LENGTH - at);
            let tokens = &self.tokens[at..at + n];
            let logits = session.feed(slot, tokens, Wanted::All).unwrap();
            self.agree(what, logits.values(), at);
            at += n;
            if at == LENGTH {
                return;
            }
        }
    }
}

/// Two sequences of each spec, made once.
fn sequences() -> &'static [[Sequence; 2]; 4] {
    static ONCE: OnceLock<[[Sequence; 2]; 4]> = OnceLock::new();
    ONCE.get_or_init(|| SPECS.map(|spec| [0, 3].map(|seed| Sequence::of(spec, seed))))
}

fn session(spec: &str, no_fuse: bool, slots: usize) -> Session {
    let passes = PassOptions {
        no_fuse,
        ..PassOptions::default()
    };
    let options = SessionOptions {
        threads: Some(2),
        slots,
        ..SessionOptions::default()
    };
    compile(tiny(spec), passes, options)
}

#[test]
fn every_split_gives_the_same() {
    for (spec, [sequence, _]) in SPECS.into_iter().zip(sequences()) {
        for no_fuse in [false, true] {
            let mut session = session(spec, no_fuse, 1);
            for runs in [&[LENGTH][..], &[1, 7, 200, 2], &[9, 8, 3], &[1]] {
                session.reset(0).unwrap();
                let what = format!("{spec} no_fuse={no_fuse} runs of {runs:?}");
                sequence.feed(&what, &mut session, 0, runs);
            }
        }
    }
}

#[test]
fn several_sequences_in_one_step() {
    for (spec, [one, other]) in SPECS.into_iter().zip(sequences()) {
        let mut session = session(spec, false, 3);
        session.feed(0, &one.tokens[..50], Wanted::None).unwrap();
        let (mut a, mut b) = (50, 0);
        for n in [(100, 40), (2, 3), (1, 150), (7, 1), (30, 50), (1, 1)] {
            let segments = [(0, &one.tokens[a..a + n.0]), (2, &other.tokens[b..b + n.1])];
            let segments = segments.map(|(slot, tokens)| Segment { slot, tokens });
            let logits = session.step(&segments, Wanted::All).unwrap();
            let (first, second) = logits.values().split_at(n.0 * VOCAB);
            one.agree("first", first, a);
            other.agree("second", second, b);
            (a, b) = (a + n.0, b + n.1);
        }
    }
}

#[test]
fn a_sequence_is_begun_anew_but_not_cut() {
    for (spec, [sequence, other]) in SPECS.into_iter().zip(sequences()) {
        let mut session = session(spec, false, 1);
        let fed = session.feed(0, &other.tokens[..100], Wanted::None);
        fed.unwrap();
        let refused = session.truncate(0, 99).unwrap_err();
        let expected = matches!(refused, Error::Truncate { earliest: 100, .. });
        assert!(expected, "{spec}: {refused}");
        session.truncate(0, 100).unwrap();
        session.truncate(0, 0).unwrap();
        sequence.feed("begun anew", &mut session, 0, &[33, 2]);
    }
}

#[test]
fn copies_and_snapshots() {
    for (spec, [sequence, other]) in SPECS.into_iter().zip(sequences()) {
        let mut session = session(spec, false, 3);
        session
            .feed(0, &sequence.tokens[..150], Wanted::None)
            .unwrap();
        session.feed(1, &other.tokens[..99], Wanted::None).unwrap();
        let snapshot = session.snapshot(0).unwrap();
        session.copy(0, 1).unwrap();
        sequence.feed("original", &mut session, 0, &[77, 6]);
        sequence.feed("copy", &mut session, 1, &[5, 300]);
        session.restore(2, &snapshot).unwrap();
        session.restore(0, &snapshot).unwrap();
        sequence.feed("restored elsewhere", &mut session, 2, &[512]);
        sequence.feed("restored", &mut session, 0, &[8, 9]);
    }
}

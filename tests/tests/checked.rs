//! Checked execution: no kernel of any spec leaves what is its own, and nothing depends on what memory held before, on the
//! order of threads, or on the order of chunks.

use graver::passes::PassOptions;
use graver::pipeline::{self, Loaded};
use graver::spec;
use graver::weights::QuantChoice;
use graver_runtime::abi::Quant;
use graver_runtime::checked::CheckOptions;
use graver_runtime::session::{Session, SessionOptions, Wanted};
use graver_tests::{compile, tiny};

fn tokens(n: usize, vocab: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 7 + i * i) % vocab) as u32).collect()
}

/// Logits of a prompt fed whole, of a few tokens more one by one and five at once, and of a second sequence.
fn logits(session: &mut Session) -> Vec<u32> {
    let n = 70.min(session.context() - 8);
    let prompt = tokens(n + 8, session.vocab());
    let mut out: Vec<u32> = vec![];
    let mut feed = |session: &mut Session, slot: usize, tokens: &[u32]| {
        let logits = session
            .feed(slot, tokens, Wanted::All)
            .unwrap_or_else(|e| panic!("{e}"));
        out.extend(logits.values().iter().map(|v| v.to_bits()));
    };
    feed(session, 0, &prompt[..n]);
    feed(session, 0, &prompt[n..n + 1]);
    feed(session, 1, &prompt[3..9]);
    feed(session, 0, &prompt[n + 1..n + 2]);
    feed(session, 0, &prompt[n + 2..n + 7]);
    session.reset(1).expect("there is a second slot");
    feed(session, 1, &prompt[..20.min(n)]);
    out
}

fn session(loaded: Loaded, no_fuse: bool, checks: Option<CheckOptions>) -> Session {
    let passes = PassOptions {
        no_fuse,
        ..PassOptions::default()
    };
    let options = SessionOptions {
        threads: Some(if checks.is_some() { 3 } else { 1 }),
        context: Some(128.min(loaded.model.context)),
        slots: 2,
        checks,
        ..SessionOptions::default()
    };
    compile(loaded, passes, options)
}

fn load(name: &str, quant: Option<Quant>) -> Loaded {
    let loaded = tiny(name);
    match quant {
        None => loaded,
        Some(body) => {
            let choice = QuantChoice {
                layers: body,
                head: body,
            };
            pipeline::quantize(loaded, choice, &|_, _| {}).expect("memory for a tiny model")
        }
    }
}

fn agrees(name: &str, quant: Option<Quant>, no_fuse: bool) {
    let plain = logits(&mut session(load(name, quant), no_fuse, None));
    let checked = Some(CheckOptions::ALL);
    let checked = logits(&mut session(load(name, quant), no_fuse, checked));
    assert!(
        plain == checked,
        "{name} {quant:?} no_fuse={no_fuse}: other bits than unchecked"
    );
}

#[test]
fn every_spec_stays_within_its_own_memory() {
    for name in spec::builtin_names() {
        for no_fuse in [false, true] {
            agrees(name, None, no_fuse);
        }
    }
}

#[test]
fn so_does_every_spec_with_quantised_weights() {
    for name in spec::builtin_names() {
        for quant in Quant::ALL {
            for no_fuse in [false, true] {
                agrees(name, Some(quant), no_fuse);
            }
        }
    }
}

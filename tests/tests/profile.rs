//! `--profile`: what it accounts for, and that its traces are Trace Event JSON.

use std::collections::BTreeMap;
use std::time::Instant;

use graver::driver::Loaded;
use graver::passes::PassOptions;
use graver::spec::{self, SpecSource};
use graver_runtime::profile::Profile;
use graver_runtime::session::{Session, SessionOptions, Wanted};
use graver_tests::{compile, load_preset};
use serde_json::Value;

/// Large enough that a step takes much longer than entering it.
const SPEC: &str = r#"{ "extends": "llama", "presets": { "mid": {
    "vocab_size": 4000, "hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 6, "num_key_value_heads": 2,
    "intermediate_size": 1024, "max_position_embeddings": 512, "rms_norm_eps": 1e-5 } } }"#;

fn load() -> Loaded {
    let text = SpecSource::Text {
        name: "mid",
        text: SPEC,
    };
    load_preset(&spec::load(text).unwrap(), "mid", 1, None).unwrap()
}

fn session(profile: bool, no_fuse: bool) -> Session {
    let options = SessionOptions {
        threads: Some(2),
        profile,
        ..SessionOptions::default()
    };
    let passes = PassOptions {
        no_fuse,
        ..PassOptions::default()
    };
    compile(load(), passes, options)
}

/// A prompt and some decode steps; the time that prefill and decode took, in nanoseconds.
fn exercise(session: &mut Session, steps: usize) -> [u64; 2] {
    let timed = |session: &mut Session, tokens: &[u32]| {
        let begun = Instant::now();
        session.feed(0, tokens, Wanted::Last).unwrap();
        begun.elapsed().as_nanos() as u64
    };
    let prompt: Vec<u32> = (0..64).collect();
    let prefill = timed(session, &prompt);
    let decode = (0..steps).map(|i| timed(session, &[i as u32])).sum();
    [decode, prefill]
}

#[test]
fn kernels_and_waits_add_up_to_the_time_of_the_step() {
    let mut session = session(true, false);
    exercise(&mut session, 4);
    session.reset(0).unwrap();
    session.reset_profile();
    let walls = exercise(&mut session, 40);
    let profile = session.profile().unwrap();
    assert_eq!(profile.dropped, 0);
    for (p, wall) in profile.programs.iter().zip(walls) {
        for accounted in p.accounted_ns() {
            let share = accounted as f64 / wall as f64;
            let text = format!("{}: {accounted} of {wall} ns accounted for", p.program);
            assert!((0.95..1.05).contains(&share), "{text}");
        }
    }
}

#[test]
fn every_kernel_is_counted_once_for_each_layer_and_step() {
    let mut session = session(true, false);
    exercise(&mut session, 10);
    let profile = session.profile().unwrap();
    let decode = &profile.programs[0];
    assert_eq!((decode.steps, decode.tokens), (10, 10));
    assert_eq!(decode.depths, (64..74).sum::<u64>());
    let prefill = &profile.programs[1];
    assert_eq!((prefill.steps, prefill.tokens, prefill.depths), (1, 64, 0));
    for k in &decode.kernels {
        let layers = if k.kernel.at.starts_with("layers.") {
            4
        } else {
            1
        };
        assert_eq!(k.calls, 10 * layers, "{}", k.kernel.at);
    }
    let groups: Vec<_> = decode.groups().into_iter().map(|g| g.0).collect();
    assert_eq!(groups, ["embed", "attention", "mlp", "head"]);
    assert!(
        profile.to_string().contains("decode: 10 steps"),
        "{profile}"
    );
}

/// The format as the viewers read it: an array of complete events and metadata, times in microseconds.
fn check_schema(trace: &Value) -> usize {
    let events = trace["traceEvents"].as_array().expect("an array of events");
    let mut rows: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for e in events {
        assert!(e["name"].is_string() && e["pid"].is_u64(), "{e}");
        let row = e["tid"].as_u64().expect("a thread");
        match e["ph"].as_str() {
            Some("M") => assert!(e["args"]["name"].is_string(), "{e}"),
            Some("X") => {
                assert!(e["cat"].is_string(), "{e}");
                let (ts, dur) = (e["ts"].as_f64().unwrap(), e["dur"].as_f64().unwrap());
                assert!(ts >= 0.0 && dur >= 0.0, "{e}");
                rows.entry(row).or_default().push((ts, ts + dur));
            }
            other => panic!("{other:?} in {e}"),
        }
    }
    for (row, mut spans) in rows {
        spans.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in spans.windows(2) {
            assert!(
                pair[1].0 >= pair[0].1 - 0.002,
                "row {row}: {pair:?} overlap"
            );
        }
    }
    events.len()
}

#[test]
fn a_trace_is_valid_and_holds_its_sums() {
    for no_fuse in [false, true] {
        let mut session = session(true, no_fuse);
        exercise(&mut session, 3);
        let profile = session.profile().unwrap();
        let mut text = vec![];
        profile.write_trace(&mut text).unwrap();
        let trace: Value = serde_json::from_slice(&text).unwrap();
        let events = check_schema(&trace);
        assert_eq!(events, 3 + profile.spans.len());
        let sums: Profile = serde_json::from_value(trace["otherData"]["graver"].clone()).unwrap();
        assert_eq!(sums.programs[0].steps, 3);
    }
}

#[test]
fn code_without_stamps_has_no_profile_and_computes_the_same() {
    let mut plain = session(false, false);
    assert!(plain.profile().is_none());
    assert!(plain.manifest().decode.kernels.is_empty());
    let mut stamped = session(true, false);
    let run = |s: &mut Session| s.feed(0, &[1, 2, 3], Wanted::Last).unwrap().to_vec();
    assert_eq!(run(&mut plain), run(&mut stamped));
}

//! Sums and traces of made-up stamps.

use serde_json::Value;

use super::*;

fn info(at: &str) -> KernelInfo {
    KernelInfo {
        at: at.into(),
        op: "matmul".into(),
    }
}

/// Two threads: one kernel behind a barrier, one behind it without; thread 1 waits longer.
fn sums() -> (Sums, Vec<RawSpan>) {
    let mut sums = Sums::new(
        vec![info("embed.table"), info("layers.dense.attention.o")],
        2,
    );
    let mut spans = vec![];
    let mut into = Some(&mut spans);
    sums.add(0, 0, &[(110, 0), (150, 1), (190, 3)], (100, 200), &mut into);
    sums.add(0, 1, &[(130, 0), (140, 1), (195, 3)], (100, 200), &mut into);
    (sums.steps, sums.tokens, sums.wall) = (1, 1, 100);
    (sums, spans)
}

#[test]
fn kernels_and_waits_make_up_the_step() {
    let p = sums().0.profile("decode", 1.0);
    assert_eq!(p.kernels[0].busy_ns, [40, 10]);
    assert_eq!(p.kernels[0].wait_ns, [10, 30]);
    assert_eq!(p.kernels[1].busy_ns, [40, 55]);
    assert_eq!(p.end_wait_ns, [10, 5]);
    assert_eq!(p.accounted_ns(), [100, 100]);
    let groups = [
        ("embed".to_string(), 50, 40),
        ("attention".to_string(), 95, 0),
    ];
    assert_eq!(p.groups(), groups);
}

#[test]
fn a_trace_is_valid_trace_event_json() {
    let (sums, raw) = sums();
    let span = |s: &RawSpan| Span {
        thread: s.thread as usize,
        kernel: s.kernel.map(|k| k as usize),
        program: 0,
        wait: s.wait,
        begin_ns: s.begin,
        end_ns: s.end,
    };
    let profile = Profile {
        threads: 2,
        programs: vec![sums.profile("decode", 1.0)],
        dropped: 0,
        spans: raw.iter().map(span).collect(),
    };
    let mut text = vec![];
    profile.write_trace(&mut text).unwrap();
    let trace: Value = serde_json::from_slice(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(
        events.len(),
        3 + 6,
        "a row for steps and for each thread, and every span"
    );
    let back: Profile = serde_json::from_value(trace["otherData"]["graver"].clone()).unwrap();
    assert_eq!(back.programs[0].wall_ns, 100);
}

#[test]
fn a_full_log_drops_stamps_and_says_so() {
    let none = ProgramInfo {
        max_tokens: 1,
        arena_bytes: 0,
        arena_bytes_per_position: 0,
        scratch_bytes: 0,
        query_tile: 1,
        kernels: vec![],
    };
    let mut profiler = Profiler::new(1, &none, &none);
    let log = profiler.recorder.0[0].0.get_mut();
    (log.len, log.dropped) = (LOG, 3);
    profiler.end_step(0, 1, now());
    assert_eq!(profiler.profile().dropped, 3);
    assert_eq!(profiler.recorder.0[0].0.get_mut().len, 0);
}

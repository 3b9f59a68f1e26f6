//! Sums and traces of made-up stamps.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::abi::{CacheType, ProgramInfo};

fn info(at: &str) -> KernelInfo {
    KernelInfo {
        at: at.into(),
        op: "matmul".into(),
    }
}

/// A profiler of a decode program of two kernels and a prefill program of none.
fn profiler(threads: usize) -> Profiler {
    let program = |kernels| ProgramInfo {
        max_tokens: 1,
        arena_bytes: 0,
        arena_bytes_per_position: 0,
        scratch_bytes: 0,
        query_tile: 1,
        kernels,
        collectives: vec![],
    };
    let kernels = vec![info("embed.table"), info("layers.dense.attention.o")];
    Profiler::new(threads, &manifest(program(kernels), program(vec![])))
}

fn manifest(decode: ProgramInfo, prefill: ProgramInfo) -> Manifest {
    Manifest {
        abi: 0,
        compiler: String::new(),
        spec: "made up".into(),
        target: String::new(),
        features: vec![],
        tuned: crate::abi::tuned::Record::default(),
        passes: vec![],
        vocab: 1,
        output: None,
        hidden: 1,
        layers: 1,
        context: 1,
        cache: CacheType::F32,
        weight_types: BTreeMap::new(),
        rounds_activations: false,
        eos: vec![],
        bos: None,
        decode,
        prefill,
        length_switches: vec![],
        states: vec![],
        weights: vec![],
        blobs: vec![],
        rank: None,
    }
}

/// A step of 100 ticks on two threads. Kernel 0 begins without a barrier; thread 1 waits for the other before kernel 1, which
/// has a barrier inside, where thread 0 waits.
fn step(profiler: &mut Profiler) {
    let [kernel_0, kernel_1, done] = [0, 1, 2].map(|k| stretch(k, false));
    let inside = stretch(1, true);
    let steps = &mut profiler.programs[0];
    let begin = 1000 * steps.steps;
    (steps.steps, steps.tokens, steps.wall) = (steps.steps + 1, steps.tokens + 1, steps.wall + 100);
    let stamps: [&[(u64, usize)]; 2] = [
        &[
            (10, kernel_0),
            (50, kernel_1),
            (60, inside + WAITING),
            (70, inside),
            (90, done),
        ],
        &[
            (30, kernel_0),
            (40, kernel_1 + WAITING),
            (50, kernel_1),
            (70, inside),
            (95, done),
        ],
    ];
    profiler.recorder.begin_step(0, begin);
    for (thread, stamps) in stamps.into_iter().enumerate() {
        for (at, stretch) in stamps {
            profiler
                .recorder
                .log_mut(thread)
                .stamp(*stretch, begin + at);
        }
    }
    profiler.recorder.end_step(begin + 100);
}

#[test]
fn kernels_and_waits_make_up_the_step() {
    let mut profiler = profiler(2);
    step(&mut profiler);
    let p = profiler.program(0, 1.0);
    assert_eq!(p.kernels[0].busy_ns, [40, 10]);
    assert_eq!(p.kernels[0].wait_ns, [10, 30]);
    assert_eq!(p.kernels[1].busy_ns, [30, 45]);
    assert_eq!(p.kernels[1].wait_ns, [10, 10]);
    assert_eq!(p.kernels[1].calls, 1, "once, however many barriers it has");
    assert_eq!(p.end_wait_ns, [10, 5]);
    assert_eq!(p.accounted_ns(), [100, 100]);
    let groups = [
        ("embed".to_string(), 50, 40),
        ("attention".to_string(), 75, 20),
    ];
    assert_eq!(p.groups(), groups);
}

/// A barrier inside a kernel does not cut its call in two, and waiting is no part of it.
#[test]
fn calls_are_measured_whole_and_a_preempted_one_is_marked() {
    let mut profiler = profiler(2);
    (0..9).for_each(|_| step(&mut profiler));
    let usual = profiler.program(0, 1.0);
    assert_eq!(usual.kernels[0].largest_ns, [40, 10]);
    assert_eq!(usual.kernels[1].largest_ns, [10 + 20, 20 + 25]);
    let close = |found: u64, expected: u64| found.abs_diff(expected) <= 1 + expected / 32;
    assert!(close(usual.kernels[1].median(), 45), "{usual:?}");
    assert_eq!(usual.kernels[1].preempted, 0);
    let long = 5_000_000;
    // By the clock, whose start is where a trace begins.
    let begin = now();
    profiler.recorder.begin_step(0, begin);
    let log = profiler.recorder.log_mut(1);
    log.stamp(stretch(1, false), begin + 10);
    log.stamp(stretch(2, false), begin + 10 + long);
    profiler.recorder.end_step(begin + long + 20);
    let lost = profiler.program(0, 1.0);
    let kernel = &lost.kernels[1];
    assert_eq!((kernel.preempted, kernel.largest_ns[1]), (1, long));
    assert!(close(kernel.median(), 45), "{kernel:?}");
    assert!(close(kernel.lost_ns[1], long), "{kernel:?}");
    assert!(kernel.usual_ns() < long / 10, "{kernel:?}");
    let mut trace = vec![];
    profiler.profile().write_trace(&mut trace).unwrap();
    let trace = String::from_utf8(trace).unwrap();
    assert_eq!(trace.matches("\"preempted\":true").count(), 1);
    let shown = profiler.profile().to_string();
    assert!(
        shown.contains(" !\n") && shown.contains("1 call lost "),
        "{shown}"
    );
}

#[test]
fn a_trace_is_valid_trace_event_json() {
    let mut profiler = profiler(2);
    step(&mut profiler);
    let profile = profiler.profile();
    let mut text = vec![];
    profile.write_trace(&mut text).unwrap();
    let trace: Value = serde_json::from_slice(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let spans = 1 + 5 + 5;
    assert_eq!(
        events.len(),
        3 + spans,
        "a row for steps and for each thread, and every stretch up to the last kernel's end"
    );
    let back: Profile = serde_json::from_value(trace["otherData"]["graver"].clone()).unwrap();
    assert_eq!(back.programs[0].steps, 1);
    assert_eq!(back.dropped, 0);
}

#[test]
fn a_full_timeline_ends_on_all_threads_and_the_sums_go_on() {
    let mut profiler = profiler(2);
    // A step takes 6 stretches of each thread, and its end an entry of the timeline.
    let steps = TIMELINE / 2 / 7 + 1;
    (0..steps).for_each(|_| step(&mut profiler));
    let decode = profiler.program(0, 1.0);
    assert_eq!(decode.kernels[1].calls, steps as u64);
    assert_eq!(decode.accounted_ns(), [100 * steps as u64; 2]);
    let shown = [0, 1].map(|thread| profiler.recorder.timeline(thread).count());
    let whole = (TIMELINE / 2 / 7 * 6)..(steps * 6);
    assert!(shown.iter().all(|n| whole.contains(n)), "{shown:?}");
    let all = 2 * 6 * steps;
    assert_eq!(
        profiler.profile().dropped as usize,
        all - shown[0] - shown[1]
    );
}

//! `graver bench`: what a report holds, whatever the times are.

use std::collections::BTreeSet;

use graver::bench::{self, BenchError, Busy, Phase, Point, Report, Settings, Variant};
use graver::codegen::Target;
use graver::driver::{CompileOptions, Loaded};
use graver::passes::PassOptions;
use graver::spec::{self, SpecSource};
use graver_runtime::abi::CacheType;
use graver_tests::load_preset;

fn load(name: &str) -> Loaded {
    let spec = spec::load(SpecSource::Builtin(name)).unwrap();
    load_preset(&spec, "tiny", 0, None).unwrap()
}

fn options() -> CompileOptions {
    CompileOptions::new(
        PassOptions::default(),
        CacheType::F32,
        Target::named("native").unwrap(),
    )
}

fn measure(name: &str, ablate: bool, points: &[Point]) -> Report {
    let loaded = load(name);
    let variants = match ablate {
        true => bench::ablation(&loaded, &options()),
        false => bench::ab(&PassOptions::default()),
    };
    let settings = Settings {
        rounds: 3,
        threads: 2,
        division: 1.into(),
        others: None,
    };
    let report = run(name, &variants, points, settings).unwrap();
    report.expect("this process has the report")
}

fn run(
    name: &str,
    variants: &[Variant],
    points: &[Point],
    settings: Settings,
) -> Result<Option<Report>, BenchError> {
    let (loaded, quiet) = (load(name), |_: &str, _: f64| {});
    bench::run(name, loaded, &options(), variants, points, settings, &quiet)
}

fn point(phase: Phase, tokens: usize, depth: usize) -> Point {
    Point {
        phase,
        tokens,
        depth,
        sequences: 1,
    }
}

#[test]
fn fused_and_unfused_at_every_point() {
    let points = [
        point(Phase::Prefill, 24, 0),
        point(Phase::Decode, 6, 0),
        point(Phase::Decode, 6, 40),
    ];
    let report = measure("llama", false, &points);
    for (p, expected) in report.points.iter().zip(points) {
        assert_eq!(p.point, expected);
        let [fused, unfused] = &p.variants[..] else {
            panic!("{p:?}")
        };
        assert!(fused.ratio.is_none() && unfused.ratio.is_some());
        assert!(fused.kernels < unfused.kernels && fused.barriers < unfused.barriers);
        assert!(fused.bytes < unfused.bytes && fused.flops == unfused.flops);
        assert_eq!(unfused.seconds.len(), 3);
    }
    let deeper = &report.points[2].variants[0];
    assert!(deeper.memory_bytes > report.points[1].variants[0].memory_bytes);
}

/// Weights are read once for all sequences of a step, keys and values for each.
#[test]
fn sequences_that_decode_together_share_the_weights() {
    let of = |sequences| Point {
        sequences,
        ..point(Phase::Decode, 3, 20)
    };
    let report = measure("llama", false, &[1, 4, 12].map(of));
    let bytes = |p: usize| report.points[p].variants[0].memory_bytes;
    let state = (bytes(1) - bytes(0)) / 3;
    assert!(state > 0 && bytes(2) - bytes(0) == 11 * state);
    for p in &report.points {
        let v = &p.variants[0];
        let seconds = p.point.all_tokens() as f64 / v.tokens_per_second;
        let is_middle = |s: &f64| (s - seconds).abs() < 1e-9;
        assert!(v.seconds.iter().any(is_middle), "{p:?}");
    }
    let last = report.points[2].point.to_string();
    assert!(last.ends_with("12 sequences at once"), "{last}");
}

#[test]
fn every_acting_pass_is_ablated_both_ways_and_others_are_not() {
    let report = measure("llama", true, &[point(Phase::Decode, 2, 0)]);
    let names: BTreeSet<_> = report.points[0]
        .variants
        .iter()
        .map(|v| v.name.as_str())
        .collect();
    for pass in ["merge-projections", "norm-prologue", "one-pass-attention"] {
        for way in ["without", "only"] {
            assert!(
                names.contains(format!("{way} {pass}").as_str()),
                "{names:?}"
            );
        }
    }
    assert!(
        !names.contains("without bias-epilogue"),
        "it has nothing to do: {names:?}"
    );
    let find = |name: &str| {
        report.points[0]
            .variants
            .iter()
            .find(|v| v.name == name)
            .unwrap()
    };
    assert!(find("without norm-prologue").kernels > find("fused").kernels);
    assert!(find("only norm-prologue").kernels < find("unfused").kernels);
}

#[test]
fn a_report_survives_its_json_and_differs_in_nothing_from_itself() {
    let report = measure("gpt2", false, &[point(Phase::Decode, 4, 0)]);
    let text = serde_json::to_string(&report).unwrap();
    let back: Report = serde_json::from_str(&text).unwrap();
    assert!(!bench::diff(&report, &back, 0.02).regressed());
    let table = report.to_string();
    assert!(
        table.contains("unfused") && report.markdown().contains("| unfused |"),
        "{table}"
    );
}

#[test]
fn a_point_without_room_is_an_error_that_says_so() {
    let settings = Settings {
        rounds: 2,
        threads: 1,
        division: 1.into(),
        others: None,
    };
    let points = [point(Phase::Prefill, 500, 100)];
    let variants = bench::ab(&PassOptions::default());
    let found = run("llama", &variants, &points, settings);
    let message = found.unwrap_err().to_string();
    assert!(message.contains("500 tokens after 100 others"), "{message}");
}

/// The profile is a variant like any other, and leaves a trace.
#[test]
fn a_profiled_variant_says_what_profiling_costs() {
    let settings = Settings {
        rounds: 2,
        threads: 2,
        division: 1.into(),
        others: None,
    };
    let points = [point(Phase::Decode, 6, 4)];
    let mut variants = bench::ab(&PassOptions::default());
    variants.push(bench::profiled(&PassOptions::default()));
    let report = run("llama", &variants, &points, settings).unwrap();
    let report = report.expect("this process has the report");
    let last = report.points[0].variants.last().unwrap();
    assert_eq!(last.name, "profiled");
    assert_eq!(last.kernels, report.points[0].variants[0].kernels);
    assert!(last.ratio.is_some());
    let profile = report.profiles.first().expect("a profile");
    let decode = profile
        .programs
        .iter()
        .find(|p| p.program == "decode")
        .unwrap();
    assert_eq!(
        decode.steps,
        3 * 6 + 1,
        "two rounds, one that warms up, and the depth"
    );
}

/// A program that reads the JSON finds the figures most asked for at its top.
#[test]
fn the_headline_is_that_of_the_first_points() {
    let points = [point(Phase::Prefill, 24, 0), point(Phase::Decode, 6, 4)];
    let report = measure("llama", false, &points);
    let json = serde_json::to_value(&report).unwrap();
    for (at, index, tokens) in [("pp", 0, 24.0), ("tg", 1, 6.0)] {
        for (object, variant) in [(&json, 0), (&json["unfused"], 1)] {
            let runs = object[format!("{at}_all")].as_array().unwrap();
            let seconds = &report.points[index].variants[variant].seconds;
            let expected: Vec<f64> = seconds.iter().map(|s| tokens / s).collect();
            assert_eq!(runs.len(), 3);
            assert!(
                runs.iter()
                    .zip(&expected)
                    .all(|(r, e)| (r.as_f64().unwrap() - e).abs() < 1e-6 * e)
            );
            let (least, most) = (
                expected.iter().copied().fold(f64::MAX, f64::min),
                expected.iter().copied().fold(0.0, f64::max),
            );
            assert!((least..=most).contains(&object[at].as_f64().unwrap()));
            assert!(object[format!("{at}_share")].as_f64().unwrap() > 0.0);
        }
    }
}

/// Runs that are all disturbed alike agree with each other, so that an interval would say too much.
#[test]
fn a_busy_machine_is_named_and_no_interval_is_printed() {
    let mut report = measure("llama", false, &[point(Phase::Decode, 4, 0)]);
    for share in [report.busy.lost, report.busy.steal].into_iter().flatten() {
        assert!((0.0..=1.0).contains(&share), "{:?}", report.busy);
    }
    let (lost, steal) = (Some(0.25), Some(0.5));
    for (busy, said) in [
        (
            Busy { lost, steal: None },
            "25 % of the time, the host took an unknown share",
        ),
        (
            Busy { lost: None, steal },
            "an unknown share of the time, the host took 50 %",
        ),
    ] {
        report.busy = busy;
        for text in [report.to_string(), report.markdown()] {
            assert!(
                text.contains("the machine was busy") && text.contains(said),
                "{text}"
            );
            assert!(text.contains("(busy)") && !text.contains('['), "{text}");
        }
    }
    report.busy = Busy {
        lost: Some(0.01),
        steal: Some(0.0),
    };
    // The sentence was made when the machine was measured, busy or not.
    report.verdict = None;
    for text in [report.to_string(), report.markdown()] {
        assert!(!text.contains("busy") && text.contains('['), "{text}");
    }
}

#[test]
fn the_fused_graph_can_be_measured_alone() {
    let variants = [bench::fused(&PassOptions::default())];
    let settings = Settings {
        rounds: 1,
        threads: 1,
        division: 1.into(),
        others: None,
    };
    let points = [point(Phase::Decode, 2, 0)];
    let report = run("llama", &variants, &points, settings).unwrap();
    let report = report.expect("this process has the report");
    assert_eq!(report.points[0].variants.len(), 1);
    assert!(report.headline.fused.tg.is_some() && report.headline.unfused.is_none());
}

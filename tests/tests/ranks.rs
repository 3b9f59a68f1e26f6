//! Models that several ranks share: graphs and code of all ranks together against committed golden logits.

use std::path::{Path, PathBuf};

use graver::driver::{open_ranks, plan_ranks};
use graver::interp::Interpreter;
use graver::passes::PassOptions;
use graver::spec::{self, SpecSource};
use graver::summary::{Link, Machine, summarize};
use graver::verify::{Golden, TOLERANCE, against_golden};
use graver_runtime::abi::CacheType;
use graver_runtime::session::{Session, SessionOptions, Wanted};
use graver_tests::{compile_options, fixture_folders, load_checkpoint, load_shapes, share, tiny};

/// The fixtures with goldens that fall to this run ([`share`]).
fn golden_folders() -> Vec<PathBuf> {
    let mut folders = fixture_folders();
    folders.retain(|d| d.join("golden.safetensors").exists());
    assert!(folders.len() >= 80, "only {} fixtures", folders.len());
    folders.retain(|d| share::has(&d.file_name().unwrap_or_default().to_string_lossy()));
    folders
}

fn golden(dir: &Path) -> Golden {
    Golden::open(&dir.join("golden.safetensors")).unwrap()
}

fn unfused() -> PassOptions {
    PassOptions {
        no_fuse: true,
        ..PassOptions::default()
    }
}

/// The interpreter, which evaluates all ranks in lockstep, is the oracle of sharding.
#[test]
fn sharded_graphs_have_the_logits_of_the_reference_on_every_rank() {
    let options = compile_options(unfused(), CacheType::F32);
    for dir in golden_folders() {
        let (loaded, golden) = (load_checkpoint(&dir).unwrap(), golden(&dir));
        for ranks in 2..=4 {
            let planned = plan_ranks(&loaded, &options, ranks).unwrap();
            let slots: Vec<_> = planned.iter().map(|p| p.weights.slots()).collect();
            let of_rank = planned.iter().zip(&slots);
            let of_rank = of_rank.map(|(p, slots)| (&p.model.programs[1].program, slots as _));
            let logits = Interpreter::of_ranks(of_rank).step_of_ranks(&golden.input_ids);
            let place = format!("{} on {ranks} ranks", dir.display());
            for own in &logits {
                let found = golden.difference("", own);
                assert!(found.difference <= TOLERANCE, "{place}: {found}");
                assert!(*own == logits[0], "{place}: ranks have other bits");
            }
        }
    }
}

fn open(dir: &Path, passes: PassOptions, ranks: usize, threads: usize) -> Session {
    let mut options = compile_options(passes, CacheType::F32);
    options.instruments.verified = true;
    let session = SessionOptions {
        threads: Some(threads),
        ..SessionOptions::default()
    };
    open_ranks(load_checkpoint(dir).unwrap(), &options, ranks, session).unwrap()
}

#[test]
fn fixtures_match_the_reference_on_two_and_three_ranks() {
    for dir in golden_folders() {
        let path = dir.join("golden.safetensors");
        for (ranks, passes) in [
            (2, PassOptions::default()),
            (3, PassOptions::default()),
            (2, unfused()),
        ] {
            let fused = !passes.no_fuse;
            let mut session = open(&dir, passes, ranks, 1);
            let report = against_golden(&mut session, &golden(&dir), &path).unwrap();
            let place = format!("{} on {ranks} ranks, fused={fused}", dir.display());
            assert!(report.passed, "{place}: {report:#?}");
        }
    }
}

#[test]
fn threads_of_a_rank_change_no_bit() {
    for name in [
        "llama-gqa-tied-bf16-llama3",
        "deepseek-v3-groups-bf16",
        "qwen3-5-moe-bf16",
    ] {
        let dir = graver_tests::fixtures().join(name);
        let tokens = golden(&dir).input_ids;
        let bits = |threads| {
            let mut session = open(&dir, PassOptions::default(), 2, threads);
            let (first, rest) = tokens.split_at(tokens.len() - 1);
            let mut out = session.feed(0, first, Wanted::All).unwrap().to_vec();
            out.extend_from_slice(&session.feed(0, rest, Wanted::All).unwrap());
            out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(bits(1), bits(3), "{name}");
    }
}

/// What is counted while ranks run is what is predicted from their graphs.
#[test]
fn ranks_bring_as_many_bytes_as_their_graphs_say() {
    let options = compile_options(PassOptions::default(), CacheType::F32);
    let loaded = tiny("llama");
    let summary = summarize("", &loaded, &options, None);
    let summary = summary.with_ranks(&loaded, &options, 3, None).unwrap();
    let decode = &summary.ranks.unwrap().steps[0];
    assert!(decode.meetings > 2, "{decode:?}");
    let mut session = open_ranks(loaded, &options, 3, SessionOptions::default()).unwrap();
    for steps in 1..3 {
        session.feed(0, &[5], Wanted::Last).unwrap();
        assert_eq!(session.brought_bytes(), steps * decode.brought_bytes);
    }
}

#[test]
fn the_largest_preset_is_planned_for_sixteen_ranks_without_weights() {
    let spec = spec::load(SpecSource::Builtin("deepseek_v3")).unwrap();
    let loaded = load_shapes(&spec, &spec.preset("671b").unwrap(), None).unwrap();
    let options = compile_options(PassOptions::default(), CacheType::F32);
    let machine = Machine {
        gbps: 200.0,
        gflops: 2000.0,
    };
    let link = Link {
        gbps: 12.5,
        latency_us: 5.0,
    };
    let alone = summarize("", &loaded, &options, Some(machine));
    let one = alone.steps[0].tokens_per_second.unwrap();
    let summary = alone.with_ranks(&loaded, &options, 16, Some(link)).unwrap();
    let ranks = summary.ranks.unwrap();
    // Twice in each layer, and where logits are gathered.
    assert_eq!(ranks.steps[0].meetings, 2 * 61 + 1);
    assert!(ranks.weight_bytes < summary.weight_bytes / 14);
    let all = ranks.steps[0].tokens_per_second.unwrap();
    assert!(all > 5.0 * one && all < 16.0 * one, "{all} against {one}");
}

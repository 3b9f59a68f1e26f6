//! Models that several ranks share: graphs and code of all ranks together against committed golden logits.

use std::path::{Path, PathBuf};

use graver::bench;
use graver::driver::{Loaded, code_of_ranks, open_ranks, plan_ranks};
use graver::interp::Interpreter;
use graver::passes::PassOptions;
use graver::shard::{Division, Method};
use graver::spec::{self, SpecSource};
use graver::summary::{Link, Machine, quickest, summarize};
use graver::verify::oracle::any_tokens;
use graver::verify::{Golden, TOLERANCE, against_golden};
use graver::weights::QuantChoice;
use graver_runtime::abi::{CacheType, Quant};
use graver_runtime::generate::Meetings;
use graver_runtime::profile::Profile;
use graver_runtime::ranks::{Shared, local};
use graver_runtime::session::{Session, SessionOptions, Wanted};
use graver_tests::{
    compile_for, compile_options, converted, fixture_folders, load_checkpoint, load_shapes,
    mixture, quantized, share, tiny,
};
use serde_json::Value;

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

fn open(dir: &Path, passes: PassOptions, division: impl Into<Division>, threads: usize) -> Session {
    let mut options = compile_options(passes, CacheType::F32);
    options.instruments.verified = true;
    let session = SessionOptions {
        threads: Some(threads),
        ..SessionOptions::default()
    };
    open_ranks(load_checkpoint(dir).unwrap(), &options, division, session).unwrap()
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

/// A prompt that is long enough for sums in bands: with threads that go on meanwhile, some are handed over early.
#[test]
fn sums_that_begin_early_change_no_bit() {
    for (name, ranks) in [
        ("llama", 2),
        ("qwen3_moe", 3),
        ("deepseek_v3", 2),
        ("cohere", 2),
    ] {
        for passes in [PassOptions::default(), unfused()] {
            let fused = !passes.no_fuse;
            let mut options = compile_options(passes, CacheType::F32);
            options.instruments.verified = true;
            let run = |threads| {
                let session = SessionOptions {
                    threads: Some(threads),
                    ..SessionOptions::default()
                };
                let mut session = open_ranks(tiny(name), &options, ranks, session).unwrap();
                let tokens = any_tokens(300, session.vocab());
                let out = session.feed(0, &tokens, Wanted::All).unwrap().to_vec();
                let bits: Vec<_> = out.into_iter().map(f32::to_bits).collect();
                (bits, session.meetings().unwrap())
            };
            let (alone, usual) = run(1);
            assert_eq!(usual.early_bytes, 0, "{name}");
            // The sums of parallel branches follow each other, and unfused none its own matmul.
            let begins_early = fused || name != "cohere";
            // The first thread of a busy machine may come too late for every chunk.
            let tries = if begins_early { 50 } else { 1 };
            let early = (0..tries).map(|_| run(2)).find(|(together, early)| {
                assert_eq!(alone, *together, "{name}, fused={fused}");
                (early.early_bytes > 0) == begins_early
            });
            let (_, early) = early.unwrap_or_else(|| panic!("{name}, fused={fused}"));
            let counted = |m: Meetings| (m.ranks, m.meetings, m.brought_bytes);
            assert_eq!(counted(early), counted(usual), "{name}, fused={fused}");
        }
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
        let met = session.meetings().unwrap();
        assert_eq!(met.brought_bytes, steps * decode.brought_bytes);
        assert_eq!(met.meetings, steps * decode.meetings);
    }
}

/// Logits of a prompt, read at once and then token by token.
fn logits(session: &mut Session, tokens: &[u32]) -> Vec<f32> {
    let (first, rest) = tokens.split_at(tokens.len() / 2);
    let mut out = session.feed(0, first, Wanted::All).unwrap().to_vec();
    for token in rest.chunks(1) {
        out.extend_from_slice(&session.feed(0, token, Wanted::All).unwrap());
    }
    out
}

/// That ranks compute what the whole model does. Roundings that fall the other way make differences, which are a hundred times smaller than
/// those that a wrong share makes.
fn ranks_agree(name: &str, load: &dyn Fn() -> Loaded) {
    let options = compile_options(PassOptions::default(), CacheType::F32);
    let tokens = any_tokens(24, load().model.vocab);
    let mut whole = compile_for(load(), false, 1);
    let reference = Golden {
        logits: logits(&mut whole, &tokens),
        input_ids: tokens.clone(),
        greedy_ids: vec![],
        greedy_gap: vec![],
    };
    for ranks in [2, 3] {
        let session = SessionOptions {
            threads: Some(1),
            ..SessionOptions::default()
        };
        let mut shared = open_ranks(load(), &options, ranks, session).unwrap();
        let found = reference.difference("", &logits(&mut shared, &tokens));
        let place = format!("{name} on {ranks} ranks");
        assert!(found.difference < 0.05, "{place}: {found}");
    }
}

#[test]
fn integers_are_shared_as_floats_are() {
    for name in ["llama-gqa-tied-bf16-llama3", "qwen3-moe-f32", "gpt-oss-f32"] {
        for quant in [Quant::Q8, Quant::Q4, Quant::Q4Super] {
            let choice = QuantChoice {
                layers: quant,
                head: quant,
            };
            let dir = graver_tests::fixtures().join(name);
            let load = || quantized(load_checkpoint(&dir).unwrap(), choice);
            ranks_agree(&format!("{name} in {quant}"), &load);
        }
    }
}

#[test]
fn ranks_share_what_a_gguf_file_has() {
    let files = converted::files();
    assert!(files.len() >= 90, "{files:?}");
    for path in &files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if share::has(&name) {
            ranks_agree(&name, &|| converted::open(path, false).unwrap());
        }
    }
}

/// Experts in blocks of every type are cut between panels and between groups.
#[test]
fn ranks_share_experts_in_blocks() {
    let file = mixture::written(mixture::FFN);
    let load = || mixture::load(file.path(), false);
    ranks_agree("a mixture in blocks", &load);
}

/// A server, and what joins several of them.
const HOST: Machine = Machine {
    gbps: 200.0,
    gflops: 2000.0,
};
const ETHERNET: Link = Link {
    gbps: 12.5,
    latency_us: 5.0,
};

/// DeepSeek V3 as it was published, without weights.
fn largest() -> Loaded {
    let spec = spec::load(SpecSource::Builtin("deepseek_v3")).unwrap();
    load_shapes(&spec, &spec.preset("671b").unwrap(), None).unwrap()
}

/// Ranks whose parts have the same shapes share code: what is compiled does not grow with their number.
#[test]
fn sixteen_ranks_of_the_largest_preset_are_compiled_as_two() {
    let loaded = largest();
    let options = compile_options(PassOptions::default(), CacheType::F32);
    let planned = plan_ranks(&loaded, &options, 16).unwrap();
    let code = code_of_ranks(&planned).unwrap();
    assert_eq!(code.programs.len(), 16);
    // The vocabulary does not divide by sixteen panels: half of the ranks have one more.
    assert_eq!(code.compiled, 2);
    let blocks = planned[0]
        .model
        .programs
        .iter()
        .flat_map(|p| &p.schedule.blocks);
    let functions: usize = blocks.map(|b| b.kernels.len()).sum();
    assert!(functions < 150, "{functions} kernels for a rank");
    for (rank, program) in code.programs.iter().enumerate() {
        assert_eq!(program.manifest().rank.unwrap().rank, rank);
    }
}

/// Where there is much to read, all should read; where there is little, they should not meet for it.
#[test]
fn the_quickest_plan_depends_on_what_there_is_to_share() {
    let (loaded, options) = (
        largest(),
        compile_options(PassOptions::default(), CacheType::F32),
    );
    let chosen = quickest(&loaded, &options, 8, (HOST, ETHERNET)).unwrap();
    assert_eq!(chosen, Method::Tensor);
    let small = tiny("llama");
    let chosen = quickest(&small, &options, 2, (HOST, ETHERNET)).unwrap();
    assert_eq!(chosen, Method::Pipeline);
}

#[test]
fn the_largest_preset_is_planned_for_sixteen_ranks_without_weights() {
    let loaded = largest();
    let options = compile_options(PassOptions::default(), CacheType::F32);
    let alone = summarize("", &loaded, &options, Some(HOST));
    let one = alone.steps[0].tokens_per_second.unwrap();
    let summary = alone
        .with_ranks(&loaded, &options, 16, Some(ETHERNET))
        .unwrap();
    let ranks = summary.ranks.unwrap();
    // Twice in each layer, and where logits are gathered.
    assert_eq!(ranks.steps[0].meetings, 2 * 61 + 1);
    assert!(ranks.weight_bytes < summary.weight_bytes / 14);
    let all = ranks.steps[0].tokens_per_second.unwrap();
    assert!(all > 5.0 * one && all < 16.0 * one, "{all} against {one}");
}

/// Whatever ranks do beside computing shows in one trace: a group of rows for each, and what its time went into.
#[test]
fn a_trace_has_all_ranks_and_accounts_for_their_time() {
    let options = compile_options(PassOptions::default(), CacheType::F32);
    let session = SessionOptions {
        threads: Some(1),
        profile: true,
        ..SessionOptions::default()
    };
    let mut session = open_ranks(tiny("llama"), &options, 3, session).unwrap();
    session.feed(0, &[1, 2, 3], Wanted::Last).unwrap();
    session.reset_profile();
    for token in 0..20 {
        session.feed(0, &[token], Wanted::Last).unwrap();
    }
    let profiles = session.profiles().unwrap();
    assert_eq!(profiles.len(), 3);
    for (rank, profile) in profiles.iter().enumerate() {
        let decode = &profile.programs[0];
        assert_eq!(decode.steps, 20, "rank {rank}");
        let parts = decode.breakdown();
        let share = parts.total_ns() as f64 / decode.wall_ns as f64;
        assert!(
            (0.9..1.1).contains(&share),
            "rank {rank}: {parts} of {share}"
        );
        assert!(
            parts.compute_ns > 0 && parts.collectives_ns > 0,
            "rank {rank}: {parts}"
        );
        assert!(parts.ranks_ns > 0, "rank {rank}: {parts}");
    }
    let mut text = vec![];
    Profile::write_traces(&profiles, &mut text).unwrap();
    let trace: Value = serde_json::from_slice(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    for rank in 0..3 {
        let of_rank = || events.iter().filter(move |e| e["pid"] == rank + 1);
        let group = of_rank().find(|e| e["name"] == "process_name").unwrap();
        assert_eq!(group["args"]["name"], format!("rank {rank}"));
        let collective = |e: &&Value| e["args"]["op"] == "all_reduce" && e["cat"] != "wait";
        // Twice in each of three layers and twenty steps, and on from the midst of each.
        let collectives = of_rank().filter(collective).count();
        assert_eq!(collectives, 2 * 2 * 3 * 20, "rank {rank}");
    }
    let others = trace["otherData"]["ranks"].as_array().unwrap();
    assert_eq!(others.len(), 3);
}

/// The threads of ranks are bound to processors of their own, as far as there are any.
#[test]
fn bench_measures_ranks_beside_each_other() {
    let options = compile_options(PassOptions::default(), CacheType::F32);
    let point = bench::Point {
        phase: bench::Phase::Decode,
        tokens: 4,
        depth: 4,
        sequences: 1,
    };
    let settings = bench::Settings {
        rounds: 1,
        threads: 1,
        division: 2.into(),
        others: None,
    };
    let variants = [
        bench::fused(&PassOptions::default()),
        bench::profiled(&PassOptions::default()),
    ];
    let loaded = tiny("llama");
    let report = bench::run(
        "tiny",
        loaded,
        &options,
        &variants,
        &[point],
        settings,
        &|_, _| {},
    );
    let report = report.unwrap().expect("this process has the report");
    assert_eq!((report.ranks, report.threads), (2, 1));
    assert_eq!(report.profiles.len(), 2);
    assert!(report.points[0].variants[0].tokens_per_second > 0.0);
    assert!(
        report.to_string().contains("2 ranks of 1 thread"),
        "{report}"
    );
}

/// Ranks that each run on their own, as processes do: the first one has the report, with what all of them reach.
#[test]
fn bench_measures_ranks_that_call_it_alike() {
    let point = |phase, tokens| bench::Point {
        phase,
        tokens,
        depth: 4,
        sequences: 1,
    };
    let points = [
        point(bench::Phase::Prefill, 40),
        point(bench::Phase::Decode, 4),
    ];
    let variants = [
        bench::fused(&PassOptions::default()),
        bench::unfused(),
        bench::profiled(&PassOptions::default()),
    ];
    let of_rank = |rank: local::LocalRank| {
        let settings = bench::Settings {
            rounds: 1,
            threads: 1,
            division: 2.into(),
            others: Some(Shared::new(Box::new(rank))),
        };
        let options = compile_options(PassOptions::default(), CacheType::F32);
        let (loaded, quiet) = (tiny("llama"), |_: &str, _: f64| {});
        bench::run(
            "tiny", loaded, &options, &variants, &points, settings, &quiet,
        )
        .unwrap()
    };
    let reports = std::thread::scope(|scope| {
        let started = local::ranks(2).into_iter();
        let started = started.map(|rank| scope.spawn(|| of_rank(rank)));
        let started: Vec<_> = started.collect();
        started
            .into_iter()
            .map(|t| t.join().unwrap())
            .collect::<Vec<_>>()
    });
    let [Some(report), None] = &reports[..] else {
        panic!("{reports:?}")
    };
    assert_eq!((report.ranks, report.points.len()), (2, 2));
    assert_eq!(report.profiles.len(), 2);
    for point in &report.points {
        assert_eq!(point.variants.len(), 3);
        assert!(point.variants.iter().all(|v| v.tokens_per_second > 0.0));
    }
}

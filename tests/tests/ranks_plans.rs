//! The ways to share a model that have to be asked for: experts dealt out whole, and layers.

use std::path::{Path, PathBuf};

use graver::driver::{open_ranks, plan_ranks};
use graver::interp::Interpreter;
use graver::passes::PassOptions;
use graver::shard::{Division, Method, RanksError, Sharding};
use graver::verify::{Golden, TOLERANCE, against_golden};
use graver_runtime::abi::CacheType;
use graver_runtime::session::{SessionOptions, Wanted};
use graver_tests::{compile_options, fixture_folders, fixtures, load_checkpoint, share, tiny};

fn golden_folders() -> Vec<PathBuf> {
    let mut folders = fixture_folders();
    folders.retain(|d| d.join("golden.safetensors").exists());
    folders
}

/// Those that fall to this run.
fn of_this_run(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    folders.retain(|d| share::has(&d.file_name().unwrap_or_default().to_string_lossy()));
    folders
}

/// Folders of models with experts.
fn folders_with_experts() -> Vec<PathBuf> {
    let has_experts = |dir: &PathBuf| {
        let config = std::fs::read_to_string(dir.join("config.json")).unwrap();
        config.contains("expert")
    };
    let mut folders = golden_folders();
    folders.retain(has_experts);
    assert!(folders.len() >= 25, "only {} fixtures", folders.len());
    folders
}

fn passes(fused: bool) -> PassOptions {
    PassOptions {
        no_fuse: !fused,
        ..PassOptions::default()
    }
}

/// Whether the graphs of all ranks, evaluated together, have the logits of the reference on every rank, and what the first rank's look like;
/// nothing where the model cannot be shared so.
fn graphs_match(dir: &Path, division: Division) -> Option<String> {
    let golden = Golden::open(&dir.join("golden.safetensors")).unwrap();
    let options = compile_options(passes(false), CacheType::F32);
    let loaded = load_checkpoint(dir).unwrap();
    let planned = plan_ranks(&loaded, &options, division).ok()?;
    let slots: Vec<_> = planned.iter().map(|p| p.weights.slots()).collect();
    let of_rank = planned.iter().zip(&slots);
    let of_rank = of_rank.map(|(p, slots)| (&p.model.programs[1].program, slots as _));
    let logits = Interpreter::of_ranks(of_rank).step_of_ranks(&golden.input_ids);
    let place = format!("{}, {division:?}", dir.display());
    for own in &logits {
        let found = golden.difference("", own);
        assert!(found.difference <= TOLERANCE, "{place}: {found}");
        assert!(*own == logits[0], "{place}: ranks have other bits");
    }
    Some(planned[0].model.programs[0].program.to_string())
}

/// Whether code has the logits of the reference.
fn code_matches(dir: &Path, division: Division, fused: bool) {
    let path = dir.join("golden.safetensors");
    let mut options = compile_options(passes(fused), CacheType::F32);
    options.instruments.verified = true;
    let session = SessionOptions {
        threads: Some(1),
        ..SessionOptions::default()
    };
    let session = open_ranks(load_checkpoint(dir).unwrap(), &options, division, session);
    let report = against_golden(&mut session.unwrap(), &Golden::open(&path).unwrap(), &path);
    let (place, report) = (dir.display(), report.unwrap());
    assert!(
        report.passed,
        "{place}, {division:?}, fused={fused}: {report:#?}"
    );
}

#[test]
fn experts_that_are_dealt_out_have_the_logits_of_the_reference() {
    let method = Method::Expert;
    let mut dealt_out = 0;
    for dir in of_this_run(folders_with_experts()) {
        for ranks in 2..=4 {
            let text = graphs_match(&dir, Division { ranks, method }).unwrap();
            dealt_out += usize::from(text.contains("own="));
        }
        code_matches(&dir, Division { ranks: 2, method }, true);
        code_matches(&dir, Division { ranks: 3, method }, false);
    }
    assert!(dealt_out > 0, "no model was dealt out");
}

#[test]
fn layers_that_are_dealt_out_have_the_logits_of_the_reference() {
    let method = Method::Pipeline;
    let mut dealt_out = 0;
    for dir in of_this_run(golden_folders()) {
        for ranks in [2, 3] {
            let division = Division { ranks, method };
            let Some(text) = graphs_match(&dir, division) else {
                continue;
            };
            assert!(text.contains("hand_over"), "{}", dir.display());
            code_matches(&dir, division, ranks == 2);
            dealt_out += 1;
        }
    }
    assert!(dealt_out > 0, "no model was dealt out");
}

/// Layers that attend to keys which a layer before has picked are on that one's rank, so that such a model goes to fewer ranks.
#[test]
fn layers_stay_with_the_one_that_picks_for_them() {
    let dir = fixtures().join("glm-moe-dsa-bf16");
    let method = Method::Pipeline;
    let text = graphs_match(&dir, Division { ranks: 2, method }).unwrap();
    assert!(text.contains("hand_over"), "{text}");
    code_matches(&dir, Division { ranks: 2, method }, true);

    let options = compile_options(PassOptions::default(), CacheType::F32);
    let loaded = load_checkpoint(&dir).unwrap();
    let planned = plan_ranks(&loaded, &options, Division { ranks: 3, method });
    let error = planned
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(error.contains("at most 2"), "{error}");
}

/// Runs are even by bytes of weights, and a prompt of several steps goes through them while ranks are at different ones.
#[test]
fn steps_follow_each_other_through_ranks() {
    let options = compile_options(PassOptions::default(), CacheType::F32);
    let (ranks, method) = (3, Method::Pipeline);
    let tokens: Vec<u32> = (0..500).map(|i| i * 7 % 211).collect();
    let logits = |division: Division| {
        let session = SessionOptions {
            threads: Some(1),
            ..SessionOptions::default()
        };
        let session = open_ranks(tiny("llama"), &options, division, session);
        let mut session = session.unwrap();
        for tokens in tokens.chunks(40) {
            session.feed(0, tokens, Wanted::None).unwrap();
        }
        session.feed(0, &[1], Wanted::Last).unwrap().to_vec()
    };
    let (whole, shared) = (logits(1.into()), logits(Division { ranks, method }));
    let most = |v: &[f32]| v.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
    let differences: Vec<f32> = whole.iter().zip(&shared).map(|(a, b)| a - b).collect();
    assert!(most(&differences) < 1e-4 * most(&whole));
}

#[test]
fn more_ranks_than_layers_are_refused_with_both_numbers() {
    let options = compile_options(PassOptions::default(), CacheType::F32);
    let loaded = tiny("llama");
    let planned = plan_ranks(&loaded, &options, 3).unwrap();
    assert_eq!(planned.len(), 3);
    let (ranks, method) = (4, Method::Pipeline);
    let program =
        graver::driver::plain_program(&loaded, graver::graph::ProgramKind::Decode, CacheType::F32);
    let refused = Sharding::plan(&program, Division { ranks, method }).unwrap_err();
    let (layers, most) = (3, 3);
    assert_eq!(
        refused,
        RanksError::Layers {
            ranks,
            layers,
            most
        }
    );
}

//! Committed golden logits: every path, fused and unfused, with one and two threads.

use std::path::Path;

use graver::spec;
use graver::verify::{Golden, against_golden};
use graver_tests::{compile_for, fixtures, load_checkpoint};

fn check(dir: &Path, no_fuse: bool, threads: usize) {
    let golden_path = dir.join("golden.safetensors");
    let golden = Golden::open(&golden_path).unwrap();
    let loaded = load_checkpoint(dir).unwrap();
    let mut session = compile_for(loaded, no_fuse, threads);
    let report = against_golden(&mut session, &golden, &golden_path).unwrap();
    assert!(
        report.passed,
        "{} no_fuse={no_fuse} threads={threads}: {report:#?}",
        dir.display()
    );
    assert!(
        report.greedy_counted > 0,
        "{}: no greedy step counts",
        dir.display()
    );
}

/// The fixtures of every family that has a spec.
#[test]
fn fixtures_match_the_reference() {
    let mut checked = 0;
    let mut dirs: Vec<_> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|d| d.unwrap().path())
        .collect();
    dirs.sort();
    for dir in dirs
        .iter()
        .filter(|d| d.join("golden.safetensors").exists())
    {
        let config = spec::read_config(&dir.join("config.json")).unwrap();
        spec::for_config(&config).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for (no_fuse, threads) in [(false, 1), (false, 2), (true, 2)] {
            check(dir, no_fuse, threads);
        }
        checked += 1;
    }
    assert!(checked >= 12, "only {checked} fixtures");
}

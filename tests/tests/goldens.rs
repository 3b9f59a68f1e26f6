//! Committed golden logits: every path, fused and unfused, with one and two threads.

use std::path::Path;

use graver::spec;
use graver::verify::{Golden, against_golden};
use graver_runtime::session::Session;
use graver_tests::{Compiled, fixture_folders, load_checkpoint};

fn check(dir: &Path, no_fuse: bool, counts: &[usize]) {
    let compiled = Compiled::new(load_checkpoint(dir).unwrap(), no_fuse);
    for threads in counts {
        let mut session = compiled.session(*threads);
        check_session(
            dir,
            &mut session,
            &format!("no_fuse={no_fuse} threads={threads}"),
        );
    }
}

fn check_session(dir: &Path, session: &mut Session, how: &str) {
    let golden_path = dir.join("golden.safetensors");
    let golden = Golden::open(&golden_path).unwrap();
    let report = against_golden(session, &golden, &golden_path).unwrap();
    assert!(report.passed, "{} {how}: {report:#?}", dir.display());
    assert!(
        report.greedy_counted > 0,
        "{}: no greedy step counts",
        dir.display()
    );
}

/// Every fixture of a family that has a spec.
fn check_all(no_fuse: bool, counts: &[usize]) {
    let mut checked = 0;
    let folders = fixture_folders().into_iter();
    for dir in folders.filter(|d| d.join("golden.safetensors").exists()) {
        let config = spec::read_config(&dir.join("config.json")).unwrap();
        spec::for_config(&config).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        check(&dir, no_fuse, counts);
        checked += 1;
    }
    assert!(checked >= 80, "only {checked} fixtures");
}

#[test]
fn fixtures_match_the_reference() {
    check_all(false, &[1, 2]);
}

#[test]
fn fixtures_match_the_reference_unfused() {
    check_all(true, &[2]);
}

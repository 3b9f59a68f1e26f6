//! Inputs of the fuzz targets that are known beforehand: those that were findings once, and the seeds that fall to this run ([`share`]).

use std::fs;
use std::path::{Path, PathBuf};

use graver_tests::fuzz::{TARGETS, Target, regressions};
use graver_tests::share;

/// The folder's files by name; none where there is no folder.
fn kept(target: &Target) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(regressions(target.name)) else {
        return vec![];
    };
    let mut files: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    let named = |path: &PathBuf| path.display().to_string();
    files
        .iter()
        .map(|path| (named(path), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn inputs_that_were_findings() {
    for target in TARGETS {
        for (name, input) in kept(&target) {
            let failed = std::panic::catch_unwind(|| (target.check)(&input)).is_err();
            assert!(!failed, "{name}");
        }
    }
}

#[test]
fn seeds() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        for (i, seed) in seeds.iter().enumerate() {
            let case = format!("{}, seed {i}", target.name);
            if share::has(&case) {
                let failed = std::panic::catch_unwind(|| (target.check)(seed)).is_err();
                assert!(!failed, "{case}");
            }
        }
    }
}

/// A target that is not in the list is neither run by `tests/fuzz/run` nor replayed here.
#[test]
fn every_target_has_a_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| {
            e.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    files.sort();
    let mut names = TARGETS.map(|t| t.name);
    names.sort_unstable();
    assert_eq!(files, names);
}

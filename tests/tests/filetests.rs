//! The filetests, one test for each area; `BLESS=1` rewrites their expectations.

use graver::passes::PASSES;
use graver_tests::filetest::{check_area, files};

#[test]
fn passes() {
    check_area("pass");
}

#[test]
fn verifier() {
    check_area("verify");
}

#[test]
fn schedules() {
    check_area("schedule");
}

#[test]
fn sharding() {
    check_area("shard");
}

#[test]
fn memory() {
    check_area("memory");
}

/// A pass that only ever fires, or never, is tested by half.
#[test]
fn every_pass_has_a_file_where_it_fires_and_a_twin_where_it_does_not() {
    let texts: Vec<String> = files("pass")
        .iter()
        .map(|f| std::fs::read_to_string(f).expect("a file"))
        .collect();
    for pass in PASSES {
        let of = |t: &&String| t.split_whitespace().nth(1) == Some(pass.name);
        let fires = |t: &String| {
            t.split("\n---\n")
                .nth(1)
                .is_some_and(|out| out.contains("fused "))
        };
        assert!(
            texts.iter().filter(of).any(fires),
            "no file where {} fires",
            pass.name
        );
        assert!(
            texts.iter().filter(of).any(|t| !fires(t)),
            "no file where {} does not fire",
            pass.name
        );
    }
}

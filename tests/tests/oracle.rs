//! The tiny presets of those built-in specs that fall to this run ([`share`]): compiled code and graphs, after every pass, against the plain interpreter.

use graver::driver::CompileOptions;
use graver::spec;
use graver::verify::oracle::{against_interpreter, any_tokens};
use graver_tests::{share, tiny};

/// More than one tile of queries, and more than one step of decode.
const TOKENS: usize = 70;

#[test]
fn every_pass_keeps_the_logits_of_every_spec() {
    let options = CompileOptions::native().unwrap();
    for name in spec::builtin_names()
        .into_iter()
        .filter(|name| share::has(name))
    {
        let loaded = tiny(name);
        let tokens = any_tokens(TOKENS, loaded.model.vocab);
        let report = against_interpreter(loaded, &options, &tokens, Some(1), &mut |_| {});
        let report = report.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(report.passed, "{name}:\n{report}");
        let fused = report.passes.iter().filter(|p| p.changed).count();
        assert!(
            fused > 3,
            "{name}: only {fused} passes did anything\n{report}"
        );
    }
}

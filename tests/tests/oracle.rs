//! The tiny presets of those built-in specs that fall to this run ([`share`]): compiled code and graphs, after every pass, against the plain interpreter.

use graver::driver::CompileOptions;
use graver::spec::{self, SpecSource};
use graver::verify::TOLERANCE;
use graver::verify::oracle::{against_interpreter, any_tokens};
use graver_tests::{load_config, share, tiny};

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

/// The layers of this one hand on what they made of roundings, larger each time: bits that are off by one move its logits by half of what is
/// usually allowed, so that code, whose sums round at every term, may be off by more than that.
#[test]
fn a_model_that_makes_much_of_roundings_is_measured_by_what_they_do() {
    let spec = spec::load(SpecSource::Builtin("zamba2")).unwrap();
    let mut config = spec.preset("tiny").unwrap();
    config["num_hidden_layers"] = 8.into();
    let options = CompileOptions::native().unwrap();
    for seed in [4, 8] {
        let loaded = load_config(&spec, config.clone(), seed).unwrap();
        let tokens = any_tokens(80, loaded.model.vocab);
        let report = against_interpreter(loaded, &options, &tokens, Some(1), &mut |_| {}).unwrap();
        assert!(report.passed, "{report}");
        assert_eq!(report.rounding.is_some(), report.largest > TOLERANCE);
        let said = report.to_string().contains("roundings of its own values");
        assert_eq!(said, report.rounding.is_some());
    }
}

//! `graver explain`: its text for some specs, and what holds for all of them. `BLESS=1` rewrites the texts.

use std::path::Path;

use graver::explain::{Explanation, explain};
use graver::passes::{PASSES, PassOptions};
use graver::spec::{self, SpecSource};
use graver_runtime::abi::CacheType;
use graver_tests::load_shapes;

fn explained(name: &str, preset: &str, passes: &PassOptions) -> Explanation {
    let spec = spec::load(SpecSource::Builtin(name)).unwrap();
    let config = spec.preset(preset).unwrap();
    let loaded = load_shapes(&spec, &config, None).unwrap();
    explain(&loaded, passes, CacheType::F32)
}

fn check_text(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("explain/{name}.txt"));
    let found = explained(name, "tiny", &PassOptions::default()).to_string();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    let hint = "where the change is meant, BLESS=1 rewrites the text";
    assert_eq!(found, expected, "{}: {hint}", file.display());
}

#[test]
fn llama_reads_so() {
    check_text("llama");
}

/// Norms after their sublayers, and QK-norm over the whole projection: most of what is not fused.
#[test]
fn olmo2_reads_so() {
    check_text("olmo2");
}

/// Experts chosen by a router.
#[test]
fn qwen3_moe_reads_so() {
    check_text("qwen3_moe");
}

/// Latent attention, experts with a shared one.
#[test]
fn deepseek_v3_reads_so() {
    check_text("deepseek_v3");
}

#[test]
fn every_spec_names_every_pass_with_places_and_reasons() {
    for name in spec::builtin_names() {
        let spec = spec::load(SpecSource::Builtin(name)).unwrap();
        for preset in spec.presets() {
            let text = explained(name, preset, &PassOptions::default());
            let names: Vec<_> = text.passes.iter().map(|p| p.pass).collect();
            let all: Vec<_> = PASSES.iter().map(|p| p.name).collect();
            assert_eq!(names, all, "{name} {preset}");
            for c in text.passes.iter().flat_map(|p| &p.candidates) {
                let blocks = ["embed.", "layers.", "head."];
                let known = blocks.iter().any(|b| c.at.starts_with(b));
                assert!(known && !c.at.ends_with('.'), "{name} {preset}: {c:?}");
                assert!(c.reason.len() > 5, "{name} {preset}: {c:?}");
            }
            let fewer = |t: &graver::explain::Totals| t.fused.kernels < t.plain.kernels;
            assert!(text.programs.iter().all(fewer), "{name} {preset}");
        }
    }
}

#[test]
fn a_pass_that_is_off_is_listed_as_off() {
    let off = PassOptions {
        disabled: vec!["norm-prologue".into()],
        ..PassOptions::default()
    };
    let text = explained("llama", "tiny", &off);
    let story = text.passes.iter().find(|p| p.pass == "norm-prologue");
    let story = story.unwrap();
    assert!(!story.enabled && story.candidates.is_empty());
    assert!(
        story
            .to_string()
            .starts_with("norm-prologue (switched off): ")
    );
}

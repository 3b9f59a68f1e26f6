//! `graver inspect`: published sizes, and what holds for every spec.

use graver::codegen::{Instruments, Target};
use graver::comparison::compare;
use graver::cost::{self, Step};
use graver::driver::{CompileOptions, Loaded, plain_program, plan_program};
use graver::graph::ProgramKind;
use graver::passes::PassOptions;
use graver::spec::{self, SpecSource};
use graver::summary::{Machine, Summary, summarize};
use graver_runtime::abi::CacheType;
use graver_tests::load_shapes;

fn load(name: &str, preset: &str) -> Loaded {
    let spec = spec::load(SpecSource::Builtin(name)).unwrap();
    let config = spec.preset(preset).unwrap();
    load_shapes(&spec, &config, None).unwrap()
}

fn summary(name: &str, preset: &str) -> Summary {
    let options = CompileOptions::new(
        PassOptions::default(),
        CacheType::F32,
        Target::named("native").unwrap(),
    );
    let machine = Machine {
        gbps: 20.0,
        gflops: 50.0,
    };
    summarize(
        &format!("{name} {preset}"),
        &load(name, preset),
        &options,
        Some(machine),
    )
}

/// Counts that the models' publishers state, a tied head counted once.
#[test]
fn parameters_are_those_published() {
    let published = [
        ("llama", "3.1-8b", 8_030_261_248),
        ("llama", "3.2-1b", 1_235_814_400),
        ("llama", "smollm2-135m", 134_515_008),
        ("gpt2", "124m", 124_439_808),
        ("qwen3_moe", "30b-a3b", 30_532_122_624),
    ];
    for (name, preset, expected) in published {
        assert_eq!(
            summary(name, preset).parameters,
            expected,
            "{name} {preset}"
        );
    }
}

/// 32 layers, 8 heads of 128, keys and values, four bytes; a quarter of what 32 heads would take.
#[test]
fn state_is_that_of_the_key_heads() {
    let state = summary("llama", "3.1-8b").state;
    assert_eq!(state.bytes_per_token, 32 * 8 * 128 * 2 * 4);
    assert_eq!(state.mha_bytes_per_token, 4 * state.bytes_per_token);
    assert_eq!(state.at[0].bytes, 1024 * state.bytes_per_token);
}

#[test]
fn every_spec_sums_up() {
    for name in spec::builtin_names() {
        let spec = spec::load(SpecSource::Builtin(name)).unwrap();
        for preset in spec.presets() {
            let s = summary(name, preset);
            assert!(s.active_parameters <= s.parameters, "{name} {preset}");
            // State grows with the sequence, or is of one size.
            let keeps = s.state.bytes_per_token > 0 || s.state.at.iter().all(|a| a.bytes > 0);
            assert!(!s.steps.is_empty() && keeps, "{name} {preset}");
            let text = s.to_string();
            for many in [
                " 1 heads",
                " 1 key heads",
                " 1 layers",
                " 1 kernels",
                " 1 barriers",
            ] {
                assert!(!text.contains(many), "{name} {preset}:{many}\n{text}");
            }
            for step in &s.steps {
                // Every parameter that is read is multiplied and added at least once for each token, but rows of tables.
                assert!(
                    step.cost.flops > step.cost.parameters,
                    "{name} {preset}: {step}"
                );
                let speed = step.tokens_per_second.unwrap();
                assert!(speed.is_finite() && speed > 0.0, "{name} {preset}: {step}");
            }
        }
    }
}

#[test]
fn a_model_beside_itself_differs_in_nothing() {
    let both = compare(summary("llama", "tiny"), summary("llama", "tiny"));
    assert!(both.rows.iter().all(|r| r.same), "{both}");
    let other = compare(summary("llama", "tiny"), summary("gpt2", "tiny"));
    let differs = |name: &str| other.rows.iter().any(|r| r.name == name && !r.same);
    assert!(differs("positions") && differs("feed-forward"), "{other}");
}

/// Fusion saves passes over activations, not arithmetic and not weights.
#[test]
fn fused_and_unfused_do_the_same_arithmetic() {
    let loaded = load("llama", "tiny");
    let cost = |no_fuse| {
        let passes = PassOptions {
            no_fuse,
            ..PassOptions::default()
        };
        let plain = plain_program(&loaded, ProgramKind::Prefill, CacheType::F32);
        cost::total(&cost::kernels(
            &plan_program(plain, &passes, Instruments::default()).0,
            Step::prefill(128, 0),
        ))
    };
    let (plain, fused) = (cost(true), cost(false));
    assert_eq!(plain.flops, fused.flops);
    assert_eq!(plain.weight_bytes, fused.weight_bytes);
    assert!(fused.activation_bytes < plain.activation_bytes);
}

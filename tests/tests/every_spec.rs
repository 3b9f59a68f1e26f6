//! Every built-in spec: the same bits for any number of threads, and the interpreter's logits, fused and not.

use std::path::Path;

use graver::driver::plain_program;
use graver::graph::ProgramKind;
use graver::interp::Interpreter;
use graver::passes::PassOptions;
use graver::spec;
use graver_runtime::abi::CacheType;
use graver_runtime::session::{Session, Wanted};
use graver_tests::{Compiled, compile_for, tiny};

/// Logits of a prompt, of a few tokens more, and of one: prefill, and decode with one token and several,
/// after more keys than one thread takes at once.
fn logits(session: &mut Session) -> Vec<f32> {
    let vocab = session.vocab() as u32;
    let tokens: Vec<u32> = (0..330).map(|i| (i * i * 31 + i * 7 + 5) % vocab).collect();
    let mut out = vec![];
    for run in [
        &tokens[..290],
        &tokens[290..295],
        &tokens[295..296],
        &tokens[296..],
    ] {
        let logits = session.feed(0, run, Wanted::All).unwrap();
        out.extend_from_slice(logits.values());
    }
    out
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for name in spec::builtin_names() {
        for no_fuse in [false, true] {
            let compiled = Compiled::new(tiny(name), no_fuse);
            let one = logits(&mut compiled.session(1));
            assert!(one.iter().all(|v| v.is_finite()), "{name}");
            let counts = if no_fuse { 3..=3 } else { 2..=4 };
            for threads in counts {
                let many = logits(&mut compiled.session(threads));
                let at = one
                    .iter()
                    .zip(&many)
                    .position(|(a, b)| a.to_bits() != b.to_bits());
                assert_eq!(at, None, "{name} no_fuse={no_fuse} threads={threads}");
            }
        }
    }
}

/// Largest difference in standard deviations.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let n = b.len() as f32;
    let mean = b.iter().sum::<f32>() / n;
    let deviation = (b.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
    let most = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    most.fold(0.0, f32::max) / deviation
}

#[test]
fn compiled_code_agrees_with_the_interpreter() {
    for name in spec::builtin_names() {
        let loaded = tiny(name);
        let mut program = plain_program(&loaded, ProgramKind::Decode, CacheType::F32);
        let vocab = loaded.model.vocab as u32;
        let tokens: Vec<u32> = (0..24).map(|i| (i * i * 31 + i * 7 + 5) % vocab).collect();
        let bytes = loaded.weights.slots();
        let expected = Interpreter::new(&program, &bytes).step(&tokens);
        graver::passes::run(&mut program, &PassOptions::default());
        let fused = Interpreter::new(&program, &bytes).step(&tokens);
        assert!(distance(&fused, &expected) < 1e-4, "{name}: passes");
        for no_fuse in [false, true] {
            let mut session = compile_for(tiny(name), no_fuse, 2);
            for runs in [vec![24], vec![5, 1, 18], vec![1; 24]] {
                session.reset(0).unwrap();
                let (mut found, mut at) = (vec![], 0);
                for run in runs {
                    let step = session.feed(0, &tokens[at..at + run], Wanted::All);
                    found.extend_from_slice(step.unwrap().values());
                    at += run;
                }
                let far = distance(&found, &expected);
                assert!(far < 1e-4, "{name} no_fuse={no_fuse}: {far}");
            }
        }
    }
}

/// A spec is read by people: 120 lines, and 40 for one that extends another.
#[test]
fn specs_are_short() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs");
    for name in spec::builtin_names() {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let most = if text.contains("\"extends\"") {
            40
        } else {
            120
        };
        assert!(
            text.lines().count() < most,
            "{name}: {}",
            text.lines().count()
        );
    }
}

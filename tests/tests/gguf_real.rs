//! Real GGUF files, in the folder that `GRAVER_MODELS` names: what rounding activations to int8 loses, against float32 on the
//! dequantised weights.
#![allow(clippy::print_stderr, reason = "tests that cannot run here say so")]

use std::path::{Path, PathBuf};

use graver::divergence::{Bounds, Reference, against_reference};
use graver::driver::{ModelSource, Purpose, load};
use graver_runtime::session::Session;
use graver_tests::compile_for;

/// Tokens that the comparison goes over.
const TOKENS: usize = 64;

fn open(path: &Path, floats: bool) -> Session {
    let source = ModelSource::Gguf {
        path,
        spec: None,
        floats,
    };
    let loaded = load(&source, Purpose::Run, None, &|_, _, _| {}).unwrap();
    if !floats {
        let left: Vec<_> = loaded.weights.widened.iter().map(|w| w.storage).collect();
        assert!(left.is_empty(), "no packed layout: {left:?}");
    }
    compile_for(loaded, false, 2)
}

fn compare(name: &str, first: u32, bounds: Bounds) {
    let path = std::env::var_os("GRAVER_MODELS").map(|dir| PathBuf::from(dir).join(name));
    let Some(path) = path.filter(|path| path.is_file()) else {
        eprintln!("skipped: GRAVER_MODELS names no folder with {name}");
        return;
    };
    let reference = Reference::drawn(&mut open(&path, true), first, TOKENS, 1).unwrap();
    let report = against_reference(&mut open(&path, false), &reference, bounds).unwrap();
    for path in &report.paths {
        let (kl, top1, clear) = (path.mean_kl, path.top1, path.clear_top1);
        eprintln!(
            "{name}, {}: mean KL {kl:.5}, same top token {top1:.3}, where it leads clearly {clear:.3}",
            path.path
        );
    }
    assert!(report.passed, "{report:?}");
}

/// Q4_1 in its layers, Q8_0 in the embedding.
#[test]
fn the_first_real_model_stays_close_to_floats() {
    let (mean_kl, top1) = (0.02, 0.95);
    compare(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        1,
        Bounds { mean_kl, top1 },
    );
}

/// Q5_0, Q4_K, Q6_K and Q8_0.
#[test]
fn the_second_real_model_stays_close_to_floats() {
    let (mean_kl, top1) = (0.02, 0.95);
    compare("gemma-3-270m.Q4_K_M.gguf", 2, Bounds { mean_kl, top1 });
}

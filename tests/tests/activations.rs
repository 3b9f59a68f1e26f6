//! Activations rounded to bf16 in prefill: compiled code against the interpreter, fused and not, and decode as it was.

use std::path::Path;

use graver::driver::{self, Activations, CompileOptions, Loaded};
use graver::interp::Interpreter;
use graver::passes::PassOptions;
use graver::verify::Golden;
use graver_runtime::abi::CacheType;
use graver_runtime::session::{Session, SessionOptions, Wanted};
use graver_tests::{compile_options, fixtures, load_checkpoint};

/// Joined projections, experts with a router that is not rounded, latents, gates, recurrences, biases, a head that is not tied.
const CHECKPOINTS: [&str; 7] = [
    "llama-gqa-tied-bf16-llama3",
    "qwen3-moe-window-bf16",
    "deepseek-v3-groups-bf16",
    "gemma2-window-bf16",
    "nemotron-h-bf16",
    "phi-bf16",
    "qwen3-next-bf16",
];

fn loaded(dir: &Path) -> Loaded {
    let loaded = load_checkpoint(dir).unwrap();
    loaded.with_activations(Activations::Bf16).unwrap()
}

fn options(no_fuse: bool) -> CompileOptions {
    let passes = PassOptions {
        no_fuse,
        ..PassOptions::default()
    };
    compile_options(passes, CacheType::F32)
}

fn session(loaded: Loaded, options: &CompileOptions, threads: usize) -> Session {
    let session = SessionOptions {
        threads: Some(threads),
        ..SessionOptions::default()
    };
    driver::open(loaded, options, session).unwrap()
}

fn feed(session: &mut Session, tokens: &[u32]) -> Vec<f32> {
    session.feed(0, tokens, Wanted::All).unwrap().to_vec()
}

fn each(mut check: impl FnMut(&Path, &[u32])) {
    for name in CHECKPOINTS {
        let dir = fixtures().join(name);
        let golden = Golden::open(&dir.join("golden.safetensors")).unwrap();
        check(&dir, &golden.input_ids);
    }
}

fn largest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// Sums of another order differ in the last bits, and now and then a value lies so near the middle of two that it is rounded to the other. So most
/// rows are compared as floats are, and every row loses little.
#[test]
fn compiled_code_is_what_the_interpreter_says() {
    let (mut rows, mut equal) = (0, 0);
    each(|dir, tokens| {
        for no_fuse in [false, true] {
            let options = options(no_fuse);
            let mut session = session(loaded(dir), &options, 2);
            let (found, vocab) = (feed(&mut session, tokens), session.vocab());
            let loaded = loaded(dir);
            let [_, prefill] = driver::plan(&loaded, &options).programs;
            let slots = loaded.weights.slots();
            let expected = Interpreter::new(&prefill.program, &slots).step(tokens);
            for (a, b) in found.chunks(vocab).zip(expected.chunks(vocab)) {
                let difference = largest(a, b);
                let place = format!("{} no_fuse={no_fuse}", dir.display());
                assert!(difference < 0.1, "{place}: logits differ by {difference}");
                rows += 1;
                equal += usize::from(difference < 1e-4);
            }
        }
    });
    assert!(equal * 10 >= rows * 7, "only {equal} of {rows} rows agree");
}

#[test]
fn prompts_differ_and_what_follows_them_is_computed_as_ever() {
    each(|dir, tokens| {
        let of = |loaded: &Loaded| {
            driver::plan(loaded, &options(false))
                .manifest
                .rounds_activations
        };
        assert!(of(&loaded(dir)) && !of(&load_checkpoint(dir).unwrap()));
        let plain = load_checkpoint(dir).unwrap();
        let mut plain = session(plain, &options(false), 2);
        let mut rounded = session(loaded(dir), &options(false), 2);
        let (exact, found) = (feed(&mut plain, tokens), feed(&mut rounded, tokens));
        let difference = largest(&exact, &found);
        let place = dir.display();
        assert!(
            difference > 0.0 && difference < 0.2,
            "{place}: {difference}"
        );
        // Few tokens are decode's.
        for session in [&mut plain, &mut rounded] {
            session.truncate(0, 0).unwrap();
        }
        let few = &tokens[..5];
        assert_eq!(feed(&mut plain, few), feed(&mut rounded, few), "{place}");
    });
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    each(|dir, tokens| {
        let of = |threads| feed(&mut session(loaded(dir), &options(false), threads), tokens);
        let one = of(1);
        for threads in 2..5 {
            assert_eq!(one, of(threads), "{} on {threads}", dir.display());
        }
    });
}

#[test]
fn a_model_without_bf16_says_so() {
    let dir = fixtures().join("gpt2-f32");
    let error = load_checkpoint(&dir)
        .unwrap()
        .with_activations(Activations::Bf16);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("found weights in f32"), "{text}");
}

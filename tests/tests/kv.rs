//! Types of cached keys and values: compiled code against the interpreter, on every path and for any number of threads.

use std::path::{Path, PathBuf};

use graver::driver::{self, CompileOptions};
use graver::interp::Interpreter;
use graver::passes::PassOptions;
use graver::verify::Golden;
use graver_runtime::abi::CacheType;
use graver_runtime::session::{Session, SessionOptions, Wanted};
use graver_tests::{compile_options, fixtures, load_checkpoint};

/// Odd heads, one key head, rings, chunks, sinks, latents whose rank is no multiple of a group, keys that several layers share.
const CHECKPOINTS: [&str; 9] = [
    "llama-gqa-tied-bf16-llama3",
    "llama-mqa-odd-f16",
    "gpt2-f32",
    "gemma2-window-bf16",
    "gemma3n-bf16",
    "gpt-oss-f32",
    "llama4-chunks-f32",
    "deepseek-v3-groups-bf16",
    "kimi-linear-bf16",
];

fn options(cache: CacheType, no_fuse: bool) -> CompileOptions {
    let passes = PassOptions {
        no_fuse,
        ..PassOptions::default()
    };
    compile_options(passes, cache)
}

fn session(dir: &Path, options: &CompileOptions, threads: usize) -> Session {
    let loaded = load_checkpoint(dir).unwrap();
    let session = SessionOptions {
        threads: Some(threads),
        ..SessionOptions::default()
    };
    driver::open(loaded, options, session).unwrap()
}

/// Logits that the interpreter gives for the program that prefill runs.
fn interpreted(dir: &Path, options: &CompileOptions, tokens: &[u32]) -> Vec<f32> {
    let loaded = load_checkpoint(dir).unwrap();
    let [_, prefill] = driver::plan(&loaded, options).programs;
    let slots = loaded.weights.slots();
    Interpreter::new(&prefill.program, &slots).step(tokens)
}

fn each_case(mut check: impl FnMut(PathBuf, CacheType, Vec<u32>)) {
    for name in CHECKPOINTS {
        let dir = fixtures().join(name);
        let golden = Golden::open(&dir.join("golden.safetensors")).unwrap();
        for cache in CacheType::ALL {
            check(dir.clone(), cache, golden.input_ids.clone());
        }
    }
}

/// All tokens at once, or one after the other.
fn logits(session: &mut Session, tokens: &[u32], each: usize) -> Vec<f32> {
    let steps = tokens.chunks(each);
    steps
        .flat_map(|t| session.feed(0, t, Wanted::All).unwrap().to_vec())
        .collect()
}

/// Sums of another order differ in the last bits, and now and then a value lies so near the middle of two that can be kept that it
/// is rounded to the other: what looks back at it then differs by some of what the type loses. All others agree like floats.
#[test]
fn compiled_code_is_what_the_interpreter_says() {
    let (mut rows, mut equal) = (0, 0);
    each_case(|dir, cache, tokens| {
        for no_fuse in [false, true] {
            let options = options(cache, no_fuse);
            let reference = interpreted(&dir, &options, &tokens);
            let mut session = session(&dir, &options, 2);
            let vocab = session.vocab();
            for each in [tokens.len(), 1] {
                session.truncate(0, 0).unwrap();
                let found = logits(&mut session, &tokens, each);
                for (a, b) in found.chunks(vocab).zip(reference.chunks(vocab)) {
                    let pairs = a.iter().zip(b);
                    let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    let place = format!("{} {cache} no_fuse={no_fuse} by {each}", dir.display());
                    let allowed = if cache == CacheType::F32 { 2e-4 } else { 0.1 };
                    assert!(
                        difference < allowed,
                        "{place}: logits differ by {difference}"
                    );
                    rows += 1;
                    equal += usize::from(difference < 2e-5);
                }
            }
        }
    });
    assert!(equal * 10 >= rows * 8, "only {equal} of {rows} rows agree");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    each_case(|dir, cache, tokens| {
        let options = options(cache, false);
        let (long, short) = tokens.split_at(tokens.len() - 3);
        let of = |threads| {
            let mut session = session(&dir, &options, threads);
            let mut out = logits(&mut session, long, long.len());
            out.extend(logits(&mut session, short, 1));
            out
        };
        let one = of(1);
        for threads in [2, 3] {
            assert!(
                of(threads) == one,
                "{} {cache}: {threads} threads",
                dir.display()
            );
        }
    });
}

/// A state is as large as its type says: a byte for each value, and two for each group of 32 or fewer.
#[test]
fn integers_take_half_the_room_of_halves() {
    let dir = fixtures().join("qwen3-f32");
    let bytes = |cache| {
        let loaded = load_checkpoint(&dir).unwrap();
        let options = options(cache, false);
        let planned = driver::plan(&loaded, &options);
        let states = planned.manifest.states.iter();
        states.map(|s| s.bytes_per_position).sum::<usize>()
    };
    let halves = bytes(CacheType::F16);
    assert_eq!(bytes(CacheType::F32), 2 * halves);
    let integers = bytes(CacheType::Q8);
    assert!(
        integers > halves / 2 && integers < halves * 3 / 4,
        "{integers} of {halves}"
    );
}

//! Inputs that nobody means well with: whatever a spec, a config or a weight file says, loading and planning end with a
//! model or with a message, never with a panic.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use graver::driver;
use graver::passes::PassOptions;
use graver::spec::{self, SpecSource};
use graver_runtime::abi::CacheType;
use graver_tests::{compile_options, fixtures, load_checkpoint, load_shapes, share};
use serde_json::{Value, json};

/// What is put in the place of other values, one at a time.
fn odd_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(3),
        json!(7.5),
        spec::parse_json(b"NaN").unwrap(),
        spec::parse_json(b"-Infinity").unwrap(),
        json!(1u64 << 24),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("layer"),
        json!("'x'"),
        json!("1 / 0"),
        json!("hidden + 1"),
        json!("{}"),
        json!([]),
        json!([1, 2]),
        json!({}),
    ]
}

/// Pointers to every value of a document.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_string());
    match value {
        Value::Object(map) => {
            for (k, v) in map {
                let key = k.replace('~', "~0").replace('/', "~1");
                places(v, &format!("{at}/{key}"), out);
            }
        }
        Value::Array(list) => {
            for (i, v) in list.iter().enumerate() {
                places(v, &format!("{at}/{i}"), out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every document that differs from `value` in one place, every `stride`-th of them.
fn variants(value: &Value, stride: usize, mut each: impl FnMut(String, &Value)) {
    let mut all = vec![];
    places(value, "", &mut all);
    let odd = odd_values();
    for i in (0..all.len() * odd.len()).step_by(stride) {
        let (place, new) = (&all[i / odd.len()], &odd[i % odd.len()]);
        let mut changed = value.clone();
        *changed.pointer_mut(place).expect("a place of the document") = new.clone();
        each(format!("{place} = {new}"), &changed);
    }
}

/// Binds and plans, if it can be bound.
fn plan(spec: &str, config: &Value) {
    let Ok(spec) = spec::load(SpecSource::Text {
        name: "hostile",
        text: spec,
    }) else {
        return;
    };
    let Ok(loaded) = load_shapes(&spec, config, None) else {
        return;
    };
    // Planning takes time in the number of layers' kinds; a thousand different ones show nothing that ten do not.
    if loaded.model.kinds.len() > 16 {
        return;
    }
    let options = compile_options(PassOptions::default(), CacheType::F32);
    driver::plan(&loaded, &options);
}

#[track_caller]
fn never_panics(what: &str, f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_ok(), "{what} panics");
}

#[test]
fn specs_with_one_odd_value() {
    for name in spec::builtin_names()
        .into_iter()
        .filter(|name| share::has(name))
    {
        let path = fixtures().join(format!("../../specs/{name}.json"));
        let document: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let config = spec::load(SpecSource::Builtin(name))
            .unwrap()
            .preset("tiny")
            .unwrap();
        // A stride that shares no factor with the number of odd values meets every place and every value.
        variants(&document, 16, |what, changed| {
            never_panics(&format!("{name}: {what}"), || {
                plan(&changed.to_string(), &config)
            });
        });
    }
}

#[test]
fn configs_with_one_odd_value() {
    for name in spec::builtin_names()
        .into_iter()
        .filter(|name| share::has(name))
    {
        let path = fixtures().join(format!("../../specs/{name}.json"));
        let text = fs::read_to_string(path).unwrap();
        let config = spec::load(SpecSource::Builtin(name))
            .unwrap()
            .preset("tiny")
            .unwrap();
        variants(&config, 2, |what, changed| {
            never_panics(&format!("{name}, config: {what}"), || plan(&text, changed));
        });
    }
}

/// Numbers from a seed (SplitMix64).
fn dice(seed: &mut u64, n: usize) -> usize {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((z ^ (z >> 31)) % n as u64) as usize
}

/// Weight files with a few bytes of the header changed, and cut off anywhere.
#[test]
fn damaged_weight_files() {
    let dir = tempfile::tempdir().unwrap();
    let from = fixtures().join("qwen3-tied-bf16");
    fs::copy(from.join("config.json"), dir.path().join("config.json")).unwrap();
    let whole = fs::read(from.join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut seed = 1;
    for case in 0..1500 {
        let mut bytes = whole.clone();
        for _ in 0..=dice(&mut seed, 3) {
            let at = dice(&mut seed, header);
            let digits = b"0123456789[]{}\",:-.eE\0\xff";
            bytes[at] = digits[dice(&mut seed, digits.len())];
        }
        if case % 3 == 0 {
            bytes.truncate(dice(&mut seed, whole.len()));
        }
        fs::write(dir.path().join("model.safetensors"), &bytes).unwrap();
        never_panics(&format!("case {case}"), || touch(dir.path()));
    }
}

/// Loads, and reads every byte that a slot may read.
fn touch(dir: &Path) {
    if let Ok(loaded) = load_checkpoint(dir) {
        let weights = &loaded.weights;
        let sum: u64 = weights
            .views()
            .flat_map(|v| weights.bytes(v))
            .map(|b| u64::from(*b))
            .sum();
        assert!(sum < u64::MAX);
    }
}
